"""STDC-Seg (Fan et al., CVPR 2021, https://arxiv.org/abs/2104.13188).

The release is the authors' train.py (MichaelFan01/STDC-Seg). The paper's backbones start from
ImageNet weights, which are not included.
"""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.recipe import Recipe, variant


def stdc1_seg_cityscapes() -> Recipe:
    """STDC1-Seg on Cityscapes."""
    return Recipe(
        name="stdc1_seg_cityscapes",
        model="stdc1_seg",
        data="cityscapes",
        data_root="data/cityscapes",
        crop=(512, 1024),  # the release, as are all numbers without a word
        scale=(0.125, 1.5),
        scale_step=0.125,  # twelve scales
        undersized="enlarge",
        flip=0.5,
        jitter=0.5,
        batch_size=48,  # 16 on each of 3 GPUs
        eval_batch_size=2,
        steps=60_000,
        optimizer="sgd",
        lr=0.01,
        head_lr=10.0,  # there for the fusion and the heads, here for all but the backbone
        momentum=0.9,
        weight_decay=5e-4,
        decay_norms=False,
        schedule="poly",
        power=0.9,
        warmup=1000,
        warmup_ramp="exponential",
        warmup_start=1e-3,  # warmup_start_lr 1e-5
        decay_from="warmup",
        loss="ohem_cross_entropy",  # and the detail loss: the network's own aux_losses
        loss_options={"share_of": "all"},
        workers=8,
        evaluate_every=5000,
        save_every=1000,
        note="the release, whose README reports 72.2 on images of half and 74.5 on those of three "
        "quarters of the size, where ours sees whole ones",
    )


def stdc2_seg_cityscapes() -> Recipe:
    """STDC2-Seg on Cityscapes."""
    return variant(
        stdc1_seg_cityscapes(),
        "stdc2_seg",
        note="the release, whose README reports 74.2 on images of half and 77.0 on those of three "
        "quarters of the size, where ours sees whole ones",
    )


def stdc1_seg_camvid() -> Recipe:
    """STDC1-Seg on CamVid at 960x720."""
    return replace(
        stdc1_seg_cityscapes(),
        name="stdc1_seg_camvid",
        data="camvid",
        data_root="data/camvid",
        crop=(720, 960),  # PaddleSeg's pp_liteseg_stdc1_camvid_960x720_10k.yml, the next seven too
        scale=(0.5, 2.5),
        scale_step=0.25,
        undersized="pad_bottom_right",
        batch_size=24,
        steps=10_000,
        warmup=200,
        warmup_ramp="linear",
        eval_batch_size=0,
        workers=0,
        evaluate_every=1000,
        note="the release, which has no CamVid; for that PaddleSeg's training of PP-LiteSeg on the "
        "same backbone",
        paper_miou=0.730,  # table 4 of PP-LiteSeg, test split, from ImageNet weights
    )


def stdc2_seg_camvid() -> Recipe:
    """STDC2-Seg on CamVid at 960x720."""
    return variant(stdc1_seg_camvid(), "stdc2_seg", paper_miou=0.739)
