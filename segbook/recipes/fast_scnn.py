"""Fast-SCNN (Poudel, Liwicki and Cipolla, BMVC 2019, https://arxiv.org/abs/1902.04502)."""

from __future__ import annotations

from segbook.recipes.recipe import Recipe


def fast_scnn_cityscapes() -> Recipe:
    """Fast-SCNN on Cityscapes at full resolution, from scratch as in the paper."""
    return Recipe(
        name="fast_scnn_cityscapes",
        model="fast_scnn",
        data="cityscapes",
        data_root="data/cityscapes",
        crop=(1024, 2048),
        scale=(0.5, 2.0),  # section 4.1, as are all numbers without a word
        flip=0.5,
        jitter=0.4,  # brightness and noise of colours in the paper; the strength is ours
        batch_size=12,
        eval_batch_size=2,
        steps=248_000,  # 1,000 epochs of 2,975 images
        optimizer="sgd",
        lr=0.045,
        momentum=0.9,
        weight_decay=4e-5,  # the paper leaves out depthwise convolutions
        decay_norms=False,  # ours
        schedule="poly",
        power=0.9,
        loss="cross_entropy",  # and 0.4 of both auxiliary heads': the network's own aux_losses
        workers=8,
        evaluate_every=12_400,
        save_every=1000,
        note="Fast-SCNN section 4.1; crops at a scale below 1 are padded with void",
        paper_miou=0.6862,  # section 4.3, validation: 69.15 from ImageNet weights is 0.53 more
    )
