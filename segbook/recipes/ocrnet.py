"""OCRNet (Yuan, Chen and Wang, ECCV 2020, https://arxiv.org/abs/1909.11065).

The authors have two releases: openseg.pytorch, and the branch HRNet-OCR of
HRNet-Semantic-Segmentation.
"""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.fcn import fcn8s_synthetic
from segbook.recipes.recipe import Recipe, variant
from segbook.recipes.unet import unet_resnet18_camvid_cpu


def ocrnet_resnet101_cityscapes() -> Recipe:
    """OCRNet on ResNet-101 on Cityscapes."""
    return Recipe(
        name="ocrnet_resnet101_cityscapes",
        model="ocrnet_resnet101",
        model_options={"align_corners": True},  # both releases
        weights_backbone="IMAGENET1K_V1",
        data="cityscapes",
        data_root="data/cityscapes",
        crop=(512, 1024),  # openseg's configs/cityscapes/R_101_D_8.json, as are all numbers here
        scale=(0.5, 2.0),
        flip=0.5,
        jitter=0.2,  # there brightness, by up to 10 grey values; here colours too
        batch_size=8,
        eval_batch_size=2,
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
        note="openseg.pytorch, run_r_101_d_8_ocrnet_train.sh, for which its MODEL_ZOO.md reports "
        "79.63 and which weights the classes by constants of its own",
    )


def ocrnet_hrnet_w48_cityscapes() -> Recipe:
    """OCRNet on HRNet-W48 on Cityscapes, with the release's configuration."""
    return variant(
        ocrnet_resnet101_cityscapes(),
        "ocrnet_hrnet_w48",
        weights_backbone="",
        scale=(0.5, 2.1),  # in tenths
        scale_step=0.1,
        antialias=False,
        undersized="pad_bottom_right",  # with black there, here with the mean
        jitter=0.0,
        batch_size=12,  # 3 on each of 4 GPUs
        steps=120_000,  # 484 epochs of 2,975 images
        evaluate_every=5000,
        note="the authors' seg_hrnet_ocr_w48_train_512x1024_sgd_lr1e-2_wd5e-4_bs_12_epoch484.yaml, "
        "for which they report 81.6; HRNet's ImageNet weights are not included",
    )


def ocrnet_hrnet_w18_cityscapes() -> Recipe:
    """OCRNet on HRNet-W18 on Cityscapes, with the release's configuration of W48."""
    return variant(
        ocrnet_hrnet_w48_cityscapes(),
        "ocrnet_hrnet_w18",
        note="ocrnet_hrnet_w48_cityscapes with another backbone",
    )


def ocrnet_resnet101_ade20k() -> Recipe:
    """OCRNet on ResNet-101 on ADE20K."""
    return replace(
        ocrnet_resnet101_cityscapes(),
        name="ocrnet_resnet101_ade20k",
        data="ade20k",
        data_root="data/ade20k",
        crop=(520, 520),  # openseg's configs/ade20k/R_101_D_8.json, as are the next numbers
        batch_size=16,
        eval_batch_size=0,
        steps=150_000,
        lr=0.02,
        weight_decay=1e-4,
        evaluate_every=10_000,
        note="openseg.pytorch, run_res101d8_ocr_ade20k.sh",
    )


def ocrnet_hrnet_w48_ade20k() -> Recipe:
    """OCRNet on HRNet-W48 on ADE20K."""
    return variant(
        ocrnet_resnet101_ade20k(),
        "ocrnet_hrnet_w48",
        weights_backbone="",
        note="openseg.pytorch, run_h_48_d_4_ocr_ohem.sh, for which its MODEL_ZOO.md reports 44.62 "
        "and which mines hard pixels, below a probability of 0.9; HRNet's ImageNet weights are not "
        "included",
    )


def ocrnet_hrnet_w18_small_camvid_cpu() -> Recipe:
    """OCRNet on the small HRNet-W18 on CamVid by the CPU recipe of U-Net, in half of its steps."""
    return variant(
        unet_resnet18_camvid_cpu(),
        "ocrnet_hrnet_w18_small",
        steps=900,  # ours: a step takes twice U-Net's time
        evaluate_every=90,
    )


def ocrnet_synthetic() -> Recipe:
    """OCRNet on the small HRNet-W18 on the embedded streets, from scratch: for two CPU cores."""
    return replace(
        fcn8s_synthetic(),
        name="ocrnet_synthetic",
        model="ocrnet_hrnet_w18_small",
        note="ours: fcn8s_synthetic with another network",
    )
