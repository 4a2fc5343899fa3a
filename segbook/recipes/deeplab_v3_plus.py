"""DeepLabV3+ (Chen et al., ECCV 2018, https://arxiv.org/abs/1802.02611).

The release is that of the authors: tensorflow/models, research/deeplab.
"""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.recipe import Recipe, variant
from segbook.recipes.unet import unet_resnet18_camvid_cpu, unet_synthetic


def deeplab_v3_plus_resnet101_voc() -> Recipe:
    """DeepLabV3+ on ResNet-101 at stride 16 on VOC 2012, augmented."""
    return Recipe(
        name="deeplab_v3_plus_resnet101_voc",
        model="deeplab_v3_plus_resnet101",
        weights_backbone="IMAGENET1K_V1",
        data="voc_aug",
        data_root="data/voc",
        crop=(513, 513),  # the release's train.py, as are all numbers without a word
        scale=(0.5, 2.0),
        flip=0.5,
        jitter=0.0,
        batch_size=16,  # DeepLabV3, section 4.1
        steps=30_000,
        optimizer="sgd",
        lr=0.007,  # its comment on train_aug
        momentum=0.9,
        weight_decay=1e-4,  # its comment on ResNet
        schedule="poly",
        power=0.9,
        loss="cross_entropy",
        workers=8,
        evaluate_every=2000,
        save_every=1000,
        note="the release's train.py and DeepLabV3 section 4.1, whose training it takes over",
        paper_miou=0.7885,  # table 2, tested at stride 16
    )


def deeplab_v3_plus_resnet50_voc() -> Recipe:
    """DeepLabV3+ on ResNet-50 at stride 16 on VOC 2012, augmented."""
    return variant(deeplab_v3_plus_resnet101_voc(), "deeplab_v3_plus_resnet50", paper_miou=None)


def deeplab_v3_plus_xception65_voc() -> Recipe:
    """DeepLabV3+ on Xception-65 at stride 16 on VOC 2012, augmented."""
    return variant(
        deeplab_v3_plus_resnet101_voc(),
        "deeplab_v3_plus_xception65",
        weights_backbone="",
        weight_decay=4e-5,  # the release, for Xception
        note="the release's train.py and DeepLabV3 section 4.1; Xception's ImageNet weights are "
        "not included, and from random ones it takes longer",
        paper_miou=None,
    )


def deeplab_v3_plus_mobilenet_v2_voc() -> Recipe:
    """DeepLabV3+ on MobileNetV2 at stride 16 on VOC 2012, augmented."""
    return variant(
        deeplab_v3_plus_resnet101_voc(),
        "deeplab_v3_plus_mobilenet_v2",
        weight_decay=4e-5,  # the release, for MobileNetV2
        note="the training of DeepLabV3+; on MobileNetV2 the release has no decoder",
        paper_miou=None,
    )


def deeplab_v3_plus_xception65_cityscapes() -> Recipe:
    """DeepLabV3+ on Xception-65 at stride 16 on Cityscapes."""
    return replace(
        deeplab_v3_plus_xception65_voc(),
        name="deeplab_v3_plus_xception65_cityscapes",
        data="cityscapes",
        data_root="data/cityscapes",
        crop=(769, 769),  # the release's g3doc/cityscapes.md
        steps=90_000,  # the same
        eval_batch_size=2,
        evaluate_every=5000,
        note="the release's g3doc/cityscapes.md and train.py; Xception's ImageNet weights are not "
        "included",
        paper_miou=0.7879,  # the release's g3doc/model_zoo.md: stride 16, from ImageNet weights
    )


def deeplab_v3_plus_resnet101_cityscapes() -> Recipe:
    """DeepLabV3+ on ResNet-101 at stride 16 on Cityscapes."""
    return variant(
        deeplab_v3_plus_xception65_cityscapes(),
        "deeplab_v3_plus_resnet101",
        weights_backbone="IMAGENET1K_V1",
        weight_decay=1e-4,  # the release, for ResNet
        note="the paper's training of Xception-65 with another backbone",
        paper_miou=None,
    )


def deeplab_v3_plus_resnet50_cityscapes() -> Recipe:
    """DeepLabV3+ on ResNet-50 at stride 16 on Cityscapes."""
    return variant(
        deeplab_v3_plus_resnet101_cityscapes(),
        "deeplab_v3_plus_resnet50",
    )


def deeplab_v3_plus_mobilenet_v2_cityscapes() -> Recipe:
    """DeepLabV3+ on MobileNetV2 at stride 16 on Cityscapes."""
    return variant(
        deeplab_v3_plus_resnet101_cityscapes(),
        "deeplab_v3_plus_mobilenet_v2",
        weight_decay=4e-5,  # the release, for MobileNetV2
    )


def deeplab_v3_plus_resnet18_camvid_cpu() -> Recipe:
    """DeepLabV3+ on ResNet-18 on CamVid by the CPU recipe of U-Net."""
    return variant(
        unet_resnet18_camvid_cpu(),
        "deeplab_v3_plus_resnet18",
        # The paper's (6, 12, 18) are for maps of 33x33; a crop of 192x256 is a map of 12x16.
        model_options={"rates": (3, 6, 9)},
    )


def deeplab_v3_plus_resnet18_synthetic() -> Recipe:
    """DeepLabV3+ on ResNet-18 on the embedded streets: minutes on two CPU cores."""
    return replace(
        unet_synthetic(),
        name="deeplab_v3_plus_resnet18_synthetic",
        model="deeplab_v3_plus_resnet18",
        model_options={"rates": (2, 4, 6)},  # a crop of 128x160 is a map of 8x10
        lr=1e-3,
    )
