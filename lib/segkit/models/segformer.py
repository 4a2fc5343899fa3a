"""SegFormer: a transformer with stages, and a decoder that only mixes channels.

Paper: Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with
    Transformers", NeurIPS 2021, https://arxiv.org/abs/2105.15203
Idea:  the backbone's attention sees the whole image already, so that the decoder need not widen the
    view. Each stage is brought to the same channels by a linear layer, enlarged to stride 4, and
    two more linear layers make the classes.

    image ─ MiT ─┬ c2 /4 ── linear ───────┐
                 ├ c3 /8 ── linear ── x2 ─┤
                 ├ c4 /16 ─ linear ── x4 ─┼ concat ─ linear ─ linear /4 ─ x4 ─ logits
                 └ c5 /32 ─ linear ── x8 ─┘

Differs from the paper: this is the network that its authors released; the text does not mention
batch normalisation, ReLU and dropout of whole channels behind the fusing layer.
Differs from the release: see `segkit.backbones.mit`. Its backbones start from ImageNet weights,
which are not included. mmsegmentation and smp give B2 to B5 a decoder as narrow as B0's
(decoder_channels=256); the release has 768.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBNReLU, ResizeLogits, check_num_classes, resize
from segkit.outputs import Backbone, SegOutput, Stages

PAPER = Paper(
    title="SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers",
    authors="Xie et al.",
    venue="NeurIPS",
    year=2021,
    url="https://arxiv.org/abs/2105.15203",
    kind="transformer",
)


class AllMLPDecoder(nn.Module):
    """Bring the stages to one width and one size, then fuse them.

    Every layer is a linear one, at each pixel on its own: a 1x1 convolution.

    Args:
        in_channels: channels of the four stages.
        channels: width of each stage after its layer, and of the result.

    Returns:
        Shape (B, channels, H/4, W/4), the size of c2.

    Source: section 3.2, Eq. 4.
    """

    def __init__(self, in_channels: Stages[int], channels: int) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.fuse = ConvBNReLU(4 * channels, channels, 1)
        nn.init.kaiming_normal_(self.fuse.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, stages: Stages[Tensor]) -> Tensor:
        size = stages.c2.shape[-2:]
        c2, c3, c4, c5 = (
            resize(linear(x), size) for linear, x in zip(self.linear, stages, strict=True)
        )
        return self.fuse(torch.cat([c5, c4, c3, c2], dim=1))


class SegFormer(nn.Module):
    """SegFormer on any backbone; in the paper, MiT.

    Args:
        backbone: module images -> Stages, with the attribute `channels`.
        num_classes: K, at least 2.
        decoder_channels: width of the decoder.
        dropout: probability that a channel is dropped in front of the classifier.

    Raises:
        ValueError: fewer than two classes.

    Returns (forward):
        logits (B, K, H, W) for any H, W from 32 up; aux is always empty.

    Example:
        >>> model = segformer_b0(num_classes=19).eval()
        >>> model(torch.zeros(1, 3, 64, 96)).logits.shape
        torch.Size([1, 19, 64, 96])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        decoder_channels: int,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.backbone = backbone
        self.decoder = AllMLPDecoder(backbone.channels, decoder_channels)
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(decoder_channels, num_classes, 1)
        self.resize = ResizeLogits()

    def forward(self, images: Tensor) -> SegOutput:
        features = self.decoder(self.backbone(images))  # (B, D, H/4, W/4)
        logits = self.head(self.dropout(features))
        return SegOutput(self.resize(logits, images.shape[-2:]), {})


def segformer(
    *, backbone: str, decoder_channels: int = 256, **options: Unpack[BackboneOptions]
) -> SegFormer:
    """SegFormer's decoder on any backbone with strides of 4, 8, 16 and 32.

    Args:
        backbone: by name.
        decoder_channels: width of the decoder; 256 for B0 and B1 and 768 from B2 on as released,
            256 for all in mmsegmentation and smp.
        options: see `BackboneOptions`.

    Source: Table 6; the widths of the decoder are those of the release.
    """
    return on_backbone(SegFormer, backbone, decoder_channels=decoder_channels, **options)


def segformer_b0(
    *, backbone: str = "mit_b0", decoder_channels: int = 256, **options: Unpack[BackboneOptions]
) -> SegFormer:
    """SegFormer-B0: 3,719,027 parameters at 19 classes."""
    return segformer(backbone=backbone, decoder_channels=decoder_channels, **options)


def segformer_b1(
    *, backbone: str = "mit_b1", decoder_channels: int = 256, **options: Unpack[BackboneOptions]
) -> SegFormer:
    """SegFormer-B1: 13,682,131 parameters at 19 classes."""
    return segformer(backbone=backbone, decoder_channels=decoder_channels, **options)


def segformer_b2(
    *, backbone: str = "mit_b2", decoder_channels: int = 768, **options: Unpack[BackboneOptions]
) -> SegFormer:
    """SegFormer-B2: 27,361,235 parameters at 19 classes."""
    return segformer(backbone=backbone, decoder_channels=decoder_channels, **options)


def segformer_b3(
    *, backbone: str = "mit_b3", decoder_channels: int = 768, **options: Unpack[BackboneOptions]
) -> SegFormer:
    """SegFormer-B3: 47,237,075 parameters at 19 classes."""
    return segformer(backbone=backbone, decoder_channels=decoder_channels, **options)


def segformer_b4(
    *, backbone: str = "mit_b4", decoder_channels: int = 768, **options: Unpack[BackboneOptions]
) -> SegFormer:
    """SegFormer-B4: 64,007,635 parameters at 19 classes."""
    return segformer(backbone=backbone, decoder_channels=decoder_channels, **options)


def segformer_b5(
    *, backbone: str = "mit_b5", decoder_channels: int = 768, **options: Unpack[BackboneOptions]
) -> SegFormer:
    """SegFormer-B5: 84,607,955 parameters at 19 classes."""
    return segformer(backbone=backbone, decoder_channels=decoder_channels, **options)


builders = (
    segformer,
    segformer_b0,
    segformer_b1,
    segformer_b2,
    segformer_b3,
    segformer_b4,
    segformer_b5,
)
