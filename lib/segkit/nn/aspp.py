"""Atrous spatial pyramid pooling: one map, read at several distances at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.nn.conv import ConvBNReLU


def atrous_rates(stride: int) -> tuple[int, int, int]:
    """The rates of ASPP for a map of this stride: 6, 12 and 18 at stride 16, twice that at 8.

    In pixels of the image the taps are then as far apart at any stride. They are meant for crops of
    513 pixels, maps of 33: on crops of less than 18 * 16 pixels the outer taps of the last branch
    never meet anything but padding, are never trained, and disturb every larger image.

    Args:
        stride: of the map, in image pixels, up to 32.

    Source: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017,
    section 3.3, https://arxiv.org/abs/1706.05587
    """
    return (6 * 16 // stride, 12 * 16 // stride, 18 * 16 // stride)


class ASPP(nn.Module):
    """A 1x1 convolution, 3x3 ones with taps far apart, the mean of the map; all of it projected.

    Each branch gives `channels`, with batch normalisation and ReLU, and so does the projection of
    their concatenation, which is followed by dropout. Convolutions start as torch draws them; a
    network calls `init_kaiming`.

    Args:
        in_channels: channels of the map.
        channels: channels of each branch and of the result.
        rates: distances between the taps of the 3x3 convolutions, in pixels of the map, one branch
            each; see `atrous_rates`.
        conv: builds such a branch, as ``conv(in_channels, channels, 3, dilation=rate)``; DeepLabV3+
            has `SeparableConvBNReLU`.
        dropout: probability after the projection.

    Returns:
        Shape (B, channels, H, W).

    Raises:
        ValueError: in training, a batch of one image: the mean is a single value per channel.

    Source: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017,
    section 3.3, https://arxiv.org/abs/1706.05587
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        *,
        rates: tuple[int, ...] = (6, 12, 18),
        conv: Callable[..., nn.Module] = ConvBNReLU,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                ConvBNReLU(in_channels, channels, 1),
                *(conv(in_channels, channels, 3, dilation=rate) for rate in rates),
            ]
        )
        self.pool = ConvBNReLU(in_channels, channels, 1)
        self.project = ConvBNReLU((len(rates) + 2) * channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.pool(F.adaptive_avg_pool2d(x, 1)).expand(-1, -1, *x.shape[-2:])
        branches = [conv(x) for conv in self.convs]
        return self.dropout(self.project(torch.cat([*branches, mean], dim=1)))
