"""SegNet (Badrinarayanan, Kendall and Cipolla, PAMI 2017, https://arxiv.org/abs/1511.00561)."""

from __future__ import annotations

from segbook.recipes.recipe import Recipe


def segnet_camvid() -> Recipe:
    """SegNet on CamVid at 480x360, as section 4 compares it with others."""
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
        batch_size=5,  # section 4; section 3.2, of variants of the smaller SegNet, has 12
        steps=40_000,  # the authors' segnet_solver.prototxt; table 3 goes on to 80,000 and 140,000
        optimizer="sgd",
        lr=1e-3,  # section 4: fixed; section 3.2 has 0.1
        momentum=0.9,  # section 4
        weight_decay=5e-4,  # the authors' segnet_solver.prototxt
        schedule="constant",
        loss="cross_entropy",
        class_weights="median",  # sections 3.2 and 4.1
        evaluate_every=4000,
        save_every=1000,
        note="SegNet section 4 and the authors' SegNet-Tutorial; without its local contrast "
        "normalisation of the images and its dropout",
        paper_miou=None,  # tables 2 and 3 are of networks trained on 3,433 images of four data sets
    )
