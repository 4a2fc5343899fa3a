"""DeepLabV2 (Chen et al., PAMI 2018, https://arxiv.org/abs/1606.00915)."""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.recipe import Recipe, variant
from segbook.recipes.unet import unet_synthetic


def deeplab_v2_vgg16_voc() -> Recipe:
    """ASPP-L on VGG-16 on VOC 2012, augmented."""
    return Recipe(
        name="deeplab_v2_vgg16_voc",
        model="deeplab_v2_vgg16",
        weights_backbone="IMAGENET1K_V1",
        data="voc_aug",
        data_root="data/voc",
        crop=(321, 321),  # configs/voc12.yaml of kazuto1011's deeplab-pytorch
        scale=(1.0, 1.0),
        flip=0.5,  # the authors' train.prototxt of the first DeepLab: mirror
        jitter=0.0,
        batch_size=10,  # section 4.1.2, table 2
        steps=20_000,
        optimizer="sgd",
        lr=1e-3,  # section 4.1.1: and 0.01 for the final classifier layer; here for the whole
        head_lr=10.0,  # head, whose first layers the authors take from VGG's fc6 and fc7
        momentum=0.9,  # section 4.1.1, weight decay too
        weight_decay=5e-4,
        schedule="poly",  # section 4.1.2, power too
        power=0.9,
        loss="cross_entropy",
        workers=4,
        evaluate_every=2000,
        save_every=1000,
        note="DeepLabV2 sections 4.1.1 and 4.1.2",
        paper_miou=0.6896,  # table 3, ASPP-L, validation, before CRF
    )


def deeplab_v2_resnet101_voc() -> Recipe:
    """DeepLabV2 on ResNet-101 on VOC 2012, augmented, at one scale."""
    return variant(
        deeplab_v2_vgg16_voc(),
        "deeplab_v2_resnet101",
        scale=(0.5, 1.5),  # section 4.1.2
        lr=2.5e-4,  # configs/voc12.yaml of kazuto1011's deeplab-pytorch
        note="DeepLabV2 section 4.1.2 and kazuto1011's deeplab-pytorch; "
        "model_options={'scales': (0.5, 0.75, 1.0)} is the multi-scale form, 76.35 in table 4 from "
        "weights of COCO and 77.69 with CRF",
        paper_miou=None,  # table 4 has ASPP in the multi-scale form alone, from weights of COCO
    )


def deeplab_v2_synthetic() -> Recipe:
    """DeepLabV2 on a MobileNetV3-Small on the embedded streets: minutes on two CPU cores."""
    return replace(
        unet_synthetic(),
        name="deeplab_v2_synthetic",
        model="deeplab_v2",
        backbone="mobilenet_v3_small",  # at stride 8 a step of it costs a third of a ResNet-18's
        note="ours, with the paper's rates: on a map of 16x20 the branch of rate 24 is a 1x1 "
        "convolution, and that of 18 nearly one",
    )
