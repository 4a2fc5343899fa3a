"""No New-Net: a plain 3D U-Net, well trained, is hard to beat.

Paper: Isensee et al., "No New-Net", BrainLes at MICCAI 2018, https://arxiv.org/abs/1809.10483
Idea:  the authors answer a year of new architectures for brain tumours with U-Net in three
    dimensions, and look after the training instead: second place in BraTS 2018. What is changed
    serves large patches and small batches: padded convolutions, instance normalisation, leaky ReLU,
    and half the channels before each upsampling, which then has no weights.

    volume ─ 30 /1 ───────────────────────────────── cat ┬ 30, 30 ─ logits
               └ 60 /2 ─────────────────────── cat ┬ 60, 30 ─ x2 ┘
                   └ 120 /4 ───────────── cat ┬ 120, 60 ─ x2 ┘
                       └ 240 /8 ─── cat ┬ 240, 120 ─ x2 ┘
                            └ 480, 240 /16 ─ x2 ┘

Volumes (B, C, D, H, W) give logits (B, K, D, H, W). The paper trains on patches of 128x128x128
voxels with four modalities (in_channels=4), in batches of two.

Differs from the paper:
    - Three sigmoid outputs for overlapping tumour regions there, K classes with a softmax here.
    - Any size will do: pooling rounds up, and what comes from below is resized to the skip.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.builder import Paper
from segkit.losses import AuxLoss
from segkit.nn import check_num_classes
from segkit.outputs import SegOutput
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="No New-Net",
    authors="Isensee et al.",
    venue="BrainLes at MICCAI",
    year=2018,
    url="https://arxiv.org/abs/1809.10483",
    kind="medical",
)

SLOPE = 1e-2
"""Of the leaky ReLU on its negative side."""


class InstanceNorm(nn.InstanceNorm3d):
    """Instance normalisation with scale and shift, which a single voxel passes too."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:].numel() == 1:  # it is its own mean: only the shift is left
            return x * 0 * self.weight[:, None, None, None] + self.bias[:, None, None, None]
        return super().forward(x)


class ConvNormReLU(nn.Sequential):
    """3x3x3 convolution, instance normalisation, leaky ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(
            nn.Conv3d(in_channels, channels, 3, padding=1, bias=False),
            InstanceNorm(channels),
            nn.LeakyReLU(SLOPE, inplace=True),
        )


class NoNewNet(nn.Module):
    """The 3D U-Net of No New-Net.

    Args:
        num_classes: K, two or more.
        in_channels: channels of the volumes, one for each modality.
        channels: of each level, from the top; each twice the one above it.

    Raises:
        ValueError: fewer than two classes, or channels that do not double; in forward, images
            instead of volumes.

    Returns (forward):
        logits (B, K, D, H, W) for volumes (B, C, D, H, W) of any D, H, W. At 16 voxels a side and
        less the lowest level is a single voxel and adds nothing that depends on the volume.

    Example:
        >>> model = NoNewNet(num_classes=4, in_channels=1, channels=(4, 8, 16)).eval()
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
        channels: tuple[int, ...] = (30, 60, 120, 240, 480),
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if len(channels) < 2 or any(below != 2 * above for above, below in pairwise(channels)):
            raise ValueError(
                f"channels is {channels}; give two levels or more, each twice as wide as the one "
                "above it"
            )
        *upper, lowest = channels
        self.contract = nn.ModuleList(
            nn.Sequential(ConvNormReLU(above, width), ConvNormReLU(width, width))
            for above, width in pairwise((in_channels, *upper))
        )
        self.pool = nn.MaxPool3d(2, ceil_mode=True)
        # The second convolution of a block halves the channels for the upsampling after it.
        self.bottom = nn.Sequential(
            ConvNormReLU(upper[-1], lowest), ConvNormReLU(lowest, lowest // 2)
        )
        after = [width // 2 for width in upper[1:]]
        self.expand = nn.ModuleList(
            nn.Sequential(ConvNormReLU(2 * width, width), ConvNormReLU(width, narrow))
            for width, narrow in reversed(list(zip(upper, [upper[0], *after], strict=True)))
        )
        self.head = nn.Conv3d(upper[0], num_classes, 1)

        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)
        nn.init.zeros_(cast(Tensor, self.head.bias))

    def forward(self, images: Tensor) -> SegOutput:
        if images.dim() != 5:
            raise ValueError(
                f"images has shape {[*images.shape]}; this network takes volumes (B, C, D, H, W)"
            )
        x = images
        skips = []
        for convs in self.contract:
            x = convs(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for convs in self.expand:
            skip = skips.pop()
            x = F.interpolate(x, skip.shape[2:], mode="trilinear", align_corners=False)
            x = convs(torch.cat([skip, x.to(skip.dtype)], dim=1))
        return SegOutput(self.head(x), {})


def no_new_net(
    *, num_classes: int, in_channels: int = 3, weights: Source | None = None
) -> NoNewNet:
    """No New-Net: 14,490,784 parameters at four classes and the paper's four modalities."""
    return with_weights(NoNewNet(num_classes=num_classes, in_channels=in_channels), weights)


builders = (no_new_net,)
