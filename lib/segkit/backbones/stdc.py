"""STDC: a fast backbone whose blocks concatenate ever thinner convolutions.

Paper: Fan et al., "Rethinking BiSeNet For Real-time Semantic Segmentation", CVPR 2021,
    https://arxiv.org/abs/2104.13188
Idea:  in a block the receptive field grows from convolution to convolution while the width halves:
    one 1x1 and three 3x3 in a row, of 1/2, 1/4, 1/8 and 1/8 of the output's channels. All four are
    concatenated, so that a block hands on several receptive fields for little computation.

    image ─ conv /2 (32) ─ conv /4 (64) ─ blocks /8 (256) ─ blocks /16 (512) ─ blocks /32 (1024)
                                c2             c3                c4                 c5

Only the features are here. For ImageNet the authors append a 1x1 convolution, global pooling and
two linear layers, 3,125,248 parameters that segmentation never uses; they count in the sizes that
are often quoted for STDC networks. ImageNet weights are not included.

Differs from the paper: nothing (its variant that adds instead of concatenating is left out).
"""

from __future__ import annotations

from typing import TypedDict, Unpack

import torch
from torch import Tensor, nn

from segkit.nn import ConvBN, ConvBNReLU, init_kaiming
from segkit.outputs import Stages


class STDCBlock(nn.Module):
    """Short-Term Dense Concatenate: one 1x1 and three 3x3 in a row, all concatenated.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result, a multiple of 8.
        stride: 1 keeps the size; 2 halves it, rounded up, after the 1x1: by a depthwise
            convolution on the way to the 3x3 ones, by average pooling on the way to the result.
        count_include_pad: whether the zeros of the padding count in the averages.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        half, quarter, eighth = out_channels // 2, out_channels // 4, out_channels // 8

        self.conv1 = ConvBNReLU(in_channels, half, 1)
        self.conv2 = ConvBNReLU(half, quarter)
        self.conv3 = ConvBNReLU(quarter, eighth)
        self.conv4 = ConvBNReLU(eighth, eighth)

        self.downsample: nn.Module = nn.Identity()
        self.skip: nn.Module = nn.Identity()
        if stride == 2:
            self.downsample = ConvBN(half, half, stride=2, groups=half)
            self.skip = nn.AvgPool2d(3, 2, 1, count_include_pad=count_include_pad)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.conv1(x)
        x2 = self.conv2(self.downsample(x1))
        x3 = self.conv3(x2)
        x4 = self.conv4(x3)
        return torch.cat([self.skip(x1), x2, x3, x4], dim=1)


class STDC(nn.Module):
    """The STDC backbone, features only.

    Args:
        depths: blocks at strides 8, 16 and 32; the first of each halves the size.
        in_channels: channels of the images.
        count_include_pad: whether the average pooling counts the zeros of its padding, as in the
            authors' code; False divides by the pixels that there are, as PaddleSeg does.

    Attributes:
        channels: Stages(64, 256, 512, 1024).
        strides: Stages(4, 8, 16, 32). Sizes are rounded up, so any H and W will do.

    Example:
        >>> features = stdc1().eval()(torch.zeros(1, 3, 64, 96))
        >>> features.c3.shape, features.c5.shape
        (torch.Size([1, 256, 8, 12]), torch.Size([1, 1024, 2, 3]))
    """

    def __init__(
        self,
        *,
        depths: tuple[int, int, int],
        in_channels: int = 3,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()

        def stage(before: int, channels: int, depth: int) -> nn.Sequential:
            first = STDCBlock(before, channels, stride=2, count_include_pad=count_include_pad)
            return nn.Sequential(first, *(STDCBlock(channels, channels) for _ in range(depth - 1)))

        self.channels = Stages(64, 256, 512, 1024)
        self.strides = Stages(4, 8, 16, 32)

        self.stem = ConvBNReLU(in_channels, 32, stride=2)
        self.stage2 = ConvBNReLU(32, self.channels.c2, stride=2)
        self.stage3 = stage(self.channels.c2, self.channels.c3, depths[0])
        self.stage4 = stage(self.channels.c3, self.channels.c4, depths[1])
        self.stage5 = stage(self.channels.c4, self.channels.c5, depths[2])
        init_kaiming(self, mode="fan_out")  # as the authors' code

    def forward(self, images: Tensor) -> Stages[Tensor]:
        c2 = self.stage2(self.stem(images))  # (B, 64, H/4, W/4)
        c3 = self.stage3(c2)  # (B, 256, H/8, W/8)
        c4 = self.stage4(c3)  # (B, 512, H/16, W/16)
        c5 = self.stage5(c4)  # (B, 1024, H/32, W/32)
        return Stages(c2, c3, c4, c5)


class Options(TypedDict, total=False):
    """What both builders take, see `STDC`."""

    in_channels: int
    count_include_pad: bool


def stdc1(**options: Unpack[Options]) -> STDC:
    """STDC1 (STDCNet813): 5,318,304 parameters."""
    return STDC(depths=(2, 2, 2), **options)


def stdc2(**options: Unpack[Options]) -> STDC:
    """STDC2 (STDCNet1446): 9,348,768 parameters."""
    return STDC(depths=(4, 5, 3), **options)


builders = (stdc1, stdc2)
