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
        # The paper scales by 0.75 to 2, crops to 2048x1024 and resizes to 1024x512 (README of
        # CoinCheung's BiSeNet, an implementation). The same window in one step:
        crop=(512, 1024),
        scale=(0.375, 1.0),
        flip=0.5,
        jitter=0.4,  # CoinCheung's lib/data/transform_cv2.py
        batch_size=16,  # CoinCheung's configs/bisenetv2_city.py, steps too
        eval_batch_size=2,
        steps=150_000,
        optimizer="sgd",
        lr=0.05,  # mmsegmentation's bisenetv2_fcn_4x4_1024x1024_160k_cityscapes.py, also with 16
        momentum=0.9,
        weight_decay=5e-4,
        decay_norms=False,  # CoinCheung's tools/train_amp.py
        schedule="poly",
        power=0.9,
        warmup=1000,  # both
        warmup_ramp="exponential",  # CoinCheung's lib/lr_scheduler.py, as the next two
        warmup_start=0.1,
        decay_from="warmup",
        loss="ohem_cross_entropy",  # CoinCheung's tools/train_amp.py
        workers=8,
        evaluate_every=10_000,
        save_every=1000,
        note="CoinCheung's and mmsegmentation's implementations of BiSeNet V2; it reports 73.4 on "
        "images of half the size (table 2 of PP-LiteSeg), where ours sees whole ones",
    )


def bisenet_v2_camvid() -> Recipe:
    """BiSeNet V2 on CamVid at 960x720, from scratch."""
    return replace(
        bisenet_v2_cityscapes(),
        name="bisenet_v2_camvid",
        data="camvid",
        data_root="data/camvid",
        crop=(720, 960),  # the resolution of the paper's figure: table 4 of PP-LiteSeg
        scale=(0.75, 2.0),  # as on Cityscapes, before it is resized
        steps=10_000,  # ours
        warmup=200,  # ours
        eval_batch_size=0,
        workers=0,
        evaluate_every=1000,
        note="bisenet_v2_cityscapes on CamVid; resolution and figure: table 4 of PP-LiteSeg",
        paper_miou=0.724,  # test split
    )
