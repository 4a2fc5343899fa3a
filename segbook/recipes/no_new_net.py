"""No New-Net (Isensee et al., 2018, https://arxiv.org/abs/1809.10483)."""

from __future__ import annotations

from segbook.recipes.recipe import Recipe


def no_new_net_hippocampus() -> Recipe:
    """No New-Net on the hippocampus (Decathlon Task04): 20 minutes on one CPU core.

    Trained on the cases that are neither held out nor validated on; `segkit.data.hippocampus`
    lists these.
    """
    return Recipe(
        name="no_new_net_hippocampus",
        model="no_new_net",
        model_options={"in_channels": 1},
        data="hippocampus",
        data_root="data/hippocampus",
        crop=(32, 48, 32),  # ours: most of a volume, of about 35x51x35 voxels
        window=(48, 64, 48),  # ours: every volume whole
        scale=(0.85, 1.15),  # ours; nnU-Net's: 0.7 to 1.4
        rotation=15.0,  # ours; nnU-Net's: 30 degrees
        flip=(0.5, 0.0, 0.0),  # ours: left and right alone, for front and back are the classes
        foreground=1 / 3,  # nnU-Net
        jitter=0.15,  # ours
        batch_size=2,  # section 2.3
        steps=1000,  # ours: 100 times through the 20 volumes
        optimizer="adamw",  # section 2.3: Adam
        lr=1e-3,  # ours; the paper's 1e-4 is for a training of 10 days
        weight_decay=1e-2,  # ours
        schedule="poly",
        warmup=50,
        loss="dice_cross_entropy",  # section 2.3 has both, one for each kind of training case
        clip=5.0,
        ema=0.99,
        policy="foreground",  # nearly all is background
        evaluate_every=100,
        save_every=100,
        note="No New-Net section 2.3, a shorter training; ours, for CPU: see docs/runs",
    )
