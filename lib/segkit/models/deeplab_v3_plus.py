"""DeepLabV3+: DeepLabV3 as an encoder, and a small decoder for the outlines.

Paper: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
    Segmentation", ECCV 2018, https://arxiv.org/abs/1802.02611
Idea:  atrous convolution cannot afford strides below 8, so outlines stay coarse. The result of ASPP
    is brought to stride 4, where c2, reduced to 48 channels so that it does not drown the context,
    knows them, and two 3x3 convolutions join both. All 3x3 convolutions of ASPP and decoder are
    depthwise separable ("atrous separable"), at a fraction of the cost.

    image ─ Xception ─ c5 /16 ─┬ 1x1 ────────────────┬ concat ─ 1x1 ─ x4 ┐
                       │       ├ separable, rate  6 ─┤                   │
                       │       ├ separable, rate 12 ─┤                   │
                       │       ├ separable, rate 18 ─┤                   │
                       │       └ mean ─ 1x1 ─────────┘                   │
                       └ c2 /4 ─ 1x1, 48 ────────────────────────── concat ─ separable x2 ─ scores
                                                                              /4 ─ x4 ─ logits

Differs from the paper:
    - The network is the authors' released one in what the text leaves open: batch normalisation and
      ReLU after each depthwise convolution, dropout of 0.1 after ASPP, corners aligned when
      enlarging (exact for their images of 16k + 1 pixels).
    - On MobileNetV2 the release has neither decoder nor ASPP's dilated branches; here it has both.
    - Xception starts at random: the release's ImageNet weights are not included.
smp.DeepLabV3Plus has as many parameters without that batch normalisation (`depthwise_bn=False`),
but its two convolutions stand one before and one after the concatenation (`decoder_convs=1`); its
rates are 12, 24 and 36 at any stride.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import (
    ConvBNReLU,
    ResizeLogits,
    SeparableConvBNReLU,
    check_num_classes,
    init_decoder,
    resize,
)
from segkit.nn.aspp import ASPP, atrous_rates
from segkit.outputs import Backbone, SegOutput

PAPER = Paper(
    title="Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
    authors="Chen et al.",
    venue="ECCV",
    year=2018,
    url="https://arxiv.org/abs/1802.02611",
    kind="multi-scale",
)


class BareSeparableConvBNReLU(nn.Sequential):
    """A separable convolution with batch normalisation and ReLU after its second half only."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, dilation: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels,
                in_channels,
                kernel_size,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
                groups=in_channels,
                bias=False,
            ),
            ConvBNReLU(in_channels, out_channels, 1),
        )


