"""OCNet: every pixel pools its context from the pixels that look like parts of the same object.

Paper: Yuan and Wang, "OCNet: Object Context Network for Scene Parsing", 2018,
    https://arxiv.org/abs/1809.00916; IJCV 2021 as "OCNet: Object Context for Semantic Segmentation"
Idea:  pooling over a window or a grid mixes whatever lies there. Object context pooling weighs all
    pixels of the image by their likeness to this one, a learned stand-in for "belongs to the same
    class", and that is self-attention whose queries and keys are one and the same transform. The
    context is concatenated with the pixel itself.

    image ─ ResNet ┬ c4 /8 ─ aux head = aux "c4"
                   └ c5 /8 ─ 3x3 (512) ┬ object context ┬ concatenate ─ 1x1 ─ scores ─ x8 ─ logits
                                       └────────────────┘

    That is Base-OC. In ASP-OC it is one of five branches, at half the resolution, beside a 1x1 and
    three dilated convolutions (an ASPP whose image pooling looks at objects).

Differs from the paper: the similarities are divided by the square root of their channels before the
softmax, as released; the later paper's two transforms of two layers each are left out. Pyramid-OC,
whose context is confined to the cells of a grid, is left out too.
Differs from the release:
    - ReLU behind batch normalisation, as in the text, for its in-place normalisation with a leaky
      ReLU of slope 0.01.
    - It keeps biases in front of batch normalisation, which cancels them.
    - Its stem is three 3x3 convolutions of 64, 64 and 128 channels; here it is torchvision's.
    - It interpolates with aligned corners.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import (
    ConvBNReLU,
    FCNHead,
    ResizeLogits,
    check_num_classes,
    init_kaiming,
    pixel_attention,
    resize,
)
from segkit.outputs import Backbone, SegOutput

PAPER = Paper(
    title="OCNet: Object Context Network for Scene Parsing",
    authors="Yuan and Wang",
    venue="",
    year=2018,
    url="https://arxiv.org/abs/1809.00916",
    kind="attention",
)


class ObjectContextPooling(nn.Module):
    """The context of each pixel: all pixels, weighted by their likeness to it.

    The last convolution starts at zero, so that training starts without context.

    Args:
        channels: of map and context.
        key_channels: in which pixels are compared.
        value_channels: in which they are averaged.
        pool: side of the cells that are reduced to their maxima before pixels are compared; the
            context is interpolated back.
    """

    def __init__(
        self, channels: int, *, key_channels: int, value_channels: int, pool: int = 1
    ) -> None:
        super().__init__()
        self.pool = pool
        self.key = ConvBNReLU(channels, key_channels, 1)  # the queries too
        self.value = nn.Conv2d(channels, value_channels, 1)
        self.expand = nn.Conv2d(value_channels, channels, 1)
        init_kaiming(self)
        nn.init.zeros_(self.expand.weight)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        if self.pool > 1:
            x = F.max_pool2d(x, self.pool)
        key = self.key(x)
        context = self.expand(pixel_attention(key, key, self.value(x)))  # (B, channels, h, w)
        return resize(context, size) if self.pool > 1 else context


class BaseOC(nn.Module):
    """Base-OC: the object context, concatenated with the map.

    Args:
        channels: of map and result.
        dropout: probability that a channel of the result is dropped in training.
    """

    def __init__(self, channels: int = 512, *, dropout: float = 0.05) -> None:
        super().__init__()
        half = channels // 2
        self.fuse = ConvBNReLU(2 * channels, channels, 1)
        init_kaiming(self)
        self.context = ObjectContextPooling(channels, key_channels=half, value_channels=half)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.fuse(torch.cat([self.context(x), x], dim=1)))


class ASPOC(nn.Module):
    """ASP-OC: the object context beside a 1x1 and three dilated convolutions.

    Args:
        channels: of map and result; each branch has half.
        dilations: of the 3x3 convolutions, in pixels of the map.
        dropout: probability that a channel of the result is dropped in training.
    """

    def __init__(
        self,
        channels: int = 512,
        *,
        dilations: tuple[int, ...] = (12, 24, 36),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        half = channels // 2
        self.enter = ConvBNReLU(channels, half)
        self.leave = ConvBNReLU(half, half, 1)
        self.branches = nn.ModuleList(
            [
                ConvBNReLU(channels, half, 1),
                *(ConvBNReLU(channels, half, dilation=d) for d in dilations),
            ]
        )
        self.fuse = ConvBNReLU((2 + len(dilations)) * half, channels, 1)
        init_kaiming(self)
        self.context = ObjectContextPooling(
            half, key_channels=half // 2, value_channels=half, pool=2
        )
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        context = self.leave(self.context(self.enter(x)))
        branches = [branch(x) for branch in self.branches]
        return self.dropout(self.fuse(torch.cat([context, *branches], dim=1)))


class OCNet(nn.Module):
    """OCNet over a dilated backbone.

    Args:
        backbone: module images -> Stages, with the attribute `channels`.
        num_classes: K, two or more.
        context: module (B, channels, h, w) -> the same shape, such as `BaseOC` or `ASPOC`.
        channels: of the map that the context is pooled from.

    Raises:
        ValueError: fewer than two classes.

    Returns (forward):
        logits (B, K, H, W). In training, aux holds "c4" (B, K, H/8, W/8) at output stride 8.

    Example:
        >>> from segkit.backbones.resnet import resnet18
        >>> model = OCNet(resnet18(), num_classes=5, context=BaseOC(32), channels=32).eval()
        >>> model(torch.zeros(1, 3, 64, 90)).logits.shape
        torch.Size([1, 5, 64, 90])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {"c4": AuxLoss(0.4)}

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        context: nn.Module,
        channels: int = 512,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.backbone = backbone
        self.reduce = ConvBNReLU(backbone.channels.c5, channels)
        self.context = context  # has initialised itself
        self.head = nn.Conv2d(channels, num_classes, 1)
        self.resize = ResizeLogits()
        self.aux_head = FCNHead(backbone.channels.c4, num_classes, channels=channels, dropout=0.05)
        for child in (self.reduce, self.head, self.aux_head):
            init_kaiming(child)

    def forward(self, images: Tensor) -> SegOutput:
        _, _, c4, c5 = self.backbone(images)
        x = self.context(self.reduce(c5))  # (B, channels, H/8, W/8)
        logits = self.resize(self.head(x), images.shape[-2:])
        return SegOutput(logits, {"c4": self.aux_head(c4)} if self.training else {})


