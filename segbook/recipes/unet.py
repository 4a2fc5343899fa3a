"""U-Net (Ronneberger, Fischer and Brox, 2015, https://arxiv.org/abs/1505.04597)."""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.recipe import Phase, Recipe


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


def unet_isbi_em_cpu() -> Recipe:
    """The paper's network on its data, a quarter as wide and a level lower, for two CPU cores.

    Its convolutions are unpadded and its images mirrored, as the paper's are; 0.48 million
    parameters in place of 31 millions make a step of one tile a third of a CPU second.
    """
    return replace(
        unet_isbi_em(),
        name="unet_isbi_em_cpu",
        model_options={"channels": (16, 32, 64, 128)},  # the paper's: 64 to 1024 in five levels
        mean=(0.49, 0.49, 0.49),  # of the slices to train on
        std=(0.17, 0.17, 0.17),
        scale=(0.9, 1.1),  # ours: membranes as thick as in slices cut a little otherwise
        steps=4000,  # ours: 167 times through the 24 slices, 25 CPU minutes
        optimizer="adamw",  # ours, as the next five: in few steps it comes further than SGD
        momentum=0.9,
        lr=1e-3,
        weight_decay=0.01,
        schedule="poly",
        warmup=50,
        clip=1.0,
        ema=0.99,
        evaluate_every=400,
        note="U-Net section 3 and 3.1, narrower and by AdamW; ours, for CPU: see docs/runs",
    )


def unet_nuclei_cpu() -> Recipe:
    """The same small U-Net on nuclei under the fluorescence microscope, for two CPU cores.

    Nuclei of the Data Science Bowl 2018 (Caicedo et al., Nature Methods 2019), 160 images of
    256x256 to train on, as a folder with images/, masks/ and classes.txt; in the masks nuclei that
    touch are parted by a line of background, as in `segkit.data.nuclei`.
    """
    return replace(
        unet_isbi_em_cpu(),
        name="unet_nuclei_cpu",
        data_root="data/nuclei",
        mean=(0.05, 0.05, 0.05),  # of the images to train on, which are dark
        std=(0.07, 0.07, 0.07),
        crop=(256, 256),  # a whole image
        scale=(0.7, 1.4),  # ours: nuclei of one image are twice as large as those of another
        jitter=0.5,  # ours: and some stains are far brighter than others
        batch_size=4,  # ours: most of an image is background
        steps=3000,  # ours: 75 times through the images, 28 CPU minutes
        class_weights="inverse_log",  # ours: one pixel in thirteen is nucleus
        evaluate_every=200,
        note="U-Net's idea on other data; ours, for CPU: see docs/runs",
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
    """U-Net with a ResNet-18 as its encoder on CamVid, from scratch, for two CPU cores.

    The CPU recipes of FCN, DeepLabV3+, OCRNet and SegFormer are this one with another network, so
    that their runs can be held beside each other.
    """
    return replace(
        unet_camvid(),
        name="unet_resnet18_camvid_cpu",
        model="unet_resnet18",
        # Small crops first: from random weights the number of steps is what counts.
        phases=(
            Phase(0.4, (192, 256), (0.4, 0.9)),
            Phase(0.9, (256, 352), (0.6, 1.3)),
            Phase(1.0, (352, 480), (0.8, 1.5)),
        ),
        jitter=0.5,
        steps=1800,
        warmup=50,
        ema=0.995,
        evaluate_every=180,
        save_every=100,
        note="ours, for CPU: 20 to 40 minutes; see docs/runs for what it reached",
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


def unet_nuclei_lesson() -> Recipe:
    """A narrow, flat U-Net of unpadded convolutions on nuclei: a minute on two CPU cores."""
    return Recipe(
        name="unet_nuclei_lesson",
        model="unet",
        model_options={"channels": (16, 32, 64)},
        data="nuclei_sample",
        mean=(0.06, 0.06, 0.06),  # of its six images to train on
        std=(0.07, 0.07, 0.07),
        crop=(128, 128),
        scale=(0.8, 1.25),
        jitter=0.3,
        elastic=5.0,  # section 3.1 has 10 on 512 pixels
        batch_size=8,
        steps=600,
        optimizer="adamw",
        lr=2e-3,
        weight_decay=0.01,
        schedule="poly",
        warmup=20,
        clip=5.0,
        evaluate_every=100,
        note="ours, for a lesson: the paper's layers, 3 levels of 16 to 64 channels instead of 5 "
        "of 64 to 1024",
    )
