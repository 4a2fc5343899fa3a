"""DeepLab-LargeFOV (Chen et al., 2015, https://arxiv.org/abs/1412.7062)."""

from __future__ import annotations

from segbook.recipes.recipe import Recipe


def deeplab_v1_vgg16_voc() -> Recipe:
    """DeepLab-LargeFOV on VOC 2012, augmented, by the better of the two trainings it was given."""
    return Recipe(
        name="deeplab_v1_vgg16_voc",
        model="deeplab_v1_vgg16",
        weights_backbone="IMAGENET1K_V1",
        data="voc_aug",
        data_root="data/voc",
        crop=(321, 321),  # the release
        scale=(1.0, 1.0),
        flip=0.5,  # the release
        jitter=0.0,
        batch_size=10,  # PAMI table 2, last row
        steps=20_000,  # the same
        optimizer="sgd",
        lr=1e-3,  # section 4.2: 0.001, and 0.01 for the final classifier; here ten times for
        head_lr=10.0,  # all that is not VGG's, since fc6 and fc7 start at random
        momentum=0.9,
        weight_decay=5e-4,
        schedule="poly",  # PAMI table 2; section 4.2 divides by 10 every 2,000 of 6,000 steps
        power=0.9,
        loss="cross_entropy",
        workers=4,
        evaluate_every=2000,
        save_every=1000,
        note="DeepLab section 4.2; batch, steps and schedule: DeepLabV2, PAMI 2018, table 2",
        paper_miou=0.6588,  # PAMI table 2, validation, without CRF
    )
