"""PP-LiteSeg (Peng et al., 2022, https://arxiv.org/abs/2204.02681).

The paper's networks start from ImageNet weights of their own (SSLD distillation, section 3.4);
ours start from random ones wherever ``weights`` is empty.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from segbook.recipes.recipe import Phase, Recipe, variant
from segbook.recipes.unet import unet_synthetic

_RELEASE: dict[str, Any] = {
    "scale_step": 0.25,  # ResizeStepScaling
    "antialias": False,  # OpenCV's bilinear resize
    "undersized": "pad_bottom_right",  # RandomPaddingCrop, with the value 127.5: the mean
    "jitter": 0.5,  # RandomDistort, as the next two; in an order of its own for each image there
    "jitter_hue": 18 / 255,  # of PIL's hues, which turn in HSV
    "jitter_probability": 0.5,
    "mean": (0.5, 0.5, 0.5),  # Normalize
    "std": (0.5, 0.5, 0.5),
    "loss_options": {"share_of": "all"},  # min_kept, batch_size * height * width // 16
}
"""What the released configurations have in common and the paper's text does not say."""


def pp_liteseg_t_camvid() -> Recipe:
    """PP-LiteSeg-T on CamVid at 960x720, as the paper's section 4.1 says."""
    return Recipe(
        name="pp_liteseg_t_camvid",
        model="pp_liteseg_t",
        data="camvid",
        data_root="data/camvid",
        crop=(720, 960),  # "the cropped resolution of CamVid is 960x720"
        scale=(0.5, 2.5),  # "random scale ranges in ... [0.5, 2.5] for ... Camvid"
        flip=0.5,  # "random horizontal flipping"
        jitter=0.5,  # "random color jittering"; its strength from the release (RandomDistort 0.5)
        batch_size=24,
        steps=1000,  # "max iterations is 1,000"; the release's configuration says 10,000
        optimizer="sgd",
        momentum=0.9,
        lr=0.01,
        weight_decay=1e-4,  # the release's configuration says 5e-4
        schedule="poly",
        power=0.9,  # the release; the paper names the policy only
        warmup=200,  # "we also adopt the warm-up strategy"; what it is like, from the release:
        warmup_start=1e-3,  # warmup_start_lr 1e-5
        decay_from="warmup",  # poly over the other steps, so that 0.01 is reached
        loss="ohem_cross_entropy",  # section 3.4; threshold 0.7 and 1/16 kept, from the release
        evaluate_every=100,
        note="PP-LiteSeg section 4.1; what the text leaves open is the release's configuration",
        paper_miou=0.733,  # table 4, test set, from ImageNet weights
    )


def pp_liteseg_t_camvid_release() -> Recipe:
    """PP-LiteSeg-T on CamVid with the released configuration, where it differs from the text."""
    return replace(
        pp_liteseg_t_camvid(),
        name="pp_liteseg_t_camvid_release",
        steps=10_000,  # pp_liteseg_stdc1_camvid_960x720_10k.yml
        weight_decay=5e-4,
        evaluate_every=1000,
        note="PaddleSeg's pp_liteseg_stdc1_camvid_960x720_10k.yml",
        **_RELEASE,
    )


def pp_liteseg_b_camvid_release() -> Recipe:
    """PP-LiteSeg-B on CamVid with the released configuration, where it differs from the text."""
    return variant(
        pp_liteseg_t_camvid_release(),
        "pp_liteseg_b",
        note="PaddleSeg's pp_liteseg_stdc2_camvid_960x720_10k.yml",
        paper_miou=0.750,  # table 4
    )


def pp_liteseg_b_camvid() -> Recipe:
    """PP-LiteSeg-B on CamVid at 960x720: the same with the larger network."""
    return variant(
        pp_liteseg_t_camvid(),
        "pp_liteseg_b",
        paper_miou=0.750,  # table 4
    )


def pp_liteseg_t_cityscapes() -> Recipe:
    """PP-LiteSeg-T on Cityscapes, as the paper's section 4.1 says."""
    return replace(
        pp_liteseg_t_camvid(),
        name="pp_liteseg_t_cityscapes",
        data="cityscapes",
        data_root="data/cityscapes",
        crop=(512, 1024),  # "the cropped resolution of Cityscapes is 1024x512"
        scale=(0.125, 1.5),  # "random scale ranges in [0.125, 1.5] ... for Cityscapes"
        batch_size=16,
        eval_batch_size=2,
        steps=160_000,
        lr=0.005,
        weight_decay=5e-4,
        warmup=1000,  # the release
        warmup_start=2e-3,  # its warmup_start_lr 1e-5
        workers=8,
        evaluate_every=8000,
        save_every=1000,
        note="PP-LiteSeg section 4.1; it reports 73.1 on images of half and 76.0 on those of three "
        "quarters of the size (table 2), where ours sees whole ones",
        paper_miou=None,
    )


