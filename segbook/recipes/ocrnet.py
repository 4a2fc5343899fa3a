"""OCRNet (Yuan, Chen and Wang, ECCV 2020, https://arxiv.org/abs/1909.11065)."""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.recipe import Recipe


def ocrnet_resnet101_cityscapes() -> Recipe:
    """OCRNet on ResNet-101 on Cityscapes."""
    return Recipe(
        name="ocrnet_resnet101_cityscapes",
        model="ocrnet_resnet101",
        weights_backbone="IMAGENET1K_V1",
        data="cityscapes",
        data_root="data/cityscapes",
        crop=(769, 769),  # section 4.1, Cityscapes, as are all numbers here
        scale=(0.5, 2.0),
        flip=0.5,
        jitter=0.2,  # brightness in the paper, by up to 10 grey values; colours too here
        batch_size=8,
        steps=40_000,
        optimizer="sgd",
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="poly",
        power=0.9,
        loss="cross_entropy",  # and 0.4 of the soft object regions': the network's own aux_losses
        workers=8,
        evaluate_every=4000,
        save_every=1000,
        note="OCRNet section 4.1, implementation details",
    )


def ocrnet_hrnet_w48_cityscapes() -> Recipe:
    """OCRNet on HRNet-W48 on Cityscapes, with the release's configuration."""
    return replace(
        ocrnet_resnet101_cityscapes(),
        name="ocrnet_hrnet_w48_cityscapes",
        model="ocrnet_hrnet_w48",
        weights_backbone="",
        crop=(512, 1024),
        jitter=0.0,
        batch_size=12,  # 3 on each of 4 GPUs
        steps=120_000,  # 484 epochs of 2,975 images
        evaluate_every=5000,
        note="the authors' seg_hrnet_ocr_w48_train_512x1024_sgd_lr1e-2_wd5e-4_bs_12_epoch484.yaml; "
        "its ImageNet weights are not included",
    )


def ocrnet_hrnet_w18_cityscapes() -> Recipe:
    """OCRNet on HRNet-W18 on Cityscapes, with the release's configuration of W48."""
    return replace(
        ocrnet_hrnet_w48_cityscapes(),
        name="ocrnet_hrnet_w18_cityscapes",
        model="ocrnet_hrnet_w18",
    )


def ocrnet_resnet101_ade20k() -> Recipe:
    """OCRNet on ResNet-101 on ADE20K."""
    return replace(
        ocrnet_resnet101_cityscapes(),
        name="ocrnet_resnet101_ade20k",
        data="ade20k",
        data_root="data/ade20k",
        crop=(520, 520),  # section 4.1, ADE20K
        batch_size=16,
        steps=150_000,
        lr=0.02,
        weight_decay=1e-4,
        evaluate_every=10_000,
        paper_miou=None,  # 45.28 is over several scales
    )


def ocrnet_hrnet_w48_ade20k() -> Recipe:
    """OCRNet on HRNet-W48 on ADE20K."""
    return replace(
        ocrnet_resnet101_ade20k(),
        name="ocrnet_hrnet_w48_ade20k",
        model="ocrnet_hrnet_w48",
        weights_backbone="",
        note="OCRNet section 4.1; HRNet's ImageNet weights are not included; the release mines "
        "hard pixels too, below a probability of 0.9",
    )
