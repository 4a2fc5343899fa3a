"""The backbones that have a name: two lines a file, its import and its builders."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from typing import Any

from torch import nn

from segkit.backbones import (
    hrnet,
    mit,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    stdc,
    vgg,
    vgg_atrous,
    vit,
    xception,
)
from segkit.backbones.timm_backbone import timm_backbone
from segkit.builder import BackboneWeights, option_names, takes_any
from segkit.outputs import Stages
from segkit.outside import explained, is_outside, short
from segkit.outside import find as find_outside

_BUILDERS = (
    *hrnet.builders,
    *mit.builders,
    *mobilenet_v1.builders,
    *mobilenet_v2.builders,
    *mobilenet_v3.builders,
    *resnet.builders,
    *stdc.builders,
    *vgg.builders,
    *vgg_atrous.builders,
    *vit.builders,
    *xception.builders,
)

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    builder.__name__: builder for builder in sorted(_BUILDERS, key=lambda each: each.__name__)
}
"""The builders by name, sorted; beside them ``"timm:<name>"`` is one of timm's encoders."""


def create_backbone(
    name: str, *, in_channels: int = 3, weights: BackboneWeights = None, **options: Any
) -> nn.Module:
    """Build a backbone by name; the same as calling its builder.

    Args:
        name: a key of `BACKBONES`, ``"timm:<name>"`` for an encoder of timm (an extra), or one of
            your own, ``"my_backbone.py:build"`` (see `segkit.outside`).
        in_channels: channels of the images.
        weights: see `BackboneWeights`.
        options: the builder's other arguments, such as ``output_stride=8``.

    Returns:
        A module images -> Stages, with the attributes ``channels`` and ``strides``.

    Raises:
        ValueError: no backbone has this name (the closest three are told), or it has no such
            weights or option (those that have are told).
        ImportError: timm is asked for and not installed.

    Example:
        >>> create_backbone("resnet18", output_stride=16).strides
        Stages(c2=4, c3=8, c4=16, c5=16)
    """
    options["in_channels"] = in_channels
    if weights is not None:
        if "weights" not in takes(name):
            raise ValueError(
                f"the backbone {name} has no weights to start from, asked for {weights!r}; those "
                f"that have are {_takers('weights')}, and most of timm's. None draws them at random"
            )
        options["weights"] = weights
    for option in options.keys() - takes(name):
        if takes_any(_builder(name)):
            break
        others = _takers(option)
        raise ValueError(
            f"the backbone {name} takes no {option}, asked for {option}={options[option]!r:.80}; "
            + (f"those that do are {others}" if others else "no backbone does")
            + f". Leave it out: {name} takes {', '.join(takes(name))}"
        )
    if name.startswith("timm:"):
        return timm_backbone(name.removeprefix("timm:"), **options)
    with explained(name):
        backbone = _builder(name)(**options)
    if is_outside(name):
        said = (getattr(backbone, word, None) for word in ("channels", "strides"))
        if not isinstance(backbone, nn.Module) or not all(isinstance(s, Stages) for s in said):
            raise ValueError(
                f"{short(name)} gives a {type(backbone).__name__} that is no backbone: it "
                "takes in_channels and gives an nn.Module images -> Stages(c2, c3, c4, c5), with "
                "the attributes channels and strides, each a segkit.outputs.Stages"
            )
    return backbone


def takes(name: str) -> Collection[str]:
    """The arguments of a backbone's builder.

    Raises:
        ValueError: no backbone has this name.
    """
    return option_names(_builder(name))


def _takers(option: str) -> str:
    """The backbones whose builder takes an option, as a list in words."""
    return ", ".join(name for name in BACKBONES if option in takes(name))


def _builder(name: str) -> Callable[..., nn.Module]:
    if str(name).startswith("timm:"):
        return timm_backbone
    if is_outside(name):
        return find_outside(name, takes=["in_channels"])
    if name not in BACKBONES:
        closest = difflib.get_close_matches(str(name)[:100], BACKBONES, n=3, cutoff=0.0)
        raise ValueError(
            f"there is no backbone named {name!r:.100}; the closest names are "
            f"{', '.join(closest)}. "
            'segkit.backbones.BACKBONES holds all of them; "timm:<name>" takes one of timm, and '
            '"my_backbone.py:build" one of your own'
        )
    return BACKBONES[name]
