"""DPT (Ranftl, Bochkovskiy and Koltun, ICCV 2021, https://arxiv.org/abs/2103.13413)."""

from __future__ import annotations

from segbook.recipes.recipe import Recipe, variant


def dpt_vit_b16_ade20k() -> Recipe:
    """DPT on ViT-B/16 on ADE20K, with mmsegmentation's configuration."""
    return Recipe(
        name="dpt_vit_b16_ade20k",
        model="dpt_vit_b16",
        weights_backbone="IMAGENET1K_V1",
        data="ade20k",
        data_root="data/ade20k",
        crop=(512, 512),  # mmsegmentation's configuration, as are all numbers without a word
        scale=(0.5, 2.0),
        flip=0.5,
        undersized="pad_bottom_right",
        jitter=0.5,  # PhotoMetricDistortion, as the next two; its brightness is added
        jitter_hue=18 / 180,  # in HSV
        jitter_probability=0.5,
        batch_size=16,  # 2 on each of 8 GPUs
        steps=160_000,
        optimizer="adamw",
        lr=6e-5,
        weight_decay=0.01,
        decay_norms=False,  # there other biases decay
        schedule="poly",
        power=1.0,
        warmup=1500,
        warmup_start=1e-6,
        decay_from="warmup",
        loss="cross_entropy",  # and 0.2 of the auxiliary head's: section 4.2 of the paper
        workers=8,
        evaluate_every=16_000,
        save_every=2000,
        note="mmsegmentation's dpt_vit-b16_512x512_160k_ade20k.py, which has no auxiliary head; "
        "the paper (section 4.2) trains ViT-L and the hybrid, by SGD at 480x480, 48 images a step, "
        "for 240 epochs, and tests several scales",
    )


def dpt_vit_l16_ade20k() -> Recipe:
    """DPT-Large on ADE20K, with mmsegmentation's configuration.

    Its dpt_vit-l16_512x512_160k_ade20k.py changes the network alone.
    """
    return variant(
        dpt_vit_b16_ade20k(),
        "dpt_vit_l16",
    )
