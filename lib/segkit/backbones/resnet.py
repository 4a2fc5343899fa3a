"""ResNet: residual blocks, each of which learns what to add to its input.

Paper: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
    https://arxiv.org/abs/1512.03385
Idea:  a block computes x + f(x), so that the gradient reaches the first layer undiminished and a
    hundred layers can be trained. For segmentation the last stages may keep their resolution: the
    stride is replaced by dilation, which leaves every weight and its field of view as they were.

    image ─ 7x7 conv /2 = stem ─ pool ─ layer1 /4 = c2 ─ layer2 /8 = c3 ┐
                                         layer4 /32 = c5 ─ layer3 /16 = c4 ┘
                             (with output stride 16: c5 /16; 8: c4 /8, c5 /8)

The modules are torchvision's, and so are the names in the state dict: `conv1`, `bn1`, `layer1` …
`layer4`, without the classifier `fc`. Two later forms replace some of them:
    v1c  the 7x7 convolution becomes three of 3x3, 32, 32 and 64 channels wide (`conv1.0`, `conv1.1`
         and `conv1.2`): the stem that most segmentation releases use.
    vd   that, and a shortcut that halves the size averages 2x2 pixels before its 1x1 convolution
         (`downsample.1`), which otherwise ignores three pixels of four. He et al., "Bag of Tricks
         for Image Classification with Convolutional Neural Networks", CVPR 2019,
         https://arxiv.org/abs/1812.01187

Differs from the paper: as in torchvision, a bottleneck halves the size in its 3x3 convolution, not
in its first 1x1. In a vd stage that is dilated the shortcut averages nothing, as in the releases.
PaddleSeg's ResNet18_vd has 4,224 more parameters, a 1x1 convolution in layer1's first shortcut.
"""

from __future__ import annotations

from typing import Any, TypedDict, Unpack, cast

from torch import Tensor, nn
from torchvision import models

from segkit.backbones.batch_of_one import require_two_values
from segkit.backbones.dilation import check_output_stride, replace_stride, set_dilation
from segkit.backbones.pretrained import with_torchvision_weights
from segkit.builder import BackboneWeights
from segkit.nn import ConvBNReLU, init_kaiming
from segkit.outputs import Stages


