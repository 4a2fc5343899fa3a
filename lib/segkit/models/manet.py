"""MA-Net: attention between all pixels at the bottom of a U-Net, between channels on the way up.

Paper: Fan et al., "MA-Net: A Multi-Scale Attention Network for Liver and Tumor Segmentation",
    IEEE Access 2020, https://doi.org/10.1109/ACCESS.2020.3025372
Idea:  a U-Net concatenates what it has, important or not. The position-wise attention block (PAB)
    lets each pixel of c5 gather from all pixels that resemble it; each multi-scale fusion attention
    block (MFAB) weighs the channels of the deeper map by what that map and the skip hold.

    image ─ stem 64 /2 ───────────────────────────────── MFAB 32 ─ x2, conv 16 ─ logits
              └ c2 /4 ───────────────────────── MFAB 64 ──┘
                  └ c3 /8 ──────────── MFAB 128 ─┘
                      └ c4 /16 ─ MFAB 256 ┘
                          └ c5 /32 ─ PAB ┘

    MFAB: deep ─ 3x3 ─ 1x1 ─ x2 ─┬──────────── * ─ concat skip ─ 3x3 ─ 3x3
                                 └ squeeze ─┐  │
                          skip ─── squeeze ─ + ┘

Differs from the paper:
    - The hidden units of the squeeze start in mirrored pairs, so that none starts with all of
      them dead.
    - It was made for CT of the liver; here the encoder is a ResNet, as in smp.MAnet, whose widths
      these are, parameter for parameter.
    - smp.MAnet normalises its attention over all pairs of pixels at once, where each weight is
      about one over the square of the pixels, and reads the result back without transposing it.
      Here the weights of each pixel sum to 1, and what it gathers stays at its place.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBNReLU, DoubleConv, check_num_classes, init_decoder
from segkit.outputs import BackboneWithStem, SegOutput

PAPER = Paper(
    title="MA-Net: A Multi-Scale Attention Network for Liver and Tumor Segmentation",
    authors="Fan et al.",
    venue="IEEE Access",
    year=2020,
    url="https://doi.org/10.1109/ACCESS.2020.3025372",
    kind="medical",
)


class PositionAttention(nn.Module):
    """PAB: each pixel plus what it gathers from all pixels, convolved.

    Memory grows with the square of the pixels, so the map should be a small one.

    Args:
        channels: of the map and of the result.
        key_channels: width in which pixels are compared.
    """

    def __init__(self, channels: int, *, key_channels: int = 64) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, key_channels, 1)
        self.key = nn.Conv2d(channels, key_channels, 1)
        self.value = nn.Conv2d(channels, channels, 3, padding=1)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (conv(x).flatten(2) for conv in (self.query, self.key, self.value))
        return self.smooth(x + self.gather(query, key, value).reshape(x.shape))

    def gather(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Average the values, (B, C, N), for each of N pixels by the likeness of query and key."""
        likeness = query.transpose(1, 2) @ key  # (B, N, N), a row for each pixel that asks
        return value @ likeness.softmax(dim=-1).transpose(1, 2)


class SqueezeExcite(nn.Sequential):
    """One weight per channel between 0 and 1, from the mean over the pixels.

    Source: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018,
    https://arxiv.org/abs/1709.01507
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        reduced = max(2, channels // reduction)  # two make a mirrored pair
        super().__init__(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, reduced, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(reduced, channels, 1),
            nn.Sigmoid(),
        )

    @torch.no_grad()
    def mirror_weights(self) -> None:
        """Make the second half of the hidden units the negative of the first.

        Means of features hardly change from image to image: a unit that starts below zero stays
        there, and with four units all may. Of a mirrored pair one is always above.
        """
        conv: Any = self[1]
        weight = conv.weight
        half = len(weight) // 2
        weight[half : 2 * half] = -weight[:half]


class MFAB(nn.Module):
    """Multi-scale fusion attention block: the deeper map, its channels weighed, beside the skip.

    Args:
        in_channels: of the deeper map.
        skip_channels: of the skip; the deeper map is brought to as many.
        out_channels: of the result, at the size of the skip.
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            ConvBNReLU(in_channels, in_channels), ConvBNReLU(in_channels, skip_channels, 1)
        )
        self.weigh_high = SqueezeExcite(skip_channels)
        self.weigh_low = SqueezeExcite(skip_channels)
        self.fuse = DoubleConv(2 * skip_channels, out_channels)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        high = F.interpolate(self.reduce(high), low.shape[-2:], mode="nearest")
        weights = self.weigh_high(high) + self.weigh_low(low)  # (B, C, 1, 1), between 0 and 2
        return self.fuse(torch.cat([high * weights, low], dim=1))


