"""STDC-Seg: BiSeNet without its spatial path, whose job the backbone learns from a detail loss.

Paper: Fan et al., "Rethinking BiSeNet For Real-time Semantic Segmentation", CVPR 2021,
    https://arxiv.org/abs/2104.13188
Idea:  BiSeNet spends a branch of its own on spatial detail. Here the backbone's c3 does it: in
    training a head on c3 must find the details of the label map, wherever labels change at several
    scales, so that detail is there when it is fused with the context. In use the head is gone.

    image ─ STDC ─┬ c3 /8 ┬────────────────────────┬ fusion /8 ─ head ─ x8 ─ logits
                  │       └ detail head            │
                  ├ c4 /16 ─ refine ─ + ─ p3 /8 ───┘
                  │                   │    └ aux head
                  │                   p4 /16 ─ aux head
                  └ c5 /32 ┬ refine ─ +
                           └ average ─┘

Differs from the paper: this is the network that its authors released. The text leaves most of the
decoder to BiSeNet; the auxiliary heads are the release's, on p3 and p4, which it calls 16 and 32.
Differs from the release:
    - The release counts 12,048,928 (STDC1) and 16,079,392 (STDC2) parameters, of which 3,125,248
      are the backbone's ImageNet tail and 350,784 are detail heads at strides 2, 4 and 16, all
      without use; the rest is here, 8,572,896 and 12,603,360. Without the heads for training it is
      8,275,104 and 12,305,568. mmsegmentation has a bias in the scores (8,275,123 and 12,305,587),
      PaddleSeg in more places (8,276,851 and 12,307,315).
    - It upsamples the aux logits to the labels; here the labels come down to the aux logits.
    - Void and the image's border are no details; see `segkit.losses.detail`.
    - Its convolutions start at a gain of 1, here sqrt(2) for the ReLU that follows.
    - Its STDC starts from ImageNet weights, which are not included.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.losses.detail import Detail, detail_loss
from segkit.nn import ConvBN, ConvBNReLU, ResizeLogits, check_num_classes, init_decoder
from segkit.outputs import Backbone, SegOutput, Stages

PAPER = Paper(
    title="Rethinking BiSeNet For Real-time Semantic Segmentation",
    authors="Fan et al.",
    venue="CVPR",
    year=2021,
    url="https://arxiv.org/abs/2104.13188",
    kind="real-time",
)


class AttentionRefinement(nn.Module):
    """A 3x3 convolution whose channels are weighed by their own global average.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result.

    Source: Yu et al., "BiSeNet", ECCV 2018, https://arxiv.org/abs/1808.00897, figure 2b.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(in_channels, out_channels)
        self.attention = ConvBN(out_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.attention(x.mean(dim=(2, 3), keepdim=True)).sigmoid()


class ContextPath(nn.Module):
    """From the global average of c5 upwards, with refined features of c5 and c4 added.

    Stages -> p3 (B, C, H/8, W/8) and p4 (B, C, H/16, W/16).

    Args:
        in_channels: the backbone's channels.
        channels: C.
    """

    def __init__(self, in_channels: Stages[int], channels: int) -> None:
        super().__init__()
        self.average = ConvBNReLU(in_channels.c5, channels, 1)
        self.refine5 = AttentionRefinement(in_channels.c5, channels)
        self.refine4 = AttentionRefinement(in_channels.c4, channels)
        self.smooth4 = ConvBNReLU(channels, channels)
        self.smooth3 = ConvBNReLU(channels, channels)

    def forward(self, stages: Stages[Tensor]) -> tuple[Tensor, Tensor]:
        average = self.average(stages.c5.mean(dim=(2, 3), keepdim=True))
        p5 = self.refine5(stages.c5) + average
        p4 = self.smooth4(F.interpolate(p5, stages.c4.shape[-2:], mode="nearest"))
        sum4 = self.refine4(stages.c4) + p4
        p3 = self.smooth3(F.interpolate(sum4, stages.c3.shape[-2:], mode="nearest"))
        return p3, p4


class FeatureFusion(nn.Module):
    """Concatenate detail and context, mix, and strengthen the channels that matter.

    Args:
        in_channels: channels of both together.
        channels: channels of the result, a multiple of 4.

    Source: Yu et al., "BiSeNet", ECCV 2018, https://arxiv.org/abs/1808.00897, figure 2c.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.mix = ConvBNReLU(in_channels, channels, 1)
        self.attention = nn.Sequential(
            nn.Conv2d(channels, channels // 4, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 4, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        x = self.mix(torch.cat([detail, context], dim=1))
        return x + x * self.attention(x.mean(dim=(2, 3), keepdim=True))


class SegHead(nn.Sequential):
    """3x3 convolution to `channels`, then 1x1 to the logits, at the size of the input."""

    def __init__(self, in_channels: int, channels: int, num_classes: int) -> None:
        super().__init__(
            ConvBNReLU(in_channels, channels), nn.Conv2d(channels, num_classes, 1, bias=False)
        )


class STDCSeg(nn.Module):
    """STDC-Seg over any backbone with stages at strides 8, 16 and 32.

    Everything but the backbone is initialised here (He's normal distribution).

    Args:
        backbone: module images -> Stages, with the attribute `channels`.
        num_classes: K, at least 2.
        context_channels: width of the context path.
        channels: width of the fused features and of the head.
        aux_channels: width inside the heads that only training has.

    Raises:
        ValueError: fewer than two classes; in training, a batch of one image (global averages are
            normalised).

    Returns (forward):
        logits (B, K, H, W) for any H, W from 32 up. In training, aux holds "p3" (B, K, H/8, W/8),
        "p4" (B, K, H/16, W/16) and "detail", a `Detail` with logits (B, 1, H/8, W/8), sizes
        rounded up.

    Example:
        >>> model = stdc1_seg(num_classes=11).eval()
        >>> model(torch.zeros(1, 3, 96, 128)).logits.shape
        torch.Size([1, 11, 96, 128])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {
        "p3": AuxLoss(1.0),
        "p4": AuxLoss(1.0),
        "detail": AuxLoss(1.0, detail_loss),
    }

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        context_channels: int = 128,
        channels: int = 256,
        aux_channels: int = 64,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        c3 = backbone.channels.c3
        self.backbone = backbone
        self.context = ContextPath(backbone.channels, context_channels)
        self.fusion = FeatureFusion(c3 + context_channels, channels)
        self.head = SegHead(channels, channels, num_classes)
        self.resize = ResizeLogits(align_corners=True)  # as the release
        self.aux_head3 = SegHead(context_channels, aux_channels, num_classes)
        self.aux_head4 = SegHead(context_channels, aux_channels, num_classes)
        self.detail_head = SegHead(c3, aux_channels, 1)

        init_decoder(self)

    def forward(self, images: Tensor) -> SegOutput:
        stages = self.backbone(images)
        p3, p4 = self.context(stages)  # (B, 128, H/8, W/8), (B, 128, H/16, W/16)
        logits = self.head(self.fusion(stages.c3, p3))  # (B, K, H/8, W/8)
        logits = self.resize(logits, images.shape[-2:])
        if not self.training:
            return SegOutput(logits, {})
        detail = Detail(self.detail_head(stages.c3))  # (B, 1, H/8, W/8)
        return SegOutput(
            logits, {"p3": self.aux_head3(p3), "p4": self.aux_head4(p4), "detail": detail}
        )


def stdc_seg(*, backbone: str, **options: Unpack[BackboneOptions]) -> STDCSeg:
    """STDC-Seg's decoder on any backbone with strides of 4, 8, 16 and 32."""
    return on_backbone(STDCSeg, backbone, **options)


def stdc1_seg(*, backbone: str = "stdc1", **options: Unpack[BackboneOptions]) -> STDCSeg:
    """STDC1-Seg: 8,572,896 parameters at 19 classes, of which 8,275,104 are used in eval."""
    return stdc_seg(backbone=backbone, **options)


def stdc2_seg(*, backbone: str = "stdc2", **options: Unpack[BackboneOptions]) -> STDCSeg:
    """STDC2-Seg: 12,603,360 parameters at 19 classes, 12,305,568 in eval."""
    return stdc_seg(backbone=backbone, **options)


builders = (stdc_seg, stdc1_seg, stdc2_seg)
