"""HRNet (Wang et al., PAMI 2020, https://arxiv.org/abs/1908.07919)."""

from __future__ import annotations

from segbook.recipes.recipe import Recipe, variant


def fcn_hrnet_w48_cityscapes() -> Recipe:
    """HRNetV2-W48 on Cityscapes."""
    return Recipe(
        name="fcn_hrnet_w48_cityscapes",
        model="fcn_hrnet_w48",
        data="cityscapes",
        data_root="data/cityscapes",
        crop=(512, 1024),  # section 5, Cityscapes, as are all numbers without a word
        scale=(0.5, 2.1),  # the release, in tenths; the text says [0.5, 2]
        scale_step=0.1,
        antialias=False,  # the release, as the next; it pads with black, here with the mean
        undersized="pad_bottom_right",
        flip=0.5,
        jitter=0.0,
        batch_size=12,
        eval_batch_size=2,
        steps=120_000,
        optimizer="sgd",
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="poly",
        power=0.9,
        loss="cross_entropy",  # the release weights the classes by constants of its own
        workers=8,
        evaluate_every=5000,
        save_every=1000,
        note="HRNet section 5, Cityscapes; its ImageNet weights are not included",
        paper_miou=0.811,  # the authors' README (pytorch-v1.1), validation, from ImageNet weights
    )


def fcn_hrnet_w18_cityscapes() -> Recipe:
    """HRNetV2-W18 on Cityscapes, with the training of W48."""
    return variant(fcn_hrnet_w48_cityscapes(), "fcn_hrnet_w18", paper_miou=None)


def fcn_hrnet_w18_small_cityscapes() -> Recipe:
    """HRNetV2-W18-Small on Cityscapes."""
    return variant(
        fcn_hrnet_w48_cityscapes(),
        "fcn_hrnet_w18_small",
        note="the authors' seg_hrnet_w18_small_v2_512x1024_sgd_lr1e-2_wd5e-4_bs_12_epoch484.yaml; "
        "its ImageNet weights are not included",
        paper_miou=0.762,  # the authors' README, validation, from ImageNet weights
    )
