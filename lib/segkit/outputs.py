"""The shapes that everybody speaks: what a network returns, what a backbone is and returns."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from torch import Tensor

T = TypeVar("T")

IGNORE = 255
"""The label of void pixels: no loss is taken there and no metric counts them."""


class SegOutput(NamedTuple):
    """What every network returns, in training and in evaluation.

    Attributes:
        logits: raw scores, shape (B, K, H, W), at the size of the input images.
        aux: training-only outputs by name (``"c4"``, ``"detail"``…): logits at their own
            resolution, or a NamedTuple of tensors with a loss of its own; empty in eval mode.
    """

    logits: Tensor
    aux: dict[str, Any]


class Stages(NamedTuple, Generic[T]):
    """One value for each stage of a backbone, nominal strides 4, 8, 16 and 32.

    A backbone's ``forward`` returns Stages[Tensor], maps of shape (B, C, H/s, W/s); its attributes
    ``channels`` and ``strides`` are Stages[int]. Named, because an index into a list of features
    is the field's favourite bug.
    """

    c2: T
    c3: T
    c4: T
    c5: T


class Backbone(Protocol):
    """What a network asks of its backbone, a module: maps of images, and their numbers.

    Attributes:
        channels: of the maps.
        strides: of the maps, in pixels: 4, 8, 16 and 32; a dilated one may end at 8, a plain ViT
            has 16 four times.
    """

    channels: Stages[int]
    strides: Stages[int]

    def __call__(self, images: Tensor, /) -> Stages[Tensor]:
        """Maps of images (B, C, H, W), sizes rounded up."""
        ...


class BackboneWithStem(Backbone, Protocol):
    """A backbone that also gives a feature at stride 2.

    Attributes:
        stem_channels: its channels.
    """

    stem_channels: int

    def forward_with_stem(self, images: Tensor, /) -> tuple[Tensor, Stages[Tensor]]:
        """The feature at stride 2, (B, stem_channels, H/2, W/2), and the maps."""
        ...
