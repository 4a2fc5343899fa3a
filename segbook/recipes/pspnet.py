"""PSPNet (Zhao et al., CVPR 2017, https://arxiv.org/abs/1612.01105).

The release is the first author's hszhao/semseg.
"""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.recipe import Recipe, variant


def pspnet_resnet50_ade20k() -> Recipe:
    """PSPNet on ResNet-50 on ADE20K."""
    return Recipe(
        name="pspnet_resnet50_ade20k",
        model="pspnet_resnet50",
        weights_backbone="IMAGENET1K_V1",
        data="ade20k",
        data_root="data/ade20k",
        crop=(473, 473),  # the release's ade20k_pspnet50.yaml
        scale=(0.5, 2.0),  # section 5.1
        flip=0.5,  # section 5.1
        jitter=0.0,
        batch_size=16,  # the release
        steps=150_000,  # section 5.1
        optimizer="sgd",
        lr=0.01,  # section 5.1, momentum, decay and power too
        head_lr=10.0,  # the release's tool/train.py
        momentum=0.9,
        weight_decay=1e-4,
        schedule="poly",
        power=0.9,
        loss="cross_entropy",  # and 0.4 of the auxiliary head's: the network's own aux_losses
        workers=8,
        evaluate_every=10_000,
        save_every=1000,
        note="PSPNet section 5.1; its rotation by up to 10 degrees and blur are not here",
        paper_miou=0.4168,  # table 3, one scale
    )


def pspnet_resnet101_ade20k() -> Recipe:
    """PSPNet on ResNet-101 on ADE20K."""
    return variant(
        pspnet_resnet50_ade20k(),
        "pspnet_resnet101",
        paper_miou=0.4196,  # table 3, one scale
    )


def pspnet_resnet50_cityscapes() -> Recipe:
    """PSPNet on ResNet-50 on Cityscapes."""
    return replace(
        pspnet_resnet50_ade20k(),
        name="pspnet_resnet50_cityscapes",
        data="cityscapes",
        data_root="data/cityscapes",
        crop=(713, 713),  # the release's cityscapes_pspnet50.yaml
        steps=90_000,  # section 5.1
        evaluate_every=5000,
        eval_batch_size=2,
        note="PSPNet section 5.1; the release's own validation figure is 77.30, over crops of the "
        "same size",
        paper_miou=None,
    )


def pspnet_resnet101_cityscapes() -> Recipe:
    """PSPNet on ResNet-101 on Cityscapes."""
    return variant(
        pspnet_resnet50_cityscapes(),
        "pspnet_resnet101",
        note="PSPNet section 5.1; the release's own validation figure is 78.63, over crops of the "
        "same size",
    )


def pspnet_resnet50_voc() -> Recipe:
    """PSPNet on ResNet-50 on VOC 2012, augmented."""
    return replace(
        pspnet_resnet50_ade20k(),
        name="pspnet_resnet50_voc",
        data="voc_aug",
        data_root="data/voc",
        steps=30_000,  # section 5.1
        evaluate_every=2000,
        note="PSPNet section 5.1; its rotation and blur are not here; the release's own validation "
        "figure is 77.05",
        paper_miou=None,
    )


def pspnet_resnet101_voc() -> Recipe:
    """PSPNet on ResNet-101 on VOC 2012, augmented."""
    return variant(
        pspnet_resnet50_voc(),
        "pspnet_resnet101",
        note="PSPNet section 5.1; its rotation and blur are not here; the release's own validation "
        "figure is 79.07",
    )


def pspnet_resnet101_cityscapes_sync_bn() -> Recipe:
    """PSPNet on ResNet-101 on Cityscapes, two images a GPU, BatchNorm over all four GPUs.

    Give it --nproc 4, and `pspnet_resnet101_cityscapes_local_bn` too: their difference is what
    BatchNorm loses by counting the images of one GPU only.
    """
    return replace(
        pspnet_resnet101_cityscapes(),
        name="pspnet_resnet101_cityscapes_sync_bn",
        crop=(769, 769),  # the toolbox's train.py; its paper has 768
        scale=(0.7, 2.1),  # its data set, as the next
        scale_step=0.1,
        batch_size=8,  # table 2: on 4 GPUs
        steps=40_000,  # its run_local.sh; table 2 has 108 epochs, which is as much
        lr=0.01,  # its run_local.sh, weight decay too
        head_lr=1.0,  # its train.py: one group of weights
        weight_decay=5e-4,
        sync_bn="auto",
        note="Huang et al., A PyTorch Semantic Segmentation Toolbox, 2018, and its release "
        "speedinghzl/pytorch-segmentation-toolbox; its running statistics and weights of ImageNet "
        "are not ours",
        paper_miou=0.783,  # table 1, one scale
    )


def pspnet_resnet101_cityscapes_local_bn() -> Recipe:
    """The same, with BatchNorm over the two images of each GPU."""
    return replace(
        pspnet_resnet101_cityscapes_sync_bn(),
        name="pspnet_resnet101_cityscapes_local_bn",
        sync_bn="off",
        paper_miou=0.761,  # table 1
    )
