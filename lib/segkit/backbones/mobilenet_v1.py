"""MobileNetV1: depthwise separable convolutions from the second layer to the last.

Paper: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
    Applications", 2017, https://arxiv.org/abs/1704.04861
Idea:  a 3x3 convolution filters and mixes channels in one step. Here a depthwise 3x3 filters each
    channel by itself and a 1x1 mixes them, for an eighth to a ninth of the computation. A width
    multiplier thins all layers alike.

    image ─ conv /2 ─ block /2 (64) ─ 2 blocks /4 (128) ─ 2 blocks /8 (256)
                          stem             c2                  c3
                        ─ 6 blocks /16 (512) ─ 2 blocks /32 (1024)
                               c4                   c5

Differs from the paper: nothing, except that in Table 1 the last block says stride 2, on a map of
7x7 that stays 7x7: its stride is 1. The authors' TensorFlow code clips the ReLUs at 6. ImageNet
weights are not included.
"""

from __future__ import annotations

from torch import nn

from segkit.backbones.sequence import SequenceBackbone
from segkit.nn import ConvBNReLU, SeparableConvBNReLU, init_kaiming


def mobilenet_v1(
    *,
    in_channels: int = 3,
    output_stride: int = 32,
    width: float = 1.0,
    dilate_first: bool = False,
) -> SequenceBackbone:
    """MobileNetV1: 3,206,976 parameters at width 1.

    Args:
        in_channels: channels of the images.
        output_stride: of c5: 32 as in the paper, or 16 or 8 with dilation.
        width: the width multiplier alpha, above 0: 1, 0.75, 0.5 and 0.25 in the paper. Channels are
            rounded down, to 8 at least.
        dilate_first: which convolutions of a dilated stage are dilated, see `replace_stride`.

    Raises:
        ValueError: another output stride, or a width that is not positive.

    Example:
        >>> import torch
        >>> features = mobilenet_v1(width=0.25).eval()(torch.zeros(1, 3, 64, 96))
        >>> features.c2.shape, features.c5.shape
        (torch.Size([1, 32, 16, 24]), torch.Size([1, 256, 2, 3]))
    """
    if width <= 0:
        raise ValueError(f"width is {width}; it multiplies the channels: 1, 0.75, 0.5 or 0.25")
    channels = [max(8, int(width * c)) for c in (32, 64, 128, 256, 512, 1024)]
    blocks: list[nn.Module] = [ConvBNReLU(in_channels, channels[0], stride=2)]
    for depth, before, after in zip((1, 2, 2, 6, 2), channels, channels[1:], strict=False):
        stride = 1 if depth == 1 else 2  # the stem's block keeps the size
        blocks.append(SeparableConvBNReLU(before, after, stride=stride))
        blocks += [SeparableConvBNReLU(after, after) for _ in range(depth - 1)]
    features = nn.Sequential(*blocks)
    init_kaiming(features)
    return SequenceBackbone(
        features,
        ends=(2, 4, 6, 12, 14),
        channels=channels[1:],
        output_stride=output_stride,
        dilate_first=dilate_first,
    )


builders = (mobilenet_v1,)
