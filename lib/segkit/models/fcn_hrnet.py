"""HRNetV2: a backbone that never gives up its resolution needs no decoder.

Paper: Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition",
    TPAMI 2021, https://arxiv.org/abs/1908.07919, sections 3.3 and 5
Idea:  HRNet's four branches carry everything from detail to context, each already mixed with the
    others. Interpolated to the finest and concatenated, one 1x1 convolution mixes them once more
    and another scores every pixel.

    image ─ HRNet ┬ c2 /4 ─────────┐
                  ├ c3 /8 ─── x2 ──┤
                  ├ c4 /16 ── x4 ──┼ concatenate ─ 1x1 ─ scores /4 ─ x4 ─ logits
                  └ c5 /32 ── x8 ──┘

Differs from the paper: nothing.
Differs from the release: its 1x1 convolution keeps a bias in front of batch normalisation, which
cancels it: 15 x width parameters, which PaddleSeg has as well. PaddleSeg's HRNet is another
function unless its padding_same is False; see `segkit.backbones.hrnet`.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

from torch import Tensor, nn

from segkit.backbones.fitting import on_backbone
from segkit.backbones.hrnet import concatenate
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBNReLU, ResizeLogits, check_num_classes, init_kaiming
from segkit.outputs import Backbone, SegOutput

PAPER = Paper(
    title="Deep High-Resolution Representation Learning for Visual Recognition",
    authors="Wang et al.",
    venue="TPAMI",
    year=2021,
    url="https://arxiv.org/abs/1908.07919",
    kind="multi-scale",
)


class FCNHRNet(nn.Module):
    """HRNetV2 for segmentation, over any backbone that gives Stages.

    Args:
        backbone: module images -> Stages, with the attribute `channels`.
        num_classes: K, two or more.

    Raises:
        ValueError: fewer than two classes.

    Example:
        >>> import torch
        >>> model = fcn_hrnet_w18_small(num_classes=5).eval()
        >>> model(torch.zeros(1, 3, 64, 90)).logits.shape
        torch.Size([1, 5, 64, 90])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(self, backbone: Backbone, *, num_classes: int) -> None:
        super().__init__()
        check_num_classes(num_classes)
        channels = sum(backbone.channels)
        self.backbone = backbone
        self.head = nn.Sequential(
            ConvBNReLU(channels, channels, 1), nn.Conv2d(channels, num_classes, 1)
        )
        self.resize = ResizeLogits()
        init_kaiming(self.head)

    def forward(self, images: Tensor) -> SegOutput:
        features = concatenate(self.backbone(images))  # (B, 15 width, H/4, W/4)
        return SegOutput(self.resize(self.head(features), images.shape[-2:]), {})


def fcn_hrnet(*, backbone: str, **options: Unpack[BackboneOptions]) -> FCNHRNet:
    """HRNetV2's head on any backbone with strides of 4, 8, 16 and 32."""
    return on_backbone(FCNHRNet, backbone, **options)


def fcn_hrnet_w18_small(
    *, backbone: str = "hrnet_w18_small", **options: Unpack[BackboneOptions]
) -> FCNHRNet:
    """HRNetV2-W18-Small: 3,939,309 parameters at 19 classes."""
    return fcn_hrnet(backbone=backbone, **options)


def fcn_hrnet_w18(*, backbone: str = "hrnet_w18", **options: Unpack[BackboneOptions]) -> FCNHRNet:
    """HRNetV2-W18: 9,640,849 parameters at 19 classes."""
    return fcn_hrnet(backbone=backbone, **options)


def fcn_hrnet_w48(*, backbone: str = "hrnet_w48", **options: Unpack[BackboneOptions]) -> FCNHRNet:
    """HRNetV2-W48: 65,858,659 parameters at 19 classes."""
    return fcn_hrnet(backbone=backbone, **options)


builders = (fcn_hrnet, fcn_hrnet_w18_small, fcn_hrnet_w18, fcn_hrnet_w48)
