"""A network on a backbone by its name, if the two fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from segkit.backbones.catalog import create_backbone, takes
from segkit.backbones.dilation import DilationError, check_output_stride
from segkit.builder import BackboneWeights
from segkit.outputs import Stages
from segkit.weights import Source, with_weights

Network = TypeVar("Network", bound=nn.Module)

FIT = ("resnet50", "mobilenet_v2", "mobilenet_v3_large")
"""Backbones that every network here fits: they can be dilated and have a stem at stride 2."""


def on_backbone(
    network: Callable[..., Network],
    name: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    weights: Source | None = None,
    weights_backbone: BackboneWeights = None,
    output_stride: int = 32,
    needs_stem: bool = False,
    backbone_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Network:
    """Build a network on a backbone; how all builders end that take one by name.

    Args:
        network: its class; called with the backbone, ``num_classes`` and ``options``.
        name: of the backbone, see `create_backbone`.
        num_classes: K, two or more.
        in_channels: channels of the images.
        weights: where to load weights from; None draws them at random.
        weights_backbone: of the backbone alone.
        output_stride: the stride of c5 that the network is made for: 32, or 16 or 8 by dilation.
        needs_stem: whether it also needs the backbone's feature at stride 2.
        backbone_options: further arguments of the backbone's builder.
        options: further arguments of the network.

    Raises:
        ValueError: no such backbone, or weights of it; the backbone does not fit, in strides, stem
            or options; and as the network.
    """
    needed = Stages(4, 8, min(16, check_output_stride(output_stride)), output_stride)
    further = dict(backbone_options or {})
    if unknown := further.keys() - takes(name):
        raise ValueError(
            f"the backbone {name} has no {' or '.join(sorted(unknown))}, which is for others, such "
            "as resnet50: leave it out or take another backbone"
        )
    if output_stride < 32 and "output_stride" in takes(name):
        further["output_stride"] = output_stride
    try:
        backbone = create_backbone(
            name, in_channels=in_channels, weights=weights_backbone, **further
        )
    except DilationError as error:
        with torch.device("meta"):
            plain = create_backbone(name)
        raise _misfit(name, plain, needed, needs_stem=needs_stem) from error
    if backbone.strides != needed or (needs_stem and not getattr(backbone, "stem_channels", 0)):
        raise _misfit(name, backbone, needed, needs_stem=needs_stem)
    return with_weights(network(backbone, num_classes=num_classes, **options), weights)


def _misfit(name: str, backbone: Any, needed: Stages[int], *, needs_stem: bool) -> ValueError:
    stem = getattr(backbone, "stem_channels", 0)
    has = f"strides {tuple(backbone.strides)}, channels {tuple(backbone.channels)} and " + (
        f"{stem} channels at stride 2" if stem else "no feature at stride 2"
    )
    dilated = ", the last ones dilated" if needed.c5 < 32 else ""
    return ValueError(
        f"the backbone {name} does not fit: it has {has}, and this network needs strides "
        f"{tuple(needed)}{dilated}{', and a feature at stride 2' if needs_stem else ''}. Take "
        f"another, such as {', '.join(FIT[:-1])} or {FIT[-1]}"
    )