class DeepLabV3Plus(nn.Module):
    """Separable ASPP on c5, and a decoder with c2.

    Everything but the backbone is initialised here (He's normal distribution).

    Args:
        backbone: gives Stages; c5 at stride 16 or 8 in the paper, c2 at stride 4.
        num_classes: K, two or more.
        rates: distances between the taps of ASPP's 3x3 convolutions, in pixels of c5; None takes 6,
            12 and 18 at stride 16, twice that at 8.
        channels: of each branch of ASPP and of the decoder.
        low_channels: channels that c2 is reduced to.
        decoder_convs: separable convolutions after the concatenation, 2 as in the paper, or 1: the
            other one then comes before the context is enlarged.
        depthwise_bn: whether depthwise convolutions have batch normalisation and ReLU of their own.
        dropout: probability at the end of ASPP.

    Raises:
        ValueError: fewer than two classes, or neither one nor two decoder convolutions; in
            training, a batch of one image (the mean of the map leaves a single value per channel to
            normalise).

    Example:
        >>> model = deeplab_v3_plus(backbone="resnet18", num_classes=5).eval()
        >>> model(torch.zeros(1, 3, 64, 70)).logits.shape
        torch.Size([1, 5, 64, 70])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        rates: tuple[int, ...] | None = None,
        channels: int = 256,
        low_channels: int = 48,
        decoder_convs: int = 2,
        depthwise_bn: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if decoder_convs not in (1, 2):
            raise ValueError(f"decoder_convs is {decoder_convs}; it may be 2, or 1 as in smp")
        conv: Callable[..., nn.Module]
        conv = SeparableConvBNReLU if depthwise_bn else BareSeparableConvBNReLU
        c2, _, _, c5 = backbone.channels
        rates = rates or atrous_rates(backbone.strides.c5)

        self.backbone = backbone
        self.aspp = ASPP(c5, channels, rates=rates, conv=conv, dropout=dropout)
        self.smooth = conv(channels, channels) if decoder_convs == 1 else nn.Identity()
        self.low = ConvBNReLU(c2, low_channels, 1)
        self.decoder = nn.Sequential(conv(channels + low_channels, channels))
        if decoder_convs == 2:
            self.decoder.append(conv(channels, channels))
        self.head = nn.Conv2d(channels, num_classes, 1)
        self.resize = ResizeLogits(align_corners=True)

        init_decoder(self)

    def forward(self, images: Tensor) -> SegOutput:
        c2, _, _, c5 = self.backbone(images)
        low = self.low(c2)  # (B, 48, H/4, W/4)
        context = self.smooth(self.aspp(c5))  # (B, 256, H/16, W/16)
        # As released: of 16k + 1 pixels every 16th has a value of its own, the last one included.
        context = resize(context, low.shape[-2:], align_corners=True)
        scores = self.head(self.decoder(torch.cat([context, low], dim=1)))  # (B, K, H/4, W/4)
        return SegOutput(self.resize(scores, images.shape[-2:]), {})


class Options(BackboneOptions, total=False):
    """What all builders here take.

    Attributes:
        output_stride: of c5, 16 or 8; the rates of ASPP follow it.
        rates: of ASPP, where the crops of training are small: a tap that lies outside the map of
            every crop is never trained, and on larger images it answers at random.
    """

    output_stride: int
    rates: tuple[int, ...] | None


def deeplab_v3_plus(*, backbone: str, **options: Unpack[Options]) -> DeepLabV3Plus:
    """DeepLabV3+ on any backbone that can be dilated to stride 16."""
    options.setdefault("output_stride", 16)
    return on_backbone(DeepLabV3Plus, backbone, **options)


def deeplab_v3_plus_resnet18(
    *, backbone: str = "resnet18", **options: Unpack[Options]
) -> DeepLabV3Plus:
    """DeepLabV3+ on ResNet-18: 12,338,115 parameters at 19 classes."""
    return deeplab_v3_plus(backbone=backbone, **options)


def deeplab_v3_plus_resnet50(
    *, backbone: str = "resnet50", **options: Unpack[Options]
) -> DeepLabV3Plus:
    """DeepLabV3+ on ResNet-50: 26,695,619 parameters at 19 classes."""
    return deeplab_v3_plus(backbone=backbone, **options)


def deeplab_v3_plus_resnet101(
    *, backbone: str = "resnet101", **options: Unpack[Options]
) -> DeepLabV3Plus:
    """DeepLabV3+ on ResNet-101: 45,687,747 parameters at 19 classes."""
    return deeplab_v3_plus(backbone=backbone, **options)


def deeplab_v3_plus_mobilenet_v2(
    *, backbone: str = "mobilenet_v2", **options: Unpack[Options]
) -> DeepLabV3Plus:
    """DeepLabV3+ on MobileNetV2, decoder and all: 2,719,299 parameters at 19 classes."""
    return deeplab_v3_plus(backbone=backbone, **options)


def deeplab_v3_plus_xception65(
    *, backbone: str = "xception65", **options: Unpack[Options]
) -> DeepLabV3Plus:
    """DeepLabV3+ on aligned Xception-65, the paper's best: 41,054,899 parameters at 19 classes."""
    return deeplab_v3_plus(backbone=backbone, **options)


builders = (
    deeplab_v3_plus,
    deeplab_v3_plus_resnet18,
    deeplab_v3_plus_resnet50,
    deeplab_v3_plus_resnet101,
    deeplab_v3_plus_mobilenet_v2,
    deeplab_v3_plus_xception65,
)
