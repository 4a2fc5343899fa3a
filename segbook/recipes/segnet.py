"""SegNet (Badrinarayanan, Kendall and Cipolla, PAMI 2017, https://arxiv.org/abs/1511.00561)."""

from __future__ import annotations

from segbook.recipes.recipe import Recipe


def segnet_camvid() -> Recipe:
    """SegNet on CamVid at 480x360, as section 4.1 compares it with others."""
    return Recipe(
        name="segnet_camvid",
        model="segnet",
        weights_backbone="IMAGENET1K_V1",  # VGG-16 with batch normalisation
        data="camvid",
        data_root="data/camvid",
        crop=(360, 480),  # whole images
        scale=(1.0, 1.0),
        flip=0.0,
        jitter=0.0,
        batch_size=5,  # section 4.1; section 3.1 has 12
        steps=80_000,  # table 3, the middle one of its three
        optimizer="sgd",
        lr=1e-3,  # section 4.1: fixed; section 3.1 has 0.1
        momentum=0.9,
        weight_decay=5e-4,  # the authors' solver
        schedule="constant",
        loss="cross_entropy",
        class_weights="median",  # section 3.1
        evaluate_every=4000,
        save_every=1000,
        note="SegNet sections 3.1 and 4.1; without its local contrast normalisation of the images "
        "and the dropout of its comparison",
        paper_miou=0.5718,  # table 3, test split, at 80,000 steps
    )
