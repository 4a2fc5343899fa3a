"""UPerNet: a feature pyramid whose top has seen the whole image, fused at stride 4.

Paper: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018,
    https://arxiv.org/abs/1807.10221
Idea:  one network for scenes, objects, parts, materials and textures needs features of every level.
    A pyramid pooling module widens the view of c5, a feature pyramid carries the result down to
    stride 4, level by level, and objects are read from all levels together. It needs no dilation,
    so any backbone that gets coarser as it goes will do.

    image ─ ResNet ─┬ c5 /32 ─ pyramid pooling ─ 3x3 ─ p5 ─────────────┐
                    │                                  ├ x2            │
                    ├ c4 /16 ─ 1x1 ─────────────────── + ── 3x3 ─ p4 ──┤ to /4, concat
                    │    └ aux head                    ├ x2            │
                    ├ c3 /8 ── 1x1 ─────────────────── + ── 3x3 ─ p3 ──┤
                    │                                  ├ x2            │
                    └ c2 /4 ── 1x1 ─────────────────── + ── 3x3 ─ p2 ──┴ 3x3 ─ 1x1 ─ x4 ─ logits

Differs from the paper:
    - Of its five tasks this is the one called object, semantic segmentation; the heads of the
      others (scene on p5, part on the fused map, material on p2, texture on c2) are left out.
    - This is the form in which the network became a standard, mmsegmentation's: scores by a 1x1
      convolution alone, where the authors have a 3x3 one before it, dropout in front of it, and an
      auxiliary head on c4 with weight 0.4.
    - The authors' pyramid pooling enlarges each grid before its 1x1 convolution, here it is after.
    - The ResNet is torchvision's, with a 7x7 stem instead of three 3x3 convolutions.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import (
    ConvBNReLU,
    FCNHead,
    PyramidPooling,
    ResizeLogits,
    check_num_classes,
    init_decoder,
    resize,
)
from segkit.outputs import Backbone, SegOutput

PAPER = Paper(
    title="Unified Perceptual Parsing for Scene Understanding",
    authors="Xiao et al.",
    venue="ECCV",
    year=2018,
    url="https://arxiv.org/abs/1807.10221",
    kind="multi-scale",
)


class UPerNet(nn.Module):
    """Pyramid pooling and a feature pyramid on any backbone with four stages.

    Everything but the backbone is initialised here (He's normal distribution).

    Args:
        backbone: gives Stages, at strides 4, 8, 16 and 32 or dilated.
        num_classes: K, two or more.
        channels: width of every level, of each pooled grid and of the fused map.
        bins: cells along the side of each grid that c5 is pooled to.
        dropout: probability for a whole channel before the scores, and for a value in the aux head.
        aux: whether c4 is scored too in training, by a head 256 wide.

    Raises:
        ValueError: fewer than two classes; in training, a batch of one image (the grid of one cell
            leaves a single value per channel to normalise).

    Returns (forward):
        logits (B, K, H, W). In training, aux holds "c4" (B, K, H/16, W/16), sizes rounded up.

    Example:
        >>> from segkit.backbones.resnet import resnet18
        >>> output = UPerNet(resnet18(), num_classes=5, channels=32)(torch.zeros(2, 3, 64, 70))
        >>> output.logits.shape, output.aux["c4"].shape
        (torch.Size([2, 5, 64, 70]), torch.Size([2, 5, 4, 5]))
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        channels: int = 512,
        bins: tuple[int, ...] = (1, 2, 3, 6),
        dropout: float = 0.1,
        aux: bool = True,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        c2, c3, c4, c5 = backbone.channels

        self.aux_losses: dict[str, AuxLoss] = {"c4": AuxLoss(0.4)} if aux else {}
        self.backbone = backbone
        self.pyramid = PyramidPooling(c5, channels, bins=bins)
        self.context = ConvBNReLU(c5 + len(bins) * channels, channels)
        self.laterals = nn.ModuleList(ConvBNReLU(width, channels, 1) for width in (c2, c3, c4))
        self.smooth = nn.ModuleList(ConvBNReLU(channels, channels) for _ in range(3))
        self.fuse = ConvBNReLU(4 * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(channels, num_classes, 1)
        self.resize = ResizeLogits()
        self.aux_head = FCNHead(c4, num_classes, channels=256, dropout=dropout) if aux else None

        init_decoder(self)

    def forward(self, images: Tensor) -> SegOutput:
        c2, c3, c4, c5 = self.backbone(images)
        lateral2, lateral3, lateral4 = self.laterals
        smooth2, smooth3, smooth4 = self.smooth

        # The way down adds before it smooths, so that no level is smoothed twice.
        p5 = self.context(self.pyramid(c5))  # (B, C, H/32, W/32)
        p4 = lateral4(c4) + resize(p5, c4.shape[-2:])
        p3 = lateral3(c3) + resize(p4, c3.shape[-2:])
        p2 = lateral2(c2) + resize(p3, c2.shape[-2:])

        levels = [smooth2(p2), smooth3(p3), smooth4(p4), p5]
        fused = self.fuse(torch.cat([resize(p, c2.shape[-2:]) for p in levels], dim=1))
        scores = self.head(self.dropout(fused))  # (B, K, H/4, W/4)

        aux = {}
        if self.training and self.aux_head is not None:
            aux["c4"] = self.aux_head(c4)
        return SegOutput(self.resize(scores, images.shape[-2:]), aux)


class Options(BackboneOptions, total=False):
    """What all builders here take.

    Attributes:
        channels: width of the pyramid, 512; 256 in smp, and in the authors' light variant.
    """

    channels: int


def upernet(*, backbone: str, **options: Unpack[Options]) -> UPerNet:
    """UPerNet on any backbone with strides of 4, 8, 16 and 32."""
    return on_backbone(UPerNet, backbone, **options)


def upernet_resnet50(*, backbone: str = "resnet50", **options: Unpack[Options]) -> UPerNet:
    """UPerNet on ResNet-50: 64,031,315 parameters at 19 classes, 66,396,006 with the aux head."""
    return upernet(backbone=backbone, **options)


def upernet_resnet101(*, backbone: str = "resnet101", **options: Unpack[Options]) -> UPerNet:
    """UPerNet on ResNet-101: 83,023,443 parameters at 19 classes, 85,388,134 with the aux head."""
    return upernet(backbone=backbone, **options)


builders = (upernet, upernet_resnet50, upernet_resnet101)
