"""UPerNet (Xiao et al., ECCV 2018, https://arxiv.org/abs/1807.10221)."""

from __future__ import annotations

from segbook.recipes.recipe import Recipe, variant


def upernet_resnet50_ade20k() -> Recipe:
    """UPerNet on ResNet-50 on ADE20K, with the release's configuration."""
    return Recipe(
        name="upernet_resnet50_ade20k",
        model="upernet_resnet50",
        weights_backbone="IMAGENET1K_V1",
        data="ade20k",
        data_root="data/ade20k",
        # Ours: the release resizes whole images to a short side of 300 to 600 and pads a batch.
        crop=(512, 512),
        scale=(0.5, 1.5),
        flip=0.5,  # random_flip
        jitter=0.0,
        batch_size=16,  # batch_size_per_gpu 2, on 8 GPUs
        steps=150_000,  # num_epoch 30 of epoch_iters 5000
        optimizer="sgd",
        lr=0.02,  # lr_encoder, lr_decoder
        momentum=0.9,  # beta1
        weight_decay=1e-4,
        schedule="poly",
        power=0.9,  # lr_pow
        loss="cross_entropy",  # and 0.4 of the auxiliary head's (deep_sup_scale)
        workers=8,
        evaluate_every=10_000,
        save_every=1000,
        note="the authors' ade20k-resnet50-upernet.yaml (semantic-segmentation-pytorch), with "
        "which they report 40.44 at one scale",
    )


def upernet_resnet101_ade20k() -> Recipe:
    """UPerNet on ResNet-101 on ADE20K, with the release's configuration."""
    return variant(
        upernet_resnet50_ade20k(),
        "upernet_resnet101",
        steps=200_000,  # num_epoch 40
        note="the authors' ade20k-resnet101-upernet.yaml (semantic-segmentation-pytorch), with "
        "which they report 42.00 at one scale",
    )
