"""Convolution followed by batch normalisation."""

from __future__ import annotations

from torch import Tensor, nn


class ConvBN(nn.Module):
    """Convolution and batch normalisation, padded so that stride 1 keeps the size.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result.
        kernel_size: side of the square kernel, odd, in pixels.
        stride: step of the kernel in pixels; the result is ceil(H / stride) high.
        dilation: distance between the taps of the kernel in pixels.
        groups: channel groups that do not see each other; `in_channels` gives a depthwise one.
        bias: whether the convolution keeps a bias. Batch normalisation cancels it, so it only
            matters for matching the parameters of a release that has one.

    Raises:
        ValueError: in training, when a channel holds a single value (a batch of one, pooled to
            1x1 or shrunk to it): its variance is not defined.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.bn.training:
            self._require_two_values(x)
        return self.bn(x)

    def _require_two_values(self, x: Tensor) -> None:
        # Synchronised batch normalisation counts the other processes too and is no BatchNorm2d.
        if x.shape[0] * x.shape[2] * x.shape[3] == 1 and isinstance(self.bn, nn.BatchNorm2d):
            conv = self.conv
            raise ValueError(
                f"{type(self).__name__}({conv.in_channels}, {conv.out_channels}, "
                f"{conv.kernel_size[0]}) has one value per channel to normalise in training: a "
                "batch of one image on a map of 1x1. Take a batch of 2 or more, convert the model "
                "with nn.SyncBatchNorm.convert_sync_batchnorm when training on several devices, "
                "or freeze batch normalisation by putting these layers in eval mode."
            )


class ConvBNReLU(ConvBN):
    """Convolution, batch normalisation and ReLU; arguments and errors of `ConvBN`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(super().forward(x))
