"""The scores of one feature map, by one more convolution."""

from __future__ import annotations

from torch import nn


class FCNHead(nn.Sequential):
    """3x3 convolution with batch normalisation and ReLU, dropout, 1x1 scores.

    The head of dilated FCNs, and the auxiliary head on c4 that PSPNet introduced.

    Args:
        in_channels: channels of the feature map.
        num_classes: K, channels of the scores.
        channels: width between; a quarter of `in_channels` unless given.
        dropout: probability.

    Source: Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.3,
    https://arxiv.org/abs/1612.01105; the layers are torchvision's.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        channels = channels or in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(channels, num_classes, 1),
        )