class MANet(nn.Module):
    """Position-wise attention on c5 and a decoder of MFABs.

    Everything but the backbone is initialised here (He's normal distribution).

    Args:
        backbone: gives Stages, sizes rounded up, and has ``stem_channels`` and
            ``forward_with_stem``, as ResNet has.
        num_classes: K, two or more.
        decoder_channels: after the skips c4, c3, c2, the stem, and at the image's size.
        key_channels: width in which the PAB compares pixels.

    Raises:
        ValueError: fewer than two classes, not five decoder channels, or no stem to take.

    Returns (forward):
        logits (B, K, H, W); no aux.

    Example:
        >>> from segkit.backbones.resnet import resnet18
        >>> model = MANet(resnet18(), num_classes=5).eval()
        >>> model(torch.zeros(1, 3, 50, 70)).logits.shape
        torch.Size([1, 5, 50, 70])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(
        self,
        backbone: BackboneWithStem,
        *,
        num_classes: int,
        decoder_channels: tuple[int, int, int, int, int] = (256, 128, 64, 32, 16),
        key_channels: int = 64,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if len(decoder_channels) != 5:
            raise ValueError(f"decoder_channels is {decoder_channels}; give five, one a level")
        if not hasattr(backbone, "forward_with_stem"):
            raise ValueError(
                f"{type(backbone).__name__} has no forward_with_stem, whose stride-2 feature is "
                "MA-Net's last skip: take a ResNet"
            )
        c2, c3, c4, c5 = backbone.channels
        *fused, last = decoder_channels

        self.backbone = backbone
        self.context = PositionAttention(c5, key_channels=key_channels)
        skips = (c4, c3, c2, backbone.stem_channels)
        self.decoder = nn.ModuleList(
            MFAB(below, skip, above)
            for (below, above), skip in zip(pairwise((c5, *fused)), skips, strict=True)
        )
        self.refine = nn.Sequential(ConvBNReLU(fused[-1], last), ConvBNReLU(last, last))
        self.head = nn.Conv2d(last, num_classes, 3, padding=1)

        init_decoder(self)
        for module in self.decoder.modules():
            if isinstance(module, SqueezeExcite):
                module.mirror_weights()

    def forward(self, images: Tensor) -> SegOutput:
        stem, (c2, c3, c4, c5) = self.backbone.forward_with_stem(images)
        x = self.context(c5)  # (B, C5, H/32, W/32)
        for block, skip in zip(self.decoder, (c4, c3, c2, stem), strict=True):
            x = block(x, skip)
        x = F.interpolate(x, images.shape[-2:], mode="nearest")
        return SegOutput(self.head(self.refine(x)), {})


def manet(*, backbone: str, **options: Unpack[BackboneOptions]) -> MANet:
    """MA-Net on any backbone with strides of 4, 8, 16 and 32 and a stem at 2."""
    return on_backbone(MANet, backbone, needs_stem=True, **options)


def manet_resnet34(*, backbone: str = "resnet34", **options: Unpack[BackboneOptions]) -> MANet:
    """MA-Net on ResNet-34: 31,786,243 parameters at 19 classes, as smp.MAnet."""
    return manet(backbone=backbone, **options)


def manet_resnet50(*, backbone: str = "resnet50", **options: Unpack[BackboneOptions]) -> MANet:
    """MA-Net on ResNet-50: 147,442,603 parameters at 19 classes, as smp.MAnet.

    Most of them are in 3x3 convolutions of c5's 2048 channels.
    """
    return manet(backbone=backbone, **options)


builders = (manet, manet_resnet34, manet_resnet50)
