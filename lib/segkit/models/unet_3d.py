"""3D U-Net: U-Net's two paths through a volume.

Paper: Çiçek et al., "3D U-Net: Learning Dense Volumetric Segmentation from Sparse Annotation",
    MICCAI 2016, https://arxiv.org/abs/1606.06650
Idea:  U-Net with every operation in three dimensions and one level less. Channels double before a
    pooling, not after it, so that no narrow map is the only way down, and batch normalisation
    comes before each ReLU. A few annotated slices of a volume are enough to learn from: void
    voxels weigh nothing in the loss.

    volume ─ 32, 64 /1 ───────────────────────── cat ┬ 64, 64 ─ logits
                └ 64, 128 /2 ────────────── cat ┬ 128, 128 ─ up ┘
                     └ 128, 256 /4 ─── cat ┬ 256, 256 ─ up ┘
                            └ 256, 512 /8 ─ up ┘

Volumes (B, C, D, H, W) give logits (B, K, D, H, W). The paper trains on tiles of 132x132x116 voxels
with three channels, one at a time.

Differs from the paper:
    - Convolutions are padded with zeros, so that the logits have the volume's size; the paper's are
      not, and its tile answers for the 44x44x28 voxels in its middle.
    - Any size will do: pooling rounds up, and the step back up is cropped to the skip.
    - Convolutions before a batch normalisation have no bias, which it would take off again: with
      one each, and the 4,672 parameters of the normalisations left out, there are 19,069,955, as
      the paper counts.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from segkit.builder import Paper
from segkit.losses import AuxLoss
from segkit.nn import check_num_classes
from segkit.outputs import SegOutput
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="3D U-Net: Learning Dense Volumetric Segmentation from Sparse Annotation",
    authors="Çiçek et al.",
    venue="MICCAI",
    year=2016,
    url="https://arxiv.org/abs/1606.06650",
    kind="medical",
)


class ConvBNReLU3d(nn.Sequential):
    """3x3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(
            nn.Conv3d(in_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm3d(channels),
            nn.ReLU(inplace=True),
        )


class UNet3d(nn.Module):
    """3D U-Net.

    Args:
        num_classes: K, two or more.
        in_channels: channels of the volumes.
        channels: of each level's second convolution, from the top; its first has half as many.

    Raises:
        ValueError: fewer than two classes, fewer than two levels or odd channels; in forward,
            images instead of volumes, or in training a batch of a single voxel at the lowest level.

    Returns (forward):
        logits (B, K, D, H, W) for volumes (B, C, D, H, W) of any D, H, W.

    Example:
        >>> model = UNet3d(num_classes=4, in_channels=1, channels=(4, 8, 16)).eval()
        >>> model(torch.zeros(1, 1, 20, 24, 17)).logits.shape
        torch.Size([1, 4, 20, 24, 17])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}
    spatial_dims: ClassVar[int] = 3

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        channels: tuple[int, ...] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if len(channels) < 2 or any(width < 2 or width % 2 for width in channels):
            raise ValueError(
                f"channels is {channels}; give two levels or more, each with an even number"
            )
        self.contract = nn.ModuleList(
            nn.Sequential(ConvBNReLU3d(above, width // 2), ConvBNReLU3d(width // 2, width))
            for above, width in pairwise((in_channels, *channels))
        )
        self.pool = nn.MaxPool3d(2, ceil_mode=True)
        rising = [*pairwise(channels[::-1])]  # (below, skip) from the lowest level up
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(below, below, 2, 2, bias=False) for below, _ in rising
        )
        self.expand = nn.ModuleList(
            nn.Sequential(ConvBNReLU3d(below + skip, skip), ConvBNReLU3d(skip, skip))
            for below, skip in rising
        )
        self.head = nn.Conv3d(channels[0], num_classes, 1)

        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.ConvTranspose3d):  # each voxel is made of one below
                nn.init.normal_(module.weight, std=module.in_channels**-0.5)
        nn.init.zeros_(cast(Tensor, self.head.bias))

    def forward(self, images: Tensor) -> SegOutput:
        if images.dim() != 5:
            raise ValueError(
                f"images has shape {[*images.shape]}; this network takes volumes (B, C, D, H, W)"
            )
        x = images
        skips = []
        for level, convs in enumerate(self.contract):
            x = convs(self.pool(x) if level else x)
            skips.append(x)
        skips.pop()
        for up, convs in zip(self.up, self.expand, strict=True):
            skip = skips.pop()
            x = up(x)[..., : skip.shape[2], : skip.shape[3], : skip.shape[4]]
            x = convs(torch.cat([skip, x], dim=1))
        return SegOutput(self.head(x), {})


def unet_3d(*, num_classes: int, in_channels: int = 3, weights: Source | None = None) -> UNet3d:
    """3D U-Net: 19,072,291 parameters at the paper's three classes and channels."""
    return with_weights(UNet3d(num_classes=num_classes, in_channels=in_channels), weights)


builders = (unet_3d,)
