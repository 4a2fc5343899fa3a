"""The backbones that have a name: one import and one row per builder."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from torch import nn

from segkit.backbones.hrnet import hrnet_w18, hrnet_w18_small, hrnet_w32, hrnet_w48
from segkit.backbones.mit import mit_b0, mit_b1, mit_b2, mit_b3, mit_b4, mit_b5
from segkit.backbones.mobilenet_v1 import mobilenet_v1
from segkit.backbones.mobilenet_v2 import mobilenet_v2
from segkit.backbones.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from segkit.backbones.resnet import (
    resnet18,
    resnet18_v1c,
    resnet18_vd,
    resnet34,
    resnet50,
    resnet50_v1c,
    resnet50_vd,
    resnet101,
    resnet101_v1c,
    resnet101_vd,
    resnet152,
)
from segkit.backbones.stdc import stdc1, stdc2
from segkit.backbones.timm_backbone import timm_backbone
from segkit.backbones.vgg import vgg16
from segkit.backbones.vgg_atrous import vgg16_atrous
from segkit.backbones.vit import vit_b_16, vit_l_16
from segkit.backbones.xception import xception41, xception65, xception71

# Sorted by name.
BACKBONES: dict[str, Callable[..., nn.Module]] = {
    builder.__name__: builder
    for builder in [
        hrnet_w18,
        hrnet_w18_small,
        hrnet_w32,
        hrnet_w48,
        mit_b0,
        mit_b1,
        mit_b2,
        mit_b3,
        mit_b4,
        mit_b5,
        mobilenet_v1,
        mobilenet_v2,
        mobilenet_v3_large,
        mobilenet_v3_small,
        resnet101,
        resnet101_v1c,
        resnet101_vd,
        resnet152,
        resnet18,
        resnet18_v1c,
        resnet18_vd,
        resnet34,
        resnet50,
        resnet50_v1c,
        resnet50_vd,
        stdc1,
        stdc2,
        vgg16,
        vgg16_atrous,
        vit_b_16,
        vit_l_16,
        xception41,
        xception65,
        xception71,
    ]
}


def create_backbone(name: str, *, in_channels: int = 3, **options: Any) -> nn.Module:
    """Build a backbone by name; the same as calling its builder.

    Args:
        name: a key of `BACKBONES`, or ``"timm:<name>"`` for an encoder of timm (an extra).
        in_channels: channels of the images.
        options: the builder's other arguments, such as ``output_stride=8`` or
            ``weights="IMAGENET1K_V1"``.

    Returns:
        A module images -> Stages, with the attributes ``channels`` and ``strides``.

    Raises:
        ValueError: no backbone has this name; the closest three are told.
        TypeError: the builder has no such option.
        ImportError: timm is asked for and not installed.

    Example:
        >>> create_backbone("resnet18", output_stride=16).strides
        Stages(c2=4, c3=8, c4=16, c5=16)
    """
    if name.startswith("timm:"):
        return timm_backbone(name.removeprefix("timm:"), in_channels=in_channels, **options)
    if name not in BACKBONES:
        closest = difflib.get_close_matches(name, BACKBONES, n=3, cutoff=0.0)
        raise ValueError(
            f"there is no backbone named {name!r}; the closest names are {', '.join(closest)}. "
            'segkit.backbones.BACKBONES holds all of them; "timm:<name>" takes one of timm'
        )
    return BACKBONES[name](in_channels=in_channels, **options)