def pp_liteseg_b_cityscapes() -> Recipe:
    """PP-LiteSeg-B on Cityscapes: the same with the larger network."""
    return variant(
        pp_liteseg_t_cityscapes(),
        "pp_liteseg_b",
        note="PP-LiteSeg section 4.1; it reports 75.3 on images of half and 78.2 on those of three "
        "quarters of the size (table 2), where ours sees whole ones",
    )


def pp_liteseg_t_cityscapes_release() -> Recipe:
    """PP-LiteSeg-T on Cityscapes with the release's configuration for whole images."""
    return replace(
        pp_liteseg_t_cityscapes(),
        name="pp_liteseg_t_cityscapes_release",
        scale=(0.5, 2.0),
        note="PaddleSeg's pp_liteseg_stdc1_cityscapes_1024x512_scale1.0_160k.yml, for which it "
        "reports 77.04",
        **_RELEASE,
    )


def pp_liteseg_b_cityscapes_release() -> Recipe:
    """PP-LiteSeg-B on Cityscapes with the release's configuration for whole images."""
    return variant(
        pp_liteseg_t_cityscapes_release(),
        "pp_liteseg_b",
        note="PaddleSeg's pp_liteseg_stdc2_cityscapes_1024x512_scale1.0_160k.yml, for which it "
        "reports 79.04",
    )


def pp_liteseg_t_streets() -> Recipe:
    """PP-LiteSeg-T on large painted streets: the first of two trainings, see the next.

    All numbers are ours. Nothing but CamVid's classes is taken from CamVid. A sixth of all pixels:
    1300 crops of 8 x 192 x 256 are 0.51e9.
    """
    return Recipe(
        name="pp_liteseg_t_streets",
        model="pp_liteseg_t",
        data="synthetic",
        image_size=(270, 360),  # three quarters of CamVid's 360x480, the same view of a street
        length=2000,  # each scene is seen five times
        crop=(192, 256),  # CamVid's first crops
        scale=(0.6, 1.3),  # 0.45 to 1 of CamVid's size: CamVid's first scales
        jitter=0.6,  # strong, and hues too: paint is not to be told by its colours
        jitter_hue=0.1,
        batch_size=8,
        steps=1300,
        optimizer="adamw",
        lr=2e-3,  # as CamVid's, to the moving average
        weight_decay=0.02,
        schedule="poly",
        warmup=50,
        class_weights="inverse_log",
        clip=5.0,
        ema=0.995,
        save_every=100,
        note="ours, for CPU: painted streets to begin CamVid with",
    )


def pp_liteseg_t_camvid_cpu() -> Recipe:
    """PP-LiteSeg-T on CamVid at 480x360, for two CPU cores and an hour; best from the streets.

        segbook train pp_liteseg_t_streets
        segbook train pp_liteseg_t_camvid_cpu --set weights=runs/…/checkpoints/best.safetensors

    The levers, all ours: low resolution first, since the number of steps a second is what counts;
    AdamW with class weights, so that poles and signs are learned at all; a moving average of the
    weights; plain cross-entropy, since OHEM did not help short runs; other colours and sizes in
    every crop, since the test set is another video in another light. 2.22e9 pixels of crops.
    """
    return Recipe(
        name="pp_liteseg_t_camvid_cpu",
        model="pp_liteseg_t",
        data="camvid",
        data_root="data/camvid",
        phases=(
            Phase(0.4, (192, 256), (0.4, 1.0)),
            Phase(0.9, (256, 352), (0.5, 1.5)),
            Phase(1.0, (352, 480), (0.7, 1.6)),
        ),
        jitter=0.6,  # brightness, contrast and saturation of 0.4 to 1.6 times
        jitter_hue=0.05,  # 18 degrees
        batch_size=8,
        steps=3400,  # 74 times through the images
        optimizer="adamw",
        lr=2e-3,
        weight_decay=0.05,
        schedule="poly",
        power=0.9,
        warmup=50,
        loss="cross_entropy",
        class_weights="inverse_log",  # ENet: 1 / log(1.1 + frequency)
        clip=5.0,
        ema=0.998,  # the mean of 500 steps, eleven times through the images
        evaluate_every=400,
        save_every=100,
        note="ours, for CPU; see docs/runs for what it reached",
        paper_miou=0.733,
    )


def pp_liteseg_b_camvid_cpu() -> Recipe:
    """PP-LiteSeg-B by the CPU recipe of PP-LiteSeg-T."""
    return variant(pp_liteseg_t_camvid_cpu(), "pp_liteseg_b", paper_miou=0.750)


def pp_liteseg_t_synthetic() -> Recipe:
    """PP-LiteSeg-T on the embedded streets: minutes on two CPU cores."""
    return replace(
        unet_synthetic(),
        name="pp_liteseg_t_synthetic",
        model="pp_liteseg_t",
        steps=1000,
        ema=0.99,
        evaluate_every=250,
        save_every=100,
    )


def pp_liteseg_b_synthetic() -> Recipe:
    """PP-LiteSeg-B on the embedded streets."""
    return variant(
        pp_liteseg_t_synthetic(),
        "pp_liteseg_b",
    )
