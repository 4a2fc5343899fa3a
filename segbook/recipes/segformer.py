"""SegFormer (Xie et al., NeurIPS 2021, https://arxiv.org/abs/2105.15203).

The paper's encoders start from ImageNet weights, which are not included: ours start from random
ones. On Cityscapes the paper tests by sliding windows of the crop's size, ours sees whole images.
"""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.recipe import Recipe, variant
from segbook.recipes.unet import unet_resnet18_camvid_cpu


def segformer_b0_ade20k() -> Recipe:
    """SegFormer-B0 on ADE20K."""
    return Recipe(
        name="segformer_b0_ade20k",
        model="segformer_b0",
        data="ade20k",
        data_root="data/ade20k",
        crop=(512, 512),  # section 4.1
        scale=(0.5, 2.0),  # the same, as are the next numbers without a source
        flip=0.5,
        undersized="pad_bottom_right",  # the release
        jitter=0.5,  # the release: PhotoMetricDistortion, as the next two; its brightness is added
        jitter_hue=18 / 180,  # in HSV
        jitter_probability=0.5,
        batch_size=16,
        steps=160_000,
        optimizer="adamw",
        lr=6e-5,
        head_lr=10.0,  # the release's paramwise_cfg
        weight_decay=0.01,  # the release
        decay_norms=False,  # the release's; there other biases decay
        schedule="poly",
        power=1.0,
        warmup=1500,  # the release
        warmup_start=1e-6,  # the same, whose mmcv lets poly decay through the warm-up
        loss="cross_entropy",  # no hard pixels, auxiliary losses or class weights
        workers=8,
        evaluate_every=16_000,
        save_every=2000,
        note="SegFormer section 4.1 and the release's configurations; from random weights",
        paper_miou=0.374,  # table 1a, one scale, from ImageNet weights
    )


def segformer_b1_ade20k() -> Recipe:
    """SegFormer-B1 on ADE20K."""
    return variant(segformer_b0_ade20k(), "segformer_b1", paper_miou=0.422)


def segformer_b2_ade20k() -> Recipe:
    """SegFormer-B2 on ADE20K."""
    return variant(segformer_b0_ade20k(), "segformer_b2", paper_miou=0.465)


def segformer_b3_ade20k() -> Recipe:
    """SegFormer-B3 on ADE20K."""
    return variant(segformer_b0_ade20k(), "segformer_b3", paper_miou=0.494)


def segformer_b4_ade20k() -> Recipe:
    """SegFormer-B4 on ADE20K."""
    return variant(segformer_b0_ade20k(), "segformer_b4", paper_miou=0.503)


def segformer_b5_ade20k() -> Recipe:
    """SegFormer-B5 on ADE20K."""
    return variant(
        segformer_b0_ade20k(),
        "segformer_b5",
        crop=(640, 640),  # section 4.1, for B5 alone
        paper_miou=0.510,
    )


def segformer_b0_cityscapes() -> Recipe:
    """SegFormer-B0 on Cityscapes."""
    return replace(
        segformer_b0_ade20k(),
        name="segformer_b0_cityscapes",
        data="cityscapes",
        data_root="data/cityscapes",
        crop=(1024, 1024),  # section 4.1
        batch_size=8,  # section 4.1
        eval_batch_size=1,
        paper_miou=0.762,  # table 1a, one scale, from ImageNet weights, over windows of 1024x1024
    )


def segformer_b1_cityscapes() -> Recipe:
    """SegFormer-B1 on Cityscapes."""
    return variant(segformer_b0_cityscapes(), "segformer_b1", paper_miou=0.785)


def segformer_b2_cityscapes() -> Recipe:
    """SegFormer-B2 on Cityscapes."""
    return variant(segformer_b0_cityscapes(), "segformer_b2", paper_miou=0.810)


def segformer_b3_cityscapes() -> Recipe:
    """SegFormer-B3 on Cityscapes."""
    return variant(segformer_b0_cityscapes(), "segformer_b3", paper_miou=0.817)


def segformer_b4_cityscapes() -> Recipe:
    """SegFormer-B4 on Cityscapes."""
    return variant(segformer_b0_cityscapes(), "segformer_b4", paper_miou=0.823)


def segformer_b5_cityscapes() -> Recipe:
    """SegFormer-B5 on Cityscapes."""
    return variant(segformer_b0_cityscapes(), "segformer_b5", paper_miou=0.824)


def segformer_b0_camvid_cpu() -> Recipe:
    """SegFormer-B0 on CamVid by the CPU recipe of U-Net."""
    return variant(unet_resnet18_camvid_cpu(), "segformer_b0")
