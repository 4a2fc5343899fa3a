"""BiSeNet V2 (Yu et al., IJCV 2021, https://arxiv.org/abs/2004.02147)."""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.recipe import Recipe


def bisenet_v2_cityscapes() -> Recipe:
    """BiSeNet V2 on Cityscapes at half its resolution, from scratch as in the paper."""
    return Recipe(
        name="bisenet_v2_cityscapes",
        model="bisenet_v2",
        data="cityscapes",
        data_root="data/cityscapes",
        # Section 4.1: scaled by 0.75 to 2, cropped to 2048x1024, resized to 1024x512. The same
        # window in one step:
        crop=(512, 1024),
        scale=(0.375, 1.0),
        flip=0.5,
        jitter=0.4,  # ours: the paper has none, its usual implementation this
        batch_size=16,
        steps=150_000,
        optimizer="sgd",
        lr=0.05,
        momentum=0.9,
        weight_decay=5e-4,  # of convolutions alone, section 4.1
        decay_norms=False,
        schedule="poly",
        power=0.9,
        warmup=1000,  # CoinCheung's implementation
        loss="ohem_cross_entropy",  # section 4.2, the last row of its ablation
        workers=8,
        evaluate_every=10_000,
        save_every=1000,
        note="BiSeNet V2 section 4.1; it reports 73.36 on images of half the size, where ours sees "
        "whole ones",
    )


def bisenet_v2_camvid() -> Recipe:
    """BiSeNet V2 on CamVid at 960x720, from scratch as in the paper."""
    return replace(
        bisenet_v2_cityscapes(),
        name="bisenet_v2_camvid",
        data="camvid",
        data_root="data/camvid",
        crop=(720, 960),  # section 4.1
        scale=(0.75, 2.0),  # {0.75, 1, 1.25, 1.5, 1.75, 2.0}
        steps=10_000,
        warmup=200,  # ours
        workers=0,
        evaluate_every=1000,
        note="BiSeNet V2 section 4.1",
        paper_miou=0.724,  # CamVid's table, test split, 960x720, without Cityscapes
    )
