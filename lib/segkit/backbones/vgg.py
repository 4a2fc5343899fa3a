"""VGG-16: thirteen 3x3 convolutions in five steps of growing width.

Paper: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", ICLR 2015, https://arxiv.org/abs/1409.1556
Idea:  two 3x3 convolutions see as far as one 5x5 and cost less, so depth replaces large kernels.

    image ─ conv x2 ─ pool1 /2 ─ conv x2 ─ pool2 /4 = c2 ─ conv x3 ─ pool3 /8 = c3
                                   ─ conv x3 ─ pool4 /16 = c4 ─ conv x3 ─ pool5 /32 = c5

The layers are torchvision's, and so are their names in the state dict (`features.0.weight` …). The
classifier is not here: FCN turns it into convolutions, see `segkit.models.fcn`.

Differs from the paper: nothing in the features. Pooling rounds sizes up, as the authors' Caffe
model does and torchvision's does not; the two agree wherever H and W are multiples of 32.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import VGG16_Weights
from torchvision.models.vgg import cfgs, make_layers

from segkit.backbones.pretrained import with_torchvision_weights
from segkit.builder import BackboneWeights
from segkit.nn import init_kaiming
from segkit.outputs import Stages


class VGG16(nn.Module):
    """The features of VGG-16, without batch normalisation.

    Args:
        in_channels: channels of the images.

    Attributes:
        channels: Stages(128, 256, 512, 512): after pool2, pool3, pool4 and pool5.
        strides: Stages(4, 8, 16, 32). Sizes are rounded up, so any H and W will do.

    Example:
        >>> import torch
        >>> features = vgg16().eval()(torch.zeros(1, 3, 32, 50))
        >>> features.c3.shape, features.c5.shape
        (torch.Size([1, 256, 4, 7]), torch.Size([1, 512, 1, 2]))
    """

    def __init__(self, *, in_channels: int = 3) -> None:
        super().__init__()
        self.channels = Stages(128, 256, 512, 512)
        self.strides = Stages(4, 8, 16, 32)

        self.features = make_layers(cfgs["D"])
        if in_channels != 3:
            self.features[0] = nn.Conv2d(in_channels, 64, 3, padding=1)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True
        # Without normalisation the activations must keep their size on the way down: fan_in, where
        # torchvision's fan_out would hand an eighth of the input's spread to the classifier.
        init_kaiming(self, mode="fan_in")

    def forward(self, images: Tensor) -> Stages[Tensor]:
        x = images
        pools = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(x)
        _, c2, c3, c4, c5 = pools
        return Stages(c2, c3, c4, c5)


def vgg16(*, in_channels: int = 3, weights: BackboneWeights = None) -> VGG16:
    """VGG-16's features: 14,714,688 parameters.

    Args:
        in_channels: channels of the images.
        weights: torchvision's weights or their name, such as "IMAGENET1K_V1", downloaded on first
            use; None draws them at random. Channels other than RGB: see `adapt_channels`.

    Raises:
        ValueError: weights of an unknown name.
        TypeError: the weights belong to another network.
    """
    backbone = VGG16(in_channels=in_channels)
    return with_torchvision_weights(backbone, weights, VGG16_Weights, in_channels=in_channels)


builders = (vgg16,)
