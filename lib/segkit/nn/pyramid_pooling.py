"""Pyramid pooling: the scene at several coarse resolutions, beside every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit.nn.conv import ConvBNReLU
from segkit.nn.resize import resize


class PyramidPooling(nn.Module):
    """Average the map into grids of several sizes, reduce each, enlarge, concatenate with the map.

    Args:
        in_channels: channels of the map, which come first in the result.
        channels: channels that each grid is reduced to.
        bins: cells along the side of each grid.

    Returns:
        Shape (B, in_channels + len(bins) * channels, H, W).

    Raises:
        ValueError: in training, a batch of one image with a grid of one cell.

    Source: Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.2,
    https://arxiv.org/abs/1612.01105
    """

    def __init__(
        self, in_channels: int, channels: int, *, bins: tuple[int, ...] = (1, 2, 3, 6)
    ) -> None:
        super().__init__()
        self.bins = bins
        self.convs = nn.ModuleList(ConvBNReLU(in_channels, channels, 1) for _ in bins)

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [x]
        for size, conv in zip(self.bins, self.convs, strict=True):
            grid = nn.functional.adaptive_avg_pool2d(x, size)
            pyramid.append(resize(conv(grid), x.shape[-2:]))
        return torch.cat(pyramid, dim=1)
