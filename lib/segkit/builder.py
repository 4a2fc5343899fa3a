"""What the builders of networks share: a paper that they are of, and the options that all take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Required, TypedDict, get_args

from torchvision.models import WeightsEnum

from segkit.weights import Source

Kind = Literal["classic", "multi-scale", "attention", "real-time", "transformer", "medical"]
"""What a paper is read for; the first that holds, from the end of this list.

    classic      convolutions that label pixels at all: FCN, SegNet, the first DeepLabs
    multi-scale  pyramids, atrous rates and branches that see objects of several sizes
    attention    pixels, regions or channels that weigh each other
    real-time    made for speed
    transformer  a transformer as backbone
    medical      made for medical images
"""

BackboneWeights = WeightsEnum | str | None
"""Weights of a backbone alone: a member of torchvision's enum or its name, such as
"IMAGENET1K_V1"; of an encoder of timm the tag, or "DEFAULT"; None draws them at random. For a whole
network `segkit.create_model` takes a file of them, too, of any backbone."""


class Paper(NamedTuple):
    """Where a network comes from: the "Paper:" line of its file, as data.

    Attributes:
        title: in full; of a network without a paper what it would be called.
        authors: all up to three, else the first and "et al.".
        venue: conference or journal, without the year; "" for a preprint.
        year: of the venue.
        url: of the paper, on arXiv where it is there; "" for no paper yet.
        kind: see `Kind`.
    """

    title: str
    authors: str
    venue: str
    year: int
    url: str
    kind: Kind


class Options(TypedDict, total=False):
    """What every builder takes, beside ``weights``: where to load weights from, see `Source`.

    Attributes:
        num_classes: K, two or more.
        in_channels: channels of the images, 3 unless given.
    """

    num_classes: Required[int]
    in_channels: int


class BackboneOptions(Options, total=False):
    """What every builder takes whose network is on a backbone, beside ``backbone``, its name.

    Attributes:
        weights: where to load weights from, see `Source`; None draws them at random.
        weights_backbone: of the backbone alone, see `BackboneWeights`.
    """

    weights: Source | None
    weights_backbone: BackboneWeights


def option_names(builder: Callable[..., Any]) -> list[str]:
    """The keywords that a builder takes, those of its ``**options: Unpack[...]`` first."""
    shared: list[str] = []
    own: list[str] = []
    for parameter in inspect.signature(builder).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            evaluated = inspect.signature(builder, eval_str=True).parameters[parameter.name]
            for shape in get_args(evaluated.annotation)[:1]:  # of somebody's own none may be said
                shared += shape.__annotations__
        else:
            own.append(parameter.name)
    return shared + own


def takes_any(builder: Callable[..., Any]) -> bool:
    """Whether a builder takes keywords that it does not name, in ``**options`` of no type."""
    parameters = inspect.signature(builder).parameters.values()
    return any(p.kind is p.VAR_KEYWORD and "Unpack" not in str(p.annotation) for p in parameters)


def own_backbone(builder: Callable[..., Any]) -> str | None:
    """The backbone that a builder has unless another is named: "" for none.

    None where it has none of its own: one must be named.
    """
    parameter = inspect.signature(builder).parameters.get("backbone")
    if parameter is None:
        return ""
    return None if parameter.default is parameter.empty else parameter.default
