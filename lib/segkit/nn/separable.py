"""Depthwise separable convolution: space first, one channel at a time, then channels."""

from __future__ import annotations

from torch import nn

from segkit.nn.conv import ConvBN, ConvBNReLU


class SeparableConvBNReLU(nn.Sequential):
    """A depthwise convolution, then a 1x1 one, each with batch normalisation and ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result.
        kernel_size: side of the depthwise kernel, odd, in pixels.
        stride: step of the depthwise kernel in pixels; the result is ceil(H / stride) high.
        dilation: distance between the taps of the depthwise kernel in pixels.
        relu_between: whether a ReLU stands between the two, as in MobileNets.

    Raises:
        ValueError: in training, when a channel holds a single value.

    Source: Howard et al., "MobileNets", 2017, section 3.1, https://arxiv.org/abs/1704.04861
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        relu_between: bool = True,
    ) -> None:
        depthwise = ConvBNReLU if relu_between else ConvBN
        super().__init__(
            depthwise(
                in_channels,
                in_channels,
                kernel_size,
                stride=stride,
                dilation=dilation,
                groups=in_channels,
            ),
            ConvBNReLU(in_channels, out_channels, 1),
        )
