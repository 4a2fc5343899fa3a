"""DeepLab-LargeFOV (Chen et al., 2015, https://arxiv.org/abs/1412.7062)."""

from __future__ import annotations

from segbook.recipes.recipe import Recipe


def deeplab_v1_vgg16_voc() -> Recipe:
    """DeepLab-LargeFOV on VOC 2012, augmented, by the best training of DeepLabV2's table 2."""
    return Recipe(
        name="deeplab_v1_vgg16_voc",
        model="deeplab_v1_vgg16",
        weights_backbone="IMAGENET1K_V1",
        data="voc_aug",
        data_root="data/voc",
        crop=(321, 321),  # as deeplab_v2_vgg16_voc
        scale=(1.0, 1.0),
        flip=0.5,  # the authors' train.prototxt: mirror
        jitter=0.0,
        batch_size=10,  # DeepLabV2, table 2, last row
        steps=20_000,  # the same
        optimizer="sgd",
        lr=1e-3,  # DeepLabV2, section 4.1.1: and 0.01 for the final classifier; here ten times for
        head_lr=10.0,  # all that is not VGG's, since fc6 and fc7 start at random
        momentum=0.9,  # the same section, weight decay too
        weight_decay=5e-4,
        schedule="poly",  # table 2; before, it divided by 10 every 2,000 steps
        power=0.9,
        loss="cross_entropy",
        workers=4,
        evaluate_every=2000,
        save_every=1000,
        note="DeepLabV2 (PAMI 2018), sections 4.1.1 and 4.1.2, which trains this network anew",
        paper_miou=0.6588,  # DeepLabV2, table 2, validation, before CRF
    )