class Options(BackboneOptions, total=False):
    """What all builders here take.

    Attributes:
        context: "base" for Base-OC, "asp" for ASP-OC.
    """

    context: Literal["base", "asp"]


def ocnet(
    *,
    backbone: str,
    context: Literal["base", "asp"] = "base",
    **options: Unpack[BackboneOptions],
) -> OCNet:
    """OCNet on any backbone that can be dilated to stride 8; see `Options`.

    Raises:
        ValueError: another context; and as `on_backbone`.
    """
    kinds = {"base": BaseOC, "asp": ASPOC}
    if context not in kinds:
        raise ValueError(f"context is {context!r}; take 'base' or 'asp'")

    def network(backbone: Backbone, **rest: Any) -> OCNet:
        return OCNet(backbone, context=kinds[context](), **rest)

    return on_backbone(network, backbone, output_stride=8, **options)


def ocnet_resnet50(*, backbone: str = "resnet50", **options: Unpack[Options]) -> OCNet:
    """OCNet on ResNet-50 at stride 8: 38,605,158 parameters at 19 classes, 43,424,614 as ASP-OC."""
    return ocnet(backbone=backbone, **options)


def ocnet_resnet101(*, backbone: str = "resnet101", **options: Unpack[Options]) -> OCNet:
    """OCNet on ResNet-101: 57,597,286 parameters at 19 classes."""
    return ocnet(backbone=backbone, **options)


builders = (ocnet, ocnet_resnet50, ocnet_resnet101)
