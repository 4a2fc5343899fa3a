"""Semantic FPN: every level of a feature pyramid is brought to stride 4, and all are added up.

Paper: Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019,
    https://arxiv.org/abs/1901.02446; the pyramid is that of Lin et al., "Feature Pyramid Networks
    for Object Detection", CVPR 2017, https://arxiv.org/abs/1612.03144
Idea:  a detector's feature pyramid has the meaning of c5 at every level, so a light branch is
    enough to label pixels: each level is convolved and doubled until it is at stride 4, the four
    are added, a 1x1 convolution scores them. The same pyramid can serve Mask R-CNN meanwhile.

    image ─ ResNet ─┬ c5 /32 ─ 1x1 ─ + ─ 3x3 ─ p5 ─ 3 x (3x3, x2) ─┐
                    │                ├ x2                          │
                    ├ c4 /16 ─ 1x1 ─ + ─ 3x3 ─ p4 ─ 2 x (3x3, x2) ─┤
                    │                ├ x2                          │
                    ├ c3 /8 ── 1x1 ─ + ─ 3x3 ─ p3 ─ 1 x (3x3, x2) ─┤
                    │                ├ x2                          │
                    └ c2 /4 ── 1x1 ─ + ─ 3x3 ─ p2 ──────── 3x3 ────┴ sum ─ 1x1 ─ x4 ─ logits

Differs from the paper: nothing in the network. Other implementations do in places:
    - smp.FPN lacks the 3x3 convolutions of the pyramid (`smooth=False`), drops whole channels of
      the sum (`dropout=0.2`) and aligns the corners of what it enlarges.
    - mmsegmentation has batch instead of group normalisation, which counts the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Unpack

from torch import Tensor, nn
from torch.nn import functional as F

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import ResizeLogits, check_num_classes, init_decoder, resize
from segkit.outputs import Backbone, SegOutput, Stages

PAPER = Paper(
    title="Panoptic Feature Pyramid Networks",
    authors="Kirillov et al.",
    venue="CVPR",
    year=2019,
    url="https://arxiv.org/abs/1901.02446",
    kind="multi-scale",
)

GROUPS = 32


class FeaturePyramid(nn.Module):
    """The stages of a backbone at one width, each with the meaning of those above it.

    Args:
        in_channels: of the four stages.
        channels: of each level.
        smooth: whether each level ends with a 3x3 convolution.

    Returns (forward):
        p2, p3, p4 and p5, as Stages; sizes as those of the stages.

    Source: Lin et al., section 3; enlarged by repeating pixels, no non-linearity anywhere.
    """

    def __init__(self, in_channels: Stages[int], channels: int, *, smooth: bool = True) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.smooth = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) if smooth else nn.Identity()
            for _ in in_channels
        )

    def forward(self, stages: Stages[Tensor]) -> Stages[Tensor]:
        c2, c3, c4, c5 = (conv(c) for conv, c in zip(self.laterals, stages, strict=True))
        c4 = c4 + F.interpolate(c5, c4.shape[-2:], mode="nearest")
        c3 = c3 + F.interpolate(c4, c3.shape[-2:], mode="nearest")
        c2 = c2 + F.interpolate(c3, c2.shape[-2:], mode="nearest")
        return Stages(*(conv(c) for conv, c in zip(self.smooth, (c2, c3, c4, c5), strict=True)))


class ConvGNReLU(nn.Sequential):
    """3x3 convolution, group normalisation and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.GroupNorm(GROUPS, out_channels),
            nn.ReLU(inplace=True),
        )


class UpBranch(nn.Module):
    """Convolve and enlarge, step by step; without steps convolve once.

    Args:
        in_channels: of the level.
        channels: of the result.
        steps: how often it is enlarged.
    """

    def __init__(self, in_channels: int, channels: int, *, steps: int) -> None:
        super().__init__()
        widths = [in_channels, *[channels] * (max(steps, 1) - 1)]
        self.convs = nn.ModuleList(ConvGNReLU(width, channels) for width in widths)

    def forward(self, x: Tensor, sizes: Sequence[Sequence[int]]) -> Tensor:
        """Enlarge to each (H, W) of `sizes`, one a step."""
        for step, conv in enumerate(self.convs):
            x = conv(x)
            if sizes:
                x = resize(x, sizes[step])
        return x


class SemanticFPN(nn.Module):
    """A feature pyramid and the paper's branch for semantic segmentation.

    Everything but the backbone is initialised here (He's normal distribution).

    Args:
        backbone: gives Stages, at strides 4, 8, 16 and 32 or dilated.
        num_classes: K, two or more.
        pyramid_channels: width of p2 to p5.
        channels: width of the branch, a multiple of 32.
        smooth: whether each level of the pyramid ends with a 3x3 convolution.
        dropout: probability for a whole channel of the sum.

    Raises:
        ValueError: fewer than two classes, or a width that 32 groups do not divide.

    Returns (forward):
        logits (B, K, H, W); no aux.

    Example:
        >>> import torch
        >>> from segkit.backbones.resnet import resnet18
        >>> model = SemanticFPN(resnet18(), num_classes=5).eval()
        >>> model(torch.zeros(1, 3, 50, 70)).logits.shape
        torch.Size([1, 5, 50, 70])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        pyramid_channels: int = 256,
        channels: int = 128,
        smooth: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if channels % GROUPS:
            raise ValueError(
                f"channels is {channels}; group normalisation has {GROUPS} groups, so it must be a "
                f"multiple of {GROUPS}: take 128 as the paper"
            )
        self.backbone = backbone
        self.pyramid = FeaturePyramid(backbone.channels, pyramid_channels, smooth=smooth)
        self.branches = nn.ModuleList(
            UpBranch(pyramid_channels, channels, steps=steps) for steps in range(4)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(channels, num_classes, 1)
        self.resize = ResizeLogits()

        init_decoder(self)

    def forward(self, images: Tensor) -> SegOutput:
        p2, p3, p4, p5 = self.pyramid(self.backbone(images))
        to2, to3, to4 = (p.shape[-2:] for p in (p2, p3, p4))
        branch2, branch3, branch4, branch5 = self.branches

        x = branch2(p2, [])
        x = x + branch3(p3, [to2])
        x = x + branch4(p4, [to3, to2])
        x = x + branch5(p5, [to4, to3, to2])  # (B, 128, H/4, W/4)
        return SegOutput(self.resize(self.head(self.dropout(x)), images.shape[-2:]), {})


class Options(BackboneOptions, total=False):
    """What all builders here take.

    Attributes:
        smooth: the 3x3 convolutions at the end of each level of the pyramid; False in smp.
        dropout: probability for a whole channel before the scores, 0; 0.2 in smp.
    """

    smooth: bool
    dropout: float


def fpn(*, backbone: str, **options: Unpack[Options]) -> SemanticFPN:
    """Semantic FPN on any backbone with strides of 4, 8, 16 and 32."""
    return on_backbone(SemanticFPN, backbone, **options)


def fpn_resnet50(*, backbone: str = "resnet50", **options: Unpack[Options]) -> SemanticFPN:
    """Semantic FPN on ResNet-50: 28,478,675 parameters at 19 classes, 26,118,355 as smp.FPN."""
    return fpn(backbone=backbone, **options)


def fpn_resnet101(*, backbone: str = "resnet101", **options: Unpack[Options]) -> SemanticFPN:
    """Semantic FPN on ResNet-101: 47,470,803 parameters at 19 classes."""
    return fpn(backbone=backbone, **options)


builders = (fpn, fpn_resnet50, fpn_resnet101)
