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
`layer4`, without the classifier `fc`.

Differs from the paper: as in torchvision, a bottleneck halves the size in its 3x3 convolution, not
in its first 1x1.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torchvision import models

from segkit.outputs import Stages


class ResNet(nn.Module):
    """The features of a torchvision ResNet.

    Args:
        network: a torchvision ResNet; its layers are taken over, its classifier is dropped.
        output_stride: the stride that the last stage of `network` has: 8, 16 or 32.

    Attributes:
        channels: Stages(64, 128, 256, 512) for basic blocks, four times that for bottlenecks.
        strides: Stages(4, 8, 16, 32), or 16 and 8 where dilated. Sizes are rounded up, so any H
            and W will do.
        stem_channels: 64, the channels of the stride-2 feature of `forward_with_stem`.

    Raises:
        ValueError: in training, when the last stage would normalise a single value per channel (a
            batch of one image of 32x32 pixels or less at output stride 32).

    Example:
        >>> import torch
        >>> features = resnet18().eval()(torch.zeros(1, 3, 64, 96))
        >>> features.c2.shape, features.c5.shape
        (torch.Size([1, 64, 16, 24]), torch.Size([1, 512, 2, 3]))
    """

    def __init__(self, network: models.ResNet, *, output_stride: int = 32) -> None:
        super().__init__()
        width = 64 * network.layer1[0].expansion
        self.channels = Stages(width, 2 * width, 4 * width, 8 * width)
        self.strides = Stages(4, 8, min(16, output_stride), output_stride)
        self.stem_channels = network.conv1.out_channels

        self.conv1 = network.conv1
        self.bn1 = network.bn1
        self.relu = network.relu
        self.maxpool = network.maxpool
        self.layer1 = network.layer1
        self.layer2 = network.layer2
        self.layer3 = network.layer3
        self.layer4 = network.layer4

    def forward(self, images: Tensor) -> Stages:
        return self.forward_with_stem(images)[1]

    def forward_with_stem(self, images: Tensor) -> tuple[Tensor, Stages]:
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
        self._require_two_values(c4)
        c5 = self.layer4(c4)
        return stem, Stages(c2, c3, c4, c5)

    def _require_two_values(self, c4: Tensor) -> None:
        bn = self.layer4[-1].bn2
        # Synchronised batch normalisation counts the other processes too and is no BatchNorm2d.
        if not (bn.training and isinstance(bn, nn.BatchNorm2d)):
            return
        step = self.strides.c5 // self.strides.c4
        if c4.shape[0] == 1 and max(c4.shape[-2:]) <= step:
            raise ValueError(
                "ResNet's layer4 has one value per channel to normalise in training: a batch of "
                f"one image on a map of 1x1 at stride {self.strides.c5}. Take a batch of 2 or "
                "more or larger images, convert the model with "
                "nn.SyncBatchNorm.convert_sync_batchnorm when training on several devices, or "
                "freeze batch normalisation by putting these layers in eval mode."
            )


def resnet18(
    *, in_channels: int = 3, output_stride: int = 32, weights: models.ResNet18_Weights | None = None
) -> ResNet:
    """ResNet-18, basic blocks: 11,176,512 parameters. Arguments and errors as `resnet50`."""
    return _resnet(
        models.resnet18, models.ResNet18_Weights.verify(weights), in_channels, output_stride
    )


def resnet34(
    *, in_channels: int = 3, output_stride: int = 32, weights: models.ResNet34_Weights | None = None
) -> ResNet:
    """ResNet-34, basic blocks: 21,284,672 parameters. Arguments and errors as `resnet50`."""
    return _resnet(
        models.resnet34, models.ResNet34_Weights.verify(weights), in_channels, output_stride
    )


def resnet50(
    *, in_channels: int = 3, output_stride: int = 32, weights: models.ResNet50_Weights | None = None
) -> ResNet:
    """ResNet-50, bottlenecks: 23,508,032 parameters.

    Args:
        in_channels: channels of the images.
        output_stride: 32 as in the paper, or 16 or 8 with dilation (bottlenecks only).
        weights: torchvision's weights, downloaded on first use; None draws them at random.

    Raises:
        ValueError: another output stride, dilation of basic blocks, or weights for images that do
            not have three channels.
        TypeError: the weights belong to another network.
    """
    return _resnet(
        models.resnet50, models.ResNet50_Weights.verify(weights), in_channels, output_stride
    )


def resnet101(
    *,
    in_channels: int = 3,
    output_stride: int = 32,
    weights: models.ResNet101_Weights | None = None,
) -> ResNet:
    """ResNet-101, bottlenecks: 42,500,160 parameters. Arguments and errors as `resnet50`."""
    return _resnet(
        models.resnet101, models.ResNet101_Weights.verify(weights), in_channels, output_stride
    )


def resnet152(
    *,
    in_channels: int = 3,
    output_stride: int = 32,
    weights: models.ResNet152_Weights | None = None,
) -> ResNet:
    """ResNet-152, bottlenecks: 58,143,808 parameters. Arguments and errors as `resnet50`."""
    return _resnet(
        models.resnet152, models.ResNet152_Weights.verify(weights), in_channels, output_stride
    )


def _resnet(
    build: Callable[..., models.ResNet],
    weights: models.WeightsEnum | None,
    in_channels: int,
    output_stride: int,
) -> ResNet:
    dilated = {32: (False, False, False), 16: (False, False, True), 8: (False, True, True)}
    if output_stride not in dilated:
        raise ValueError(f"output_stride is {output_stride}; it may be 8, 16 or 32")
    if output_stride < 32 and build in (models.resnet18, models.resnet34):
        raise ValueError(
            f"{build.__name__} has basic blocks, which torchvision cannot dilate: output_stride is "
            f"{output_stride}, only 32 is possible; take resnet50 or deeper for {output_stride}"
        )
    if weights is not None and in_channels != 3:
        raise ValueError(
            f"{weights} see RGB images but in_channels is {in_channels}; pass weights=None, or "
            "three channels (repeat a grey image)"
        )
    network = build(replace_stride_with_dilation=dilated[output_stride])
    if weights is not None:
        network.load_state_dict(weights.get_state_dict(check_hash=True, weights_only=True))
    if in_channels != 3:
        network.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return ResNet(network, output_stride=output_stride)
