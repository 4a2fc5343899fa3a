"""ESPNet (Mehta et al., ECCV 2018, https://arxiv.org/abs/1803.06815).

The release is the authors' train/main.py (sacmehta/ESPNet).
"""

from __future__ import annotations

from segbook.recipes.recipe import Recipe, variant


def espnet_cityscapes() -> Recipe:
    """ESPNet on Cityscapes at half its resolution, from scratch as in the paper."""
    return Recipe(
        name="espnet_cityscapes",
        model="espnet",
        data="cityscapes",
        data_root="data/cityscapes",
        crop=(512, 1024),  # the release trains on 1024x512,
        scale=(0.25, 0.75),  # and on four more sizes from 512x256 to 1536x768
        flip=0.5,
        jitter=0.0,
        batch_size=6,  # the release
        eval_batch_size=2,
        steps=150_000,  # 300 epochs, of one size an image; the release's have five
        optimizer="adamw",
        lr=5e-4,  # the release
        weight_decay=5e-4,  # the release, by Adam, which decays otherwise than AdamW
        schedule="poly",  # the release halves the rate every 100 epochs
        power=0.9,
        loss="cross_entropy",
        class_weights="inverse_log",  # the release's loadData.py, as in ENet
        workers=8,
        evaluate_every=7500,
        save_every=1000,
        note="the release, which trains ESPNet-C first; it reports 60.3 on the test split at half "
        "the size, where ours sees whole images",
    )


def espnet_c_cityscapes() -> Recipe:
    """ESPNet-C, the encoder alone, on Cityscapes at half its resolution."""
    return variant(
        espnet_cityscapes(),
        "espnet_c",
        batch_size=12,  # the release
        steps=75_000,  # 300 epochs
        note="the release, which makes the labels eight times smaller",
    )
