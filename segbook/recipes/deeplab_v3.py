"""DeepLabV3 (Chen et al., 2017, https://arxiv.org/abs/1706.05587)."""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.recipe import Recipe, variant


def deeplab_v3_resnet101_voc() -> Recipe:
    """DeepLabV3 on ResNet-101 at stride 16 on VOC 2012, augmented."""
    return Recipe(
        name="deeplab_v3_resnet101_voc",
        model="deeplab_v3_resnet101",
        model_options={"output_stride": 16, "multi_grid": (1, 2, 4)},  # sections 4.1, 4.3
        weights_backbone="IMAGENET1K_V1",
        data="voc_aug",
        data_root="data/voc",
        crop=(513, 513),  # section 4.1, crop size
        scale=(0.5, 2.0),  # section 4.1, data augmentation
        flip=0.5,  # the same
        jitter=0.0,
        batch_size=16,  # section 4.1, batch normalization; steps and learning rate too
        steps=30_000,
        optimizer="sgd",
        lr=0.007,
        momentum=0.9,
        weight_decay=1e-4,  # tensorflow/models research/deeplab/train.py, for ResNet
        schedule="poly",  # section 4.1, power too
        power=0.9,
        loss="cross_entropy",
        aux_weight=0.0,  # the auxiliary head is torchvision's
        workers=8,
        evaluate_every=2000,
        save_every=1000,
        note="DeepLabV3 section 4.1, the first of its two stages, which the validation figures of "
        "section 4.3 are of",
        paper_miou=0.7721,  # section 4.3, table 5, tested at stride 16
    )


def deeplab_v3_resnet50_voc() -> Recipe:
    """DeepLabV3 on ResNet-50 at stride 16 on VOC 2012, augmented."""
    return variant(
        deeplab_v3_resnet101_voc(),
        "deeplab_v3_resnet50",
        paper_miou=None,  # tables 1 and 2 have ResNet-50 in the cascaded form only
    )


def deeplab_v3_resnet101_cityscapes() -> Recipe:
    """DeepLabV3 on ResNet-101 at stride 16 on Cityscapes."""
    return replace(
        deeplab_v3_resnet101_voc(),
        name="deeplab_v3_resnet101_cityscapes",
        data="cityscapes",
        data_root="data/cityscapes",
        crop=(769, 769),  # tensorflow/models research/deeplab/g3doc/cityscapes.md, for DeepLabV3+
        steps=90_000,  # the same
        eval_batch_size=2,
        evaluate_every=5000,
        note="DeepLabV3 section 4.1; what is Cityscapes' own: the authors' training of DeepLabV3+",
        paper_miou=None,
    )


def deeplab_v3_resnet50_cityscapes() -> Recipe:
    """DeepLabV3 on ResNet-50 at stride 16 on Cityscapes."""
    return variant(
        deeplab_v3_resnet101_cityscapes(),
        "deeplab_v3_resnet50",
    )