class ResNet(nn.Module):
    """The features of a torchvision ResNet.

    Args:
        network: a torchvision ResNet without dilation; its layers are taken over (and dilated here,
            basic blocks too), its classifier is dropped.
        output_stride: the stride of c5: 32 as in the paper, or 16 or 8 with dilation.
        multi_grid: what the dilation of each of the last stage's three units is multiplied by, as
            (1, 2, 4). Source: Chen et al., "Rethinking Atrous Convolution for Semantic Image
            Segmentation" (DeepLabV3), section 3.2.1, https://arxiv.org/abs/1706.05587
        dilate_first: whether in a dilated stage the convolution that had the stride is dilated like
            those after it, as in segmentation-models-pytorch and PaddleSeg; torchvision and timm
            leave it as it was before, which keeps its field of view. See `replace_stride`.

    Attributes:
        channels: Stages(64, 128, 256, 512) for basic blocks, four times that for bottlenecks.
        strides: Stages(4, 8, 16, 32), or 16 and 8 where dilated. Sizes are rounded up, so any H
            and W will do.
        stem_channels: 64, the channels of the stride-2 feature of `forward_with_stem`.

    Raises:
        ValueError: another output stride, or a multi-grid for a last stage that has not three
            units; in training, when the last stage would normalise a single value per channel (a
            batch of one image of 32x32 pixels or less at output stride 32).

    Example:
        >>> import torch
        >>> features = resnet18(output_stride=16).eval()(torch.zeros(1, 3, 64, 96))
        >>> features.c2.shape, features.c5.shape
        (torch.Size([1, 64, 16, 24]), torch.Size([1, 512, 4, 6]))
    """

    def __init__(
        self,
        network: models.ResNet,
        *,
        output_stride: int = 32,
        multi_grid: tuple[int, int, int] = (1, 1, 1),
        dilate_first: bool = False,
    ) -> None:
        super().__init__()
        check_output_stride(output_stride)
        width = 64 * cast(Any, network.layer1[0]).expansion
        self.channels = Stages(width, 2 * width, 4 * width, 8 * width)
        self.strides = Stages(4, 8, min(16, output_stride), output_stride)
        self.stem_channels = network.bn1.num_features

        self.conv1 = network.conv1
        self.bn1 = network.bn1
        self.relu = network.relu
        self.maxpool = network.maxpool
        self.layer1 = network.layer1
        self.layer2 = network.layer2
        self.layer3 = network.layer3
        self.layer4 = network.layer4

        dilation = 1
        if output_stride == 8:
            dilation = replace_stride(self.layer3, dilate_first=dilate_first)
        if output_stride <= 16:
            replace_stride(self.layer4, before=dilation, dilate_first=dilate_first)
        if tuple(multi_grid) != (1, 1, 1):
            self._spread(tuple(multi_grid))

    def _spread(self, multi_grid: tuple[int, ...]) -> None:
        if len(multi_grid) != len(self.layer4):
            raise ValueError(
                f"multi_grid is {multi_grid}, but the last stage has {len(self.layer4)} units: "
                "give one rate for each of three, to resnet34 or deeper"
            )
        for unit, rate in zip(self.layer4, multi_grid, strict=True):
            for conv in unit.modules():
                if isinstance(conv, nn.Conv2d) and conv.kernel_size[0] > 1:
                    set_dilation(conv, conv.dilation[0] * rate)

    def forward(self, images: Tensor) -> Stages[Tensor]:
        return self.forward_with_stem(images)[1]

    def forward_with_stem(self, images: Tensor) -> tuple[Tensor, Stages[Tensor]]:
        """Also give the first convolution's output, which a U-Net's decoder can use.

        Args:
            images: shape (B, C, H, W).

        Returns:
            The stem, shape (B, 64, H/2, W/2), and the stages that `forward` gives.
        """
        stem = self.relu(self.bn1(self.conv1(images)))  # (B, 64, H/2, W/2)
        c2 = self.layer1(self.maxpool(stem))
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        require_two_values(
            "ResNet's layer4",
            self.layer4,
            c4,
            step=self.strides.c5 // self.strides.c4,
            stride=self.strides.c5,
        )
        c5 = self.layer4(c4)
        return stem, Stages(c2, c3, c4, c5)


class Options(TypedDict, total=False):
    """What all builders here take.

    Attributes:
        in_channels: channels of the images.
        output_stride: of c5: 32 as in the paper, or 16 or 8 with dilation.
        multi_grid: rates of the last stage's three units, see `ResNet`.
        dilate_first: which convolutions of a dilated stage are dilated, see `ResNet`.
    """

    in_channels: int
    output_stride: int
    multi_grid: tuple[int, int, int]
    dilate_first: bool


def _resnet(
    network: models.ResNet,
    weights: BackboneWeights = None,
    kind: type[models.WeightsEnum] = models.WeightsEnum,
    *,
    in_channels: int = 3,
    **options: Any,
) -> ResNet:
    with_torchvision_weights(network, weights, kind, in_channels=in_channels)
    return ResNet(network, **options)


def _deep_stem(network: Any) -> models.ResNet:
    """Three 3x3 convolutions for the 7x7 one; `bn1` and the ReLU behind it follow the third."""
    network.conv1 = nn.Sequential(
        ConvBNReLU(3, 32, stride=2), ConvBNReLU(32, 32), nn.Conv2d(32, 64, 3, padding=1, bias=False)
    )
    init_kaiming(network.conv1, mode="fan_out")
    return network


