"""Aligned Xception: every convolution separable, every pooling a convolution with a stride.

Paper: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017,
    https://arxiv.org/abs/1610.02357; here as modified by Chen et al., "Encoder-Decoder with Atrous
    Separable Convolution for Semantic Image Segmentation" (DeepLabV3+), ECCV 2018, section 3.2,
    https://arxiv.org/abs/1802.02611
Idea:  a convolution mixes space and channels at once; split into one over space, channel by
    channel, and one over channels, pixel by pixel, it costs a ninth, and the network can be deeper.
    For segmentation it has no max pooling left, so that each stride can be replaced by dilation.

    image ─ 3x3 /2 ─ 3x3 ─ entry flow ─────────────────┬───────────────┐
                           128 /4      256 /8          728 /16         │
                                └ c2 /4     └ c3 /8                    │
                           exit flow ─────────────── middle flow ──────┘
                c5 /32 ─ 2048 ─ 1024 /32             728 /16, 8 or 16 times
                                └ c4 /16
                             (with output stride 16: c5 /16; 8: c4 /8, c5 /8)

Three separable convolutions and a shortcut make a block, and the third one has the stride. c2, c3
and c4 are taken just before it, behind the second: the deepest features of their stride. So does
the authors' release of DeepLabV3+, which takes c2.

Differs from the paper:
    - The text has batch normalisation and ReLU after each 3x3 depthwise convolution. As in the
      authors' release (and in timm), all have the normalisation, only the last block the ReLU;
      elsewhere a ReLU stands in front of each separable convolution.
    - Batch normalisation remembers 0.9 of its running statistics, the release 0.9997.
    - Initialised from He's normal distribution, the release from a normal one of fixed variance.
"""

from __future__ import annotations

from torch import Tensor, nn

from segkit.backbones.dilation import check_output_stride
from segkit.nn import ConvBN, ConvBNReLU, SeparableConvBNReLU, init_kaiming
from segkit.outputs import Stages


class ReLUSeparableConvBN(nn.Sequential):
    """ReLU, then a depthwise 3x3 convolution and a 1x1 one, each with batch normalisation."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(
            nn.ReLU(),  # not in place: its input is also the shortcut's, or a stage
            ConvBN(in_channels, in_channels, stride=stride, dilation=dilation, groups=in_channels),
            ConvBN(in_channels, out_channels, 1),
        )


class XceptionBlock(nn.Module):
    """Three separable convolutions and a shortcut around them.

    Args:
        in_channels: channels of the input.
        channels: of the three convolutions.
        stride: of the third one.
        dilation: of all three.
        last: the form of the network's last block, whose convolutions are followed by ReLU instead
            of preceded, and which has no shortcut.

    Returns:
        The block's result, and the second convolution's, which has the input's size.
    """

    def __init__(
        self,
        in_channels: int,
        channels: tuple[int, int, int],
        *,
        stride: int = 1,
        dilation: int = 1,
        last: bool = False,
    ) -> None:
        super().__init__()
        first, second, third = channels
        separable = SeparableConvBNReLU if last else ReLUSeparableConvBN
        self.conv1 = separable(in_channels, first, dilation=dilation)
        self.conv2 = separable(first, second, dilation=dilation)
        self.conv3 = separable(second, third, stride=stride, dilation=dilation)
        self.shortcut: nn.Module | None = None
        if not last:
            same = stride == 1 and in_channels == third
            self.shortcut = nn.Identity() if same else ConvBN(in_channels, third, 1, stride=stride)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        before = self.conv2(self.conv1(x))
        after = self.conv3(before)
        if self.shortcut is not None:
            after = after + self.shortcut(x)
        return after, before


class Xception(nn.Module):
    """The features of an aligned Xception.

    Args:
        entry: channels and stride of each block of the entry flow; three of the strides are 2.
        middle: blocks of the middle flow.
        in_channels: channels of the images.
        output_stride: the stride of c5: 32, or 16 or 8 with dilation.

    Attributes:
        channels: Stages(256, 728, 1024, 2048) for the three published networks.
        strides: Stages(4, 8, 16, 32), or 16 and 8 where dilated. Sizes are rounded up, so any H
            and W will do.

    Raises:
        ValueError: another output stride; in training, when a channel holds a single value.

    Example:
        >>> import torch
        >>> features = xception41(output_stride=16).eval()(torch.zeros(1, 3, 33, 64))
        >>> features.c2.shape, features.c5.shape
        (torch.Size([1, 256, 9, 16]), torch.Size([1, 2048, 3, 4]))
    """

    def __init__(
        self,
        entry: tuple[tuple[int, int], ...],
        middle: int,
        *,
        in_channels: int = 3,
        output_stride: int = 32,
    ) -> None:
        super().__init__()
        check_output_stride(output_stride)
        self.strides = Stages(4, 8, min(16, output_stride), output_stride)

        width = entry[-1][0]
        blocks = [((channels, channels, channels), stride) for channels, stride in entry]
        blocks += [((width, width, width), 1)] * middle
        blocks += [((width, 1024, 1024), 2), ((1536, 1536, 2048), 1)]

        self.stem = nn.Sequential(ConvBNReLU(in_channels, 32, stride=2), ConvBNReLU(32, 64))
        self.blocks = nn.ModuleList()
        self.halves: list[int] = []  # the blocks that halve the size, or would without dilation
        taken = []
        channels, reached, dilation = 64, 2, 1
        for index, (widths, stride) in enumerate(blocks):
            kept = stride > 1 and reached == output_stride
            self.blocks.append(
                XceptionBlock(
                    channels,
                    widths,
                    stride=1 if kept else stride,
                    dilation=dilation,
                    last=index == len(blocks) - 1,
                )
            )
            if stride > 1:
                self.halves.append(index)
                taken.append(widths[1])
            if kept:
                dilation *= stride  # of the blocks that follow: this one still reads the map before
            else:
                reached *= stride
            channels = widths[2]
        self.channels = Stages(*[*taken[1:], channels])  # the first is at stride 2

        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-3  # as released
        init_kaiming(self)

    def forward(self, images: Tensor) -> Stages[Tensor]:
        x = self.stem(images)
        taken = []
        for index, block in enumerate(self.blocks):
            x, before = block(x)
            if index in self.halves:
                taken.append(before)
        _, c2, c3, c4 = taken
        return Stages(c2, c3, c4, x)


def xception41(*, in_channels: int = 3, output_stride: int = 32) -> Xception:
    """Xception-41, a middle flow of 8 blocks: 24,920,560 parameters; else as `xception65`."""
    entry = ((128, 2), (256, 2), (728, 2))
    return Xception(entry, 8, in_channels=in_channels, output_stride=output_stride)


def xception65(*, in_channels: int = 3, output_stride: int = 32) -> Xception:
    """Xception-65, a middle flow of 16 blocks: 37,867,312 parameters.

    Args:
        in_channels: channels of the images.
        output_stride: of c5: 32, or 16 or 8 with dilation.

    Raises:
        ValueError: another output stride.
    """
    entry = ((128, 2), (256, 2), (728, 2))
    return Xception(entry, 16, in_channels=in_channels, output_stride=output_stride)


def xception71(*, in_channels: int = 3, output_stride: int = 32) -> Xception:
    """Xception-71, five blocks in the entry flow: 40,289,736 parameters; else as `xception65`."""
    entry = ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))
    return Xception(entry, 16, in_channels=in_channels, output_stride=output_stride)


builders = (xception41, xception65, xception71)
