"""VGG-16 at stride 8: the last two poolings keep the size, what follows the first is dilated."""

from __future__ import annotations

from torch import nn

from segkit.backbones.dilation import set_dilation
from segkit.backbones.vgg import VGG16, vgg16
from segkit.builder import BackboneWeights
from segkit.outputs import Stages


def vgg16_atrous(*, in_channels: int = 3, weights: BackboneWeights = None) -> VGG16:
    """VGG-16's features as in DeepLab v1 and v2: 14,714,688 parameters, strides 4, 8, 8, 8.

    Every pooling takes the largest of 3x3 pixels instead of 2x2, which keeps the centre of each
    value on a pixel. The last two have stride 1, and the convolutions between them rate 2.

    Args:
        in_channels: channels of the images.
        weights: torchvision's weights or their name, such as "IMAGENET1K_V1", downloaded on first
            use; None draws them at random.

    Raises:
        ValueError: weights of an unknown name.
        TypeError: the weights belong to another network.

    Source: Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully
    Connected CRFs", ICLR 2015, section 3.1, https://arxiv.org/abs/1412.7062

    Example:
        >>> import torch
        >>> vgg16_atrous().eval()(torch.zeros(1, 3, 33, 50)).c5.shape
        torch.Size([1, 512, 5, 7])
    """
    backbone = vgg16(in_channels=in_channels, weights=weights)
    passed = 0
    for layer in backbone.features:
        if isinstance(layer, nn.MaxPool2d):
            passed += 1
            layer.kernel_size, layer.padding, layer.ceil_mode = 3, 1, False
            layer.stride = 2 if passed < 4 else 1
        elif isinstance(layer, nn.Conv2d) and passed == 4:
            set_dilation(layer, 2)
    backbone.strides = Stages(4, 8, 8, 8)
    return backbone


builders = (vgg16_atrous,)
