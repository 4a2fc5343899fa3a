"""U-Net: a path down to see what is there, a path up to see where, and bridges between them.

Paper: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", MICCAI 2015, https://arxiv.org/abs/1505.04597
Idea:  at each level of the contracting path two 3x3 convolutions, then pooling and twice the
    channels; the expansive path mirrors it with 2x2 up-convolutions, and each level is concatenated
    with the features of the same level on the way down. Convolutions are unpadded, so a pixel is
    only ever computed from real pixels: the image is mirrored at its border instead.

    image ─ 64 /1 ─────────────────────────────── crop ┬ 64 /1 ─ logits
              └ 128 /2 ───────────────────── crop ┬ 128 /2
                   └ 256 /4 ──────────── crop ┬ 256 /4
                        └ 512 /8 ────── crop ┬ 512 /8
                              └ 1024 /16 ────┘

Differs from the paper:
    - The paper cuts its 388-pixel output tiles by hand; here the network adds the mirrored border
      itself (92 pixels, plus what makes all sizes even) and crops, so that the logits have the
      image's size. An image smaller than the border is mirrored again and again.
    - The paper's text has no ReLU after an up-convolution and 64 channels after the last one; the
      authors' Caffe model has a ReLU after each, and 128. Here it is the text.
    - `unet_padded` pads the convolutions with zeros and has batch normalisation instead of dropout:
      less computation, no border, and what most call U-Net today.
    - `BackboneUNet` keeps the idea only: any backbone goes down; the way up has nearest-neighbour
      upsampling and half the width. With ResNets it is smp.Unet, parameter for parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, BackboneWeights, Options, Paper
from segkit.losses import AuxLoss
from segkit.nn import DoubleConv, UpBlock, check_num_classes, init_kaiming, init_up_convs
from segkit.outputs import Backbone, SegOutput
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="U-Net: Convolutional Networks for Biomedical Image Segmentation",
    authors="Ronneberger, Fischer and Brox",
    venue="MICCAI",
    year=2015,
    url="https://arxiv.org/abs/1505.04597",
    kind="medical",
)


def mirror(images: Tensor, *, before: int, height: int, width: int) -> Tensor:
    """Extend images beyond their border by mirroring them, as often as it takes.

    The same as ``F.pad(..., mode="reflect")`` where that is possible, which is up to one pixel less
    than the image's size.

    Args:
        images: shape (B, C, H, W), H and W two or more.
        before: pixels added above and to the left.
        height: rows of the result; what `before` and H do not fill is added below.
        width: columns of the result.

    Returns:
        Shape (B, C, height, width).

    Source: section 1 and figure 2, the overlap-tile strategy.
    """
    for dim, length in ((-2, height), (-1, width)):
        # A triangle wave: 0, 1 … H - 1, H - 2 … 1, 0, 1 …
        period = 2 * (images.shape[dim] - 1)
        position = (torch.arange(length, device=images.device) - before) % period
        images = images.index_select(dim, torch.minimum(position, period - position))
    return images


CHANNELS = (64, 128, 256, 512, 1024)
"""Channels of the paper's levels, from the top (figure 1)."""


