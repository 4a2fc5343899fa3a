"""MobileNetV2: inverted residuals, thin at the ends and wide in the middle.

Paper: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
    https://arxiv.org/abs/1801.04381
Idea:  a block widens its input six times by a 1x1 convolution, filters depthwise, and narrows it
    again; the residual joins the narrow ends, where little has to be kept in memory. The narrowing
    convolution has no ReLU, which would lose what is packed into few channels.

    image ─ conv, block /2 (16) ─ 2 blocks /4 (24) ─ 3 blocks /8 (32) ─ 7 blocks /16 (96)
                 stem                  c2                  c3                 c4
                 ─ 4 blocks /32 (320) [─ 1x1 conv (1280)] = c5

The blocks are torchvision's, and so are the names in the state dict: `features.0` …

Differs from the paper: nothing. The last convolution, which widens c5 for the classifier, is off:
the paper's own segmentation (section 6.3) builds on the 320 channels before it.
"""

from __future__ import annotations

from typing import Any

from torchvision import models

from segkit.backbones.pretrained import with_torchvision_weights
from segkit.backbones.sequence import SequenceBackbone
from segkit.builder import BackboneWeights


def mobilenet_v2(
    *,
    in_channels: int = 3,
    output_stride: int = 32,
    weights: BackboneWeights = None,
    last_conv: bool = False,
    dilate_first: bool = False,
) -> SequenceBackbone:
    """MobileNetV2: 1,811,712 parameters; 2,223,872 with the last convolution.

    Args:
        in_channels: channels of the images.
        output_stride: of c5: 32 as in the paper, or 16 or 8 with dilation.
        weights: torchvision's weights or their name, such as "IMAGENET1K_V2", downloaded on first
            use; None draws them at random. Channels other than RGB: see `adapt_channels`.
        last_conv: whether a 1x1 convolution widens c5 from 320 to 1280 channels, as in
            segmentation-models-pytorch.
        dilate_first: which convolutions of a dilated stage are dilated, see `replace_stride`.

    Raises:
        ValueError: another output stride, or weights of an unknown name.
        TypeError: the weights belong to another network.

    Example:
        >>> import torch
        >>> features = mobilenet_v2(output_stride=16).eval()(torch.zeros(1, 3, 64, 96))
        >>> features.c2.shape, features.c5.shape
        (torch.Size([1, 24, 16, 24]), torch.Size([1, 320, 4, 6]))
    """
    kind = models.MobileNet_V2_Weights
    network = models.mobilenet_v2()
    with_torchvision_weights(network, weights, kind, in_channels=in_channels)
    features: Any = network.features if last_conv else network.features[:-1]
    return SequenceBackbone(
        features,
        ends=(2, 4, 7, 14, len(features)),
        channels=(16, 24, 32, 96, features[-1].out_channels),
        output_stride=output_stride,
        dilate_first=dilate_first,
    )


builders = (mobilenet_v2,)
