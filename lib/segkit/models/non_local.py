"""Non-local network: one block lets every pixel see every other pixel.

Paper: Wang et al., "Non-local Neural Networks", CVPR 2018, https://arxiv.org/abs/1711.07971
Idea:  a convolution sees its neighbourhood, and far relations need many of them. A non-local block
    computes each pixel anew as a weighted sum over all pixels, the weights a softmax of learned
    similarities (embedded Gaussian, the paper's default), and adds the result to its input.

    image ─ ResNet ┬ c4 /8 ─ aux head = aux "c4"
                   └ c5 /8 ┬ 3x3 (512) ─ non-local ─ 3x3 ┬ concatenate ─ 3x3 ─ scores ─ x8 ─ logits
                           └─────────────────────────────┘

The paper classifies videos and detects objects. This is the network with which segmentation papers
compare themselves: a non-local block in the head of a dilated FCN, as mmsegmentation has it, module
for module, on torchvision's ResNet instead of one with a stem of three 3x3 convolutions.

Differs from the paper: the similarities are divided by the square root of their channels before the
softmax, as in the authors' code; its other three pairwise functions are left out, and so is pooling
of the keys.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import (
    ConvBN,
    ConvBNReLU,
    FCNHead,
    ResizeLogits,
    check_num_classes,
    init_kaiming,
    pixel_attention,
)
from segkit.outputs import Backbone, SegOutput

PAPER = Paper(
    title="Non-local Neural Networks",
    authors="Wang et al.",
    venue="CVPR",
    year=2018,
    url="https://arxiv.org/abs/1711.07971",
    kind="attention",
)


class NonLocalBlock(nn.Module):
    """x + W(sum over all pixels j of softmax_j(theta(x_i) . phi(x_j)) g(x_j)), Eq. 1 to 6.

    The scale of the last batch normalisation starts at zero, so that the block starts as the
    identity and can be put anywhere into a trained network (section 4.1).

    Args:
        channels: of the map, B x C x H x W in and out.
        inner_channels: of theta, phi and g; half of `channels` unless given.
    """

    def __init__(self, channels: int, *, inner_channels: int | None = None) -> None:
        super().__init__()
        inner_channels = inner_channels or channels // 2
        self.theta = nn.Conv2d(channels, inner_channels, 1)
        self.phi = nn.Conv2d(channels, inner_channels, 1)
        self.g = nn.Conv2d(channels, inner_channels, 1)
        self.expand = ConvBN(inner_channels, channels, 1)
        init_kaiming(self)
        for embed in (self.theta, self.phi, self.g):
            nn.init.normal_(embed.weight, std=0.01)
        nn.init.zeros_(self.expand.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = pixel_attention(self.theta(x), self.phi(x), self.g(x))
        return x + self.expand(y)


class NonLocalNet(nn.Module):
    """A dilated FCN with a non-local block in its head.

    Args:
        backbone: module images -> Stages, with the attribute `channels`.
        num_classes: K, two or more.
        channels: of the map on which the block works.
        dropout: probability that a channel is dropped before the scores, in training.

    Raises:
        ValueError: fewer than two classes.

    Returns (forward):
        logits (B, K, H, W). In training, aux holds "c4" (B, K, H/8, W/8) at output stride 8.

    Example:
        >>> from segkit.backbones.resnet import resnet18
        >>> model = NonLocalNet(resnet18(), num_classes=5, channels=32).eval()
        >>> model(torch.zeros(1, 3, 64, 90)).logits.shape
        torch.Size([1, 5, 64, 90])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {"c4": AuxLoss(0.4)}

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        channels: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        c5 = backbone.channels.c5
        self.backbone = backbone
        self.reduce = ConvBNReLU(c5, channels)
        self.non_local = NonLocalBlock(channels)
        self.smooth = ConvBNReLU(channels, channels)
        self.fuse = ConvBNReLU(c5 + channels, channels)
        self.head = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(channels, num_classes, 1))
        self.resize = ResizeLogits()
        self.aux_head = FCNHead(backbone.channels.c4, num_classes)
        for child in (self.reduce, self.smooth, self.fuse, self.head, self.aux_head):
            init_kaiming(child)

    def forward(self, images: Tensor) -> SegOutput:
        _, _, c4, c5 = self.backbone(images)
        x = self.smooth(self.non_local(self.reduce(c5)))  # (B, channels, H/8, W/8)
        x = self.fuse(torch.cat([c5, x], dim=1))
        logits = self.resize(self.head(x), images.shape[-2:])
        return SegOutput(logits, {"c4": self.aux_head(c4)} if self.training else {})


def non_local(*, backbone: str, **options: Unpack[BackboneOptions]) -> NonLocalNet:
    """Non-local network on any backbone that can be dilated to stride 8."""
    return on_backbone(NonLocalNet, backbone, output_stride=8, **options)


def non_local_resnet50(
    *, backbone: str = "resnet50", **options: Unpack[BackboneOptions]
) -> NonLocalNet:
    """Non-local network on ResNet-50 at stride 8: 50,004,582 parameters at 19 classes."""
    return non_local(backbone=backbone, **options)


builders = (non_local, non_local_resnet50)