class UNet(nn.Module):
    """U-Net as in the paper, or with padded convolutions.

    Args:
        num_classes: K, two or more.
        in_channels: channels of the images.
        channels: of each level, from the top; one level more halves the size once more.
        padded: whether convolutions are padded with zeros instead of mirroring the image.
        batch_norm: whether each 3x3 convolution is followed by batch normalisation.
        dropout: probability at the end of the contracting path, after its last two levels.

    Raises:
        ValueError: fewer than two classes.

    Example:
        >>> model = UNet(num_classes=2, in_channels=1, channels=(8, 16, 32)).eval()
        >>> model(torch.zeros(1, 1, 50, 70)).logits.shape
        torch.Size([1, 2, 50, 70])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        channels: Sequence[int] = CHANNELS,
        padded: bool = False,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.padded = padded
        self.scale = 2 ** (len(channels) - 1)  # image pixels per pixel of the lowest level

        kind = {"padded": padded, "batch_norm": batch_norm}
        self.contract = nn.ModuleList(
            DoubleConv(above, below, **kind) for above, below in pairwise((in_channels, *channels))
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        levels = list(pairwise(reversed(channels)))
        self.up_convs = nn.ModuleList(
            nn.ConvTranspose2d(below, above, 2, stride=2) for below, above in levels
        )
        self.expand = nn.ModuleList(DoubleConv(2 * above, above, **kind) for _, above in levels)
        self.head = nn.Conv2d(channels[0], num_classes, 1)

        # Section 3: Gaussian of variance 2 / N, N the values that one output value is made of.
        init_kaiming(self)
        init_up_convs(self)

    def forward(self, images: Tensor) -> SegOutput:
        height, width = images.shape[-2:]
        x = mirror(
            images,
            before=0 if self.padded else 6 * self.scale - 4,
            height=self._input_size(height),
            width=self._input_size(width),
        )
        skips = []
        for level, convs in enumerate(self.contract):
            x = convs(self.pool(x) if level else x)
            if level >= len(self.contract) - 2:
                x = self.dropout(x)
            skips.append(x)

        skips.pop()  # the lowest level is x itself
        for up_conv, convs in zip(self.up_convs, self.expand, strict=True):
            x = up_conv(x)
            skip = skips.pop()
            margin = (skip.shape[-1] - x.shape[-1]) // 2
            skip = F.pad(skip, [-margin] * 4)  # crop
            x = convs(torch.cat([x, skip], dim=1))
        return SegOutput(self.head(x)[..., :height, :width], {})

    def _input_size(self, size: int) -> int:
        """The smallest input for `size` logits that leaves an even size to every pooling."""
        scale = self.scale
        if self.padded:
            return -(-size // scale) * scale
        # From the lowest level's output, b pixels: each level up doubles it and takes 4 off, each
        # level down (with its own convolutions) adds 4 and doubles; for 5 levels 16 b - 60 and
        # 16 b + 124, or 388 and 572 at the paper's b of 28.
        lowest = -(-(size + 4 * (scale - 1)) // scale)
        return scale * lowest + 8 * scale - 4


class BackboneUNet(nn.Module):
    """U-Net's expansive path on any backbone.

    Args:
        backbone: gives Stages, sizes rounded up; dilated ones too.
        num_classes: K, two or more.
        decoder_channels: after the skips c4, c3, c2, the stem, and at the image's size.
        stem: whether the stride-2 feature is a skip as well; the backbone must have
            ``stem_channels`` and ``forward_with_stem``, as ResNet has. Without it nothing is
            concatenated at stride 2; None takes it where there is one.

    Raises:
        ValueError: fewer than two classes, not five decoder channels, or no stem to take.

    Example:
        >>> model = unet(backbone="resnet18", num_classes=5).eval()
        >>> model(torch.zeros(1, 3, 50, 70)).logits.shape
        torch.Size([1, 5, 50, 70])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        decoder_channels: tuple[int, int, int, int, int] = (256, 128, 64, 32, 16),
        stem: bool | None = False,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if len(decoder_channels) != 5:
            raise ValueError(f"decoder_channels is {decoder_channels}; give five, one a level")
        if stem is None:
            stem = getattr(backbone, "stem_channels", 0) > 0
        if stem and not hasattr(backbone, "forward_with_stem"):
            raise ValueError(f"{type(backbone).__name__} has no forward_with_stem: pass stem=False")
        self.backbone: Any = backbone
        self.stem = stem
        c2, c3, c4, c5 = backbone.channels
        skips = (c4, c3, c2, self.backbone.stem_channels if stem else 0, 0)
        self.decoder = nn.ModuleList(
            UpBlock(below, skip, above)
            for (below, above), skip in zip(pairwise((c5, *decoder_channels)), skips, strict=True)
        )
        self.head = nn.Conv2d(decoder_channels[-1], num_classes, 3, padding=1)
        init_kaiming(self.decoder)

    def forward(self, images: Tensor) -> SegOutput:
        height, width = images.shape[-2:]
        if self.stem:
            stem, (c2, c3, c4, x) = self.backbone.forward_with_stem(images)
            skips = [stem]
        else:
            c2, c3, c4, x = self.backbone(images)
            skips = []

        up4, up3, up2, up1, up0 = self.decoder
        x = up4(x, [c4], c4.shape[-2:])
        x = up3(x, [c3], c3.shape[-2:])
        x = up2(x, [c2], c2.shape[-2:])
        x = up1(x, skips, ((height + 1) // 2, (width + 1) // 2))
        x = up0(x, [], (height, width))
        return SegOutput(self.head(x), {})


def unet(
    *,
    backbone: str = "",
    channels: Sequence[int] = CHANNELS,
    weights: Source | None = None,
    weights_backbone: BackboneWeights = None,
    **options: Unpack[Options],
) -> UNet | BackboneUNet:
    """The paper's U-Net: 31,030,658 parameters with one channel in and two classes out.

    Other ``channels``, two or more, one for each level from the top, make it narrower or lower.

    With the name of a backbone its expansive path on that, `BackboneUNet`, which has a skip at
    stride 2 where the backbone has a stem.
    """
    if len(channels) < 2 or min(channels) < 1:
        raise ValueError(f"channels={channels!r}: give two levels or more, each of 1 or more")
    if backbone:
        if tuple(channels) != CHANNELS:
            raise ValueError(f"channels={channels!r}: with backbone={backbone!r} they are its own")
        own = {"weights": weights, "weights_backbone": weights_backbone}
        return on_backbone(BackboneUNet, backbone, stem=None, **own, **options)
    if weights_backbone is not None:
        raise ValueError(f"weights_backbone is {weights_backbone!r}, but no backbone is named")
    return with_weights(UNet(channels=channels, **options), weights)


def unet_padded(
    *,
    batch_norm: bool = True,
    dropout: float = 0.0,
    weights: Source | None = None,
    **options: Unpack[Options],
) -> UNet:
    """U-Net of the paper's widths with padded convolutions and batch normalisation."""
    model = UNet(padded=True, batch_norm=batch_norm, dropout=dropout, **options)
    return with_weights(model, weights)


def unet_resnet18(
    *, backbone: str = "resnet18", **options: Unpack[BackboneOptions]
) -> BackboneUNet:
    """U-Net on ResNet-18, every stage and the stem as skips."""
    return on_backbone(BackboneUNet, backbone, stem=None, **options)


def unet_resnet34(
    *, backbone: str = "resnet34", **options: Unpack[BackboneOptions]
) -> BackboneUNet:
    """U-Net on ResNet-34: 24,438,979 parameters at 19 classes, as smp.Unet."""
    return on_backbone(BackboneUNet, backbone, stem=None, **options)


def unet_resnet50(
    *, backbone: str = "resnet50", **options: Unpack[BackboneOptions]
) -> BackboneUNet:
    """U-Net on ResNet-50: 32,523,715 parameters at 19 classes, as smp.Unet."""
    return on_backbone(BackboneUNet, backbone, stem=None, **options)


builders = (unet, unet_padded, unet_resnet18, unet_resnet34, unet_resnet50)
