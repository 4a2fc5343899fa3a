"""U-Net (Ronneberger, Fischer and Brox, 2015, https://arxiv.org/abs/1505.04597)."""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.recipe import Recipe


def unet_isbi_em() -> Recipe:
    """The paper's network on its own data: 30 slices of an electron microscope."""
    return Recipe(
        name="unet_isbi_em",
        model="unet",
        model_options={"in_channels": 3},  # grey slices are read as three equal channels
        data="folder",
        data_root="data/isbi_em",
        crop=(388, 388),  # figure 1: one tile of 572 in, 388 out
        scale=(1.0, 1.0),
        flip=0.5,
        jitter=0.2,  # section 3.1 varies grey values; the strength is ours
        elastic=10.0,  # section 3.1: displacements of standard deviation 10 on a 3x3 grid
        batch_size=1,  # section 3
        steps=20_000,  # ours: the paper gives ten hours, not a number of steps
        optimizer="sgd",
        momentum=0.99,  # section 3
        lr=1e-3,  # ours: the paper gives none
        weight_decay=0.0,  # ours
        schedule="constant",
        loss="cross_entropy",  # without the paper's border weights, which need instances
        evaluate_every=1000,
        note="U-Net section 3 and 3.1",
    )


def unet_camvid() -> Recipe:
    """The padded U-Net on CamVid, for a GPU."""
    return Recipe(
        name="unet_camvid",
        model="unet_padded",
        data="camvid",
        data_root="data/camvid",
        crop=(352, 480),
        scale=(0.5, 2.0),
        batch_size=8,
        steps=5000,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.01,
        schedule="poly",
        warmup=100,
        class_weights="inverse_log",
        clip=5.0,
        evaluate_every=500,
        note="ours: the paper has no street scenes",
    )


def unet_resnet18_camvid_cpu() -> Recipe:
    """U-Net with a ResNet-18 as its encoder on CamVid, for two CPU cores."""
    return replace(
        unet_camvid(),
        name="unet_resnet18_camvid_cpu",
        model="unet_resnet18",
        crop=(192, 256),
        scale=(0.4, 1.0),
        steps=1500,
        lr=2e-3,
        ema=0.99,
        evaluate_every=250,
        save_every=100,
        note="ours, for CPU",
    )


def unet_synthetic() -> Recipe:
    """U-Net with a ResNet-18 as its encoder on the embedded streets: minutes on two CPU cores."""
    return Recipe(
        name="unet_synthetic",
        model="unet_resnet18",
        data="synthetic",
        scale=(0.75, 1.5),
        jitter=0.3,
        batch_size=8,
        steps=400,
        optimizer="adamw",
        lr=2e-3,
        weight_decay=0.02,
        schedule="poly",
        warmup=20,
        class_weights="inverse_log",
        clip=5.0,
        ema=0.98,
        evaluate_every=200,
        note="ours: small images, from scratch",
    )
