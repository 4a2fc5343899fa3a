"""Several networks under one protocol on CamVid, from random weights, for a CPU.

Same images, crops, order, augmentation, optimizer, schedule, steps and seed; each network keeps its
own auxiliary losses. The protocol is ours and short, so it compares how fast networks learn from
nothing, not what they reach: a paper's figure starts from ImageNet weights and takes hours of GPUs.

    for name in unet_resnet18 deeplab_v3_plus_resnet18 …; do
        segbook train one_protocol_$name --set data_root=…/camvid
    done
    segbook compare one_protocol_…
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from segbook.recipes.recipe import Recipe


def _one_protocol(model: str, **options: Any) -> Recipe:
    """The protocol, for one network of the catalogue with its builder's options."""
    return Recipe(
        name=f"one_protocol_{model}",
        model=model,
        model_options=options,
        data="camvid",
        data_root="data/camvid",
        crop=(192, 256),
        scale=(0.4, 1.0),  # of 480x360: small enough that a crop shows a scene
        jitter=0.4,
        batch_size=8,
        steps=600,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.01,
        schedule="poly",
        warmup=50,
        class_weights="inverse_log",  # ENet: thin classes are learned at all
        clip=5.0,
        ema=0.99,
        evaluate_every=200,
        save_every=100,
        note="ours: one protocol for all, from scratch, 10 to 15 CPU minutes",
    )


def one_protocol_bisenet_v2() -> Recipe:
    """BiSeNetV2 under the one protocol."""
    return _one_protocol("bisenet_v2")


def one_protocol_deeplab_v3_plus_resnet18() -> Recipe:
    """DeepLabV3+ on ResNet-18 under the one protocol."""
    return _one_protocol("deeplab_v3_plus_resnet18")


def one_protocol_deeplab_v3_plus_resnet18_near() -> Recipe:
    """The same with the taps of ASPP half as far apart.

    A crop of 192x256 is a map of 12x16 at stride 16. The paper's rates, 6, 12 and 18, are for maps
    of 33x33: here the outer taps of 12 and 18 see nothing but padding, stay as they were drawn, and
    on whole images, which are larger, add noise.
    """
    recipe = _one_protocol("deeplab_v3_plus_resnet18", rates=(3, 6, 9))
    return replace(recipe, name="one_protocol_deeplab_v3_plus_resnet18_near")


def one_protocol_ocrnet_hrnet_w18_small() -> Recipe:
    """OCRNet on the small HRNet-W18 under the one protocol."""
    return _one_protocol("ocrnet_hrnet_w18_small")


def one_protocol_pp_liteseg_t() -> Recipe:
    """PP-LiteSeg-T under the one protocol."""
    return _one_protocol("pp_liteseg_t")


def one_protocol_segformer_b0() -> Recipe:
    """SegFormer-B0 under the one protocol."""
    return _one_protocol("segformer_b0")


def one_protocol_unet_resnet18() -> Recipe:
    """U-Net on ResNet-18 under the one protocol."""
    return _one_protocol("unet_resnet18")
