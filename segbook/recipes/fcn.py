"""FCN (Long, Shelhamer and Darrell, 2015, https://arxiv.org/abs/1411.4038; PAMI 2017)."""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.recipe import Recipe, variant
from segbook.recipes.unet import unet_resnet18_camvid_cpu, unet_synthetic


def fcn8s_camvid() -> Recipe:
    """FCN-8s at once on CamVid, with the authors' training by single whole images."""
    return Recipe(
        name="fcn8s_camvid",
        model="fcn8s_vgg16",
        data="camvid",
        data_root="data/camvid",
        crop=(360, 480),  # whole images, no augmentation: section 4.3 found no gain in it
        scale=(1.0, 1.0),
        flip=0.0,
        jitter=0.0,
        batch_size=1,  # the authors' voc-fcn8s-atonce, as are the next numbers without a word
        steps=100_000,  # ours: theirs are 300,000 for the 8,498 images of SBD
        optimizer="sgd",
        momentum=0.99,
        # Their 1e-10 is for a loss summed over all pixels of an image; ours is the mean over the
        # pixels, so times the 172,800 of 480x360.
        lr=1e-10 * 480 * 360,
        weight_decay=5e-4,
        decay_norms=False,  # biases do not decay
        schedule="constant",
        loss="cross_entropy",
        evaluate_every=5000,
        save_every=1000,
        note="the authors' voc-fcn8s-atonce/solver.prototxt, which starts from VGG-16's ImageNet "
        "weights; from random ones this learning rate is very low",
    )


def fcn8s_vgg16_voc() -> Recipe:
    """FCN-8s at once on VOC 2012, augmented, with the authors' training."""
    return replace(
        fcn8s_camvid(),
        name="fcn8s_vgg16_voc",
        data="voc_aug",  # theirs is SBD's train list, tested on VOC 2011
        data_root="data/voc",
        crop=(500, 500),  # whole images: none is larger; void around them
        lr=1e-10 * 500 * 375,  # for a mean over the pixels, see fcn8s_camvid
        steps=300_000,  # the authors' solver
        workers=2,
        evaluate_every=10_000,
    )


def fcn_resnet50_camvid() -> Recipe:
    """FCN on a dilated ResNet-50 on CamVid, by torchvision's reference training."""
    return Recipe(
        name="fcn_resnet50_camvid",
        model="fcn_resnet50",
        data="camvid",
        data_root="data/camvid",
        crop=(360, 480),  # torchvision crops 480 from images of VOC's size
        scale=(0.5, 2.0),  # torchvision references/segmentation/presets.py
        flip=0.5,
        jitter=0.0,
        batch_size=8,
        steps=3000,  # ours: torchvision trains 30 epochs of COCO
        optimizer="sgd",
        lr=0.01,  # torchvision references/segmentation/train.py
        momentum=0.9,
        weight_decay=1e-4,
        schedule="poly",
        power=0.9,
        loss="cross_entropy",  # and 0.5 of the auxiliary head's: the network's own aux_losses
        evaluate_every=500,
        note="torchvision's reference training of fcn_resnet50",
    )


def fcn8s_resnet18_camvid_cpu() -> Recipe:
    """FCN-8s on a ResNet-18 on CamVid by the CPU recipe of U-Net."""
    return variant(
        unet_resnet18_camvid_cpu(),
        "fcn8s_resnet18",
        note="ours, for CPU; VGG-16 from random weights learns too slowly for it",
    )


def fcn8s_synthetic() -> Recipe:
    """FCN-8s on a ResNet-18 on the embedded streets, from scratch: minutes on two CPU cores."""
    return replace(
        unet_synthetic(),
        name="fcn8s_synthetic",
        model="fcn8s_resnet18",
        steps=500,
        lr=1e-3,
        evaluate_every=125,
        note="ours: VGG-16 without its ImageNet weights learns too slowly for a lesson",
    )