def _pooled_shortcuts(network: models.ResNet) -> models.ResNet:
    """An average over 2x2 pixels in front of each 1x1 convolution that skips three of four."""
    for layer in (network.layer2, network.layer3, network.layer4):
        block: Any = layer[0]
        conv, bn = block.downsample
        conv.stride = (1, 1)
        pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        block.downsample = nn.Sequential(pool, conv, bn)
    return network


def resnet18(*, weights: BackboneWeights = None, **options: Unpack[Options]) -> ResNet:
    """ResNet-18, basic blocks: 11,176,512 parameters. Arguments and errors as `resnet50`."""
    return _resnet(models.resnet18(), weights, models.ResNet18_Weights, **options)


def resnet34(*, weights: BackboneWeights = None, **options: Unpack[Options]) -> ResNet:
    """ResNet-34, basic blocks: 21,284,672 parameters. Arguments and errors as `resnet50`."""
    return _resnet(models.resnet34(), weights, models.ResNet34_Weights, **options)


def resnet50(*, weights: BackboneWeights = None, **options: Unpack[Options]) -> ResNet:
    """ResNet-50, bottlenecks: 23,508,032 parameters.

    Args:
        weights: torchvision's weights or their name, such as "IMAGENET1K_V2", downloaded on first
            use; None draws them at random. Channels other than RGB: see `adapt_channels`.
        options: see `Options`.

    Raises:
        ValueError: another output stride, weights of an unknown name, or a multi-grid for a last
            stage of two units (ResNet-18).
        TypeError: the weights belong to another network.
    """
    return _resnet(models.resnet50(), weights, models.ResNet50_Weights, **options)


def resnet101(*, weights: BackboneWeights = None, **options: Unpack[Options]) -> ResNet:
    """ResNet-101, bottlenecks: 42,500,160 parameters. Arguments and errors as `resnet50`."""
    return _resnet(models.resnet101(), weights, models.ResNet101_Weights, **options)


def resnet152(*, weights: BackboneWeights = None, **options: Unpack[Options]) -> ResNet:
    """ResNet-152, bottlenecks: 58,143,808 parameters. Arguments and errors as `resnet50`."""
    return _resnet(models.resnet152(), weights, models.ResNet152_Weights, **options)


def resnet18_v1c(**options: Unpack[Options]) -> ResNet:
    """ResNet-18 with the deep stem: 11,195,744 parameters; no weights."""
    return _resnet(_deep_stem(models.resnet18()), **options)


def resnet50_v1c(**options: Unpack[Options]) -> ResNet:
    """ResNet-50 with the deep stem: 23,527,264 parameters; no weights."""
    return _resnet(_deep_stem(models.resnet50()), **options)


def resnet101_v1c(**options: Unpack[Options]) -> ResNet:
    """ResNet-101 with the deep stem: 42,519,392 parameters; no weights."""
    return _resnet(_deep_stem(models.resnet101()), **options)


def resnet18_vd(**options: Unpack[Options]) -> ResNet:
    """ResNet-18, deep stem and pooled shortcuts: 11,195,744 parameters; no weights."""
    return _resnet(_pooled_shortcuts(_deep_stem(models.resnet18())), **options)


def resnet50_vd(**options: Unpack[Options]) -> ResNet:
    """ResNet-50, deep stem and pooled shortcuts: 23,527,264 parameters; no weights."""
    return _resnet(_pooled_shortcuts(_deep_stem(models.resnet50())), **options)


def resnet101_vd(**options: Unpack[Options]) -> ResNet:
    """ResNet-101, deep stem and pooled shortcuts: 42,519,392 parameters; no weights."""
    return _resnet(_pooled_shortcuts(_deep_stem(models.resnet101())), **options)


builders = (
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnet18_v1c,
    resnet50_v1c,
    resnet101_v1c,
    resnet18_vd,
    resnet50_vd,
    resnet101_vd,
)
