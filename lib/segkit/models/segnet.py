"""SegNet: the decoder puts each value back where max pooling took it from.

Paper: Badrinarayanan, Kendall and Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder
    Architecture for Image Segmentation", TPAMI 2017, https://arxiv.org/abs/1511.00561
Idea:  instead of whole feature maps, only the positions of the maxima go from the encoder to the
    decoder: two bits for each 2x2 window. Unpooling sets every value at its maximum's place and
    zeros beside it, so that edges stay where they were, and convolutions fill the gaps.

    image ─ conv x2 ─ pool /2 ─ conv x2 ─ pool /4 ─ conv x3 ─ pool /8 ─ … ─ conv x3 ─ pool /32 ┐
                        │ where            │ where            │ where                   │ where│
    logits ─ conv x2 ─ unpool ── conv x2 ─ unpool ── conv x3 ─ unpool ─ … ─ conv x3 ─ unpool ──┘

The encoder's layers are torchvision's VGG-16 with batch normalisation, and so are their names in
the state dict (`features.0.weight` …).

Differs from the paper: nothing; as in the authors' Caffe model there is a ReLU in the decoder too
(the text leaves it out in SegNet-Basic alone), pooling rounds sizes up, and convolutions keep a
bias in front of batch normalisation. PaddleSeg has 147,840 parameters more: a third convolution of
128 channels in the decoder at stride 2, where the encoder has two.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn
from torchvision.models import VGG16_BN_Weights
from torchvision.models.vgg import cfgs, make_layers

from segkit.backbones.pretrained import with_torchvision_weights
from segkit.builder import BackboneWeights, Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBNReLU, check_num_classes, init_kaiming
from segkit.outputs import SegOutput
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
    authors="Badrinarayanan, Kendall and Cipolla",
    venue="TPAMI",
    year=2017,
    url="https://arxiv.org/abs/1511.00561",
    kind="classic",
)


def unpool(x: Tensor, indices: Tensor, size: Sequence[int]) -> Tensor:
    """Put each value where max pooling found its maximum, zero everywhere else.

    The same as ``torch.nn.functional.max_unpool2d``, which torch's deterministic mode refuses; the
    windows do not overlap, so no two values meet.

    Args:
        x: shape (B, C, h, w).
        indices: of max pooling, shape (B, C, h, w): places in a plane of `size`, counted by rows.
        size: (H, W) of the map that was pooled, in pixels.

    Returns:
        Shape (B, C, H, W).

    Source: section 3, figure 3.
    """
    height, width = size
    planes = x.new_zeros(*x.shape[:2], height * width)
    planes = planes.scatter(-1, indices.flatten(2), x.flatten(2))
    return planes.unflatten(-1, (height, width))


class SegNet(nn.Module):
    """SegNet with VGG-16's encoder and its mirror image as decoder.

    Args:
        num_classes: K, two or more.
        in_channels: channels of the images.

    Raises:
        ValueError: fewer than two classes.

    Example:
        >>> import torch
        >>> model = segnet(num_classes=11).eval()
        >>> model(torch.zeros(1, 3, 45, 60)).logits.shape
        torch.Size([1, 11, 45, 60])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(self, *, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.features = make_layers(cfgs["D"], batch_norm=True)
        if in_channels != 3:
            self.features[0] = nn.Conv2d(in_channels, 64, 3, padding=1)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = layer.return_indices = True
        # Each block has as many convolutions as the encoder's and ends with the width of the pool
        # above it.
        self.decoder = nn.ModuleList(
            nn.Sequential(*(ConvBNReLU(i, o, bias=True) for i, o in pairwise(widths)))
            for widths in (
                (512, 512, 512, 512),
                (512, 512, 512, 256),
                (256, 256, 256, 128),
                (128, 128, 64),
                (64, 64),
            )
        )
        self.head = nn.Conv2d(64, num_classes, 3, padding=1)
        init_kaiming(self)  # section 3.2

    def forward(self, images: Tensor) -> SegOutput:
        x = images
        pools = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                size = x.shape[-2:]
                x, indices = layer(x)
                pools.append((indices, size))
            else:
                x = layer(x)
        for convs in self.decoder:
            x = convs(unpool(x, *pools.pop()))
        return SegOutput(self.head(x), {})


def segnet(
    *,
    num_classes: int,
    in_channels: int = 3,
    weights: Source | None = None,
    weights_backbone: BackboneWeights = None,
) -> SegNet:
    """SegNet: 29,453,971 parameters at 19 classes.

    Args:
        num_classes: K, at least 2.
        in_channels: channels of the images.
        weights: where to load weights from; None draws them at random.
        weights_backbone: torchvision's VGG-16-BN for the encoder, as in the paper: "IMAGENET1K_V1".

    Raises:
        ValueError: fewer than two classes, or no weights of this name.
    """
    model = SegNet(num_classes=num_classes, in_channels=in_channels)
    encoder = nn.ModuleDict({"features": model.features})  # as torchvision calls it
    with_torchvision_weights(encoder, weights_backbone, VGG16_BN_Weights, in_channels=in_channels)
    return with_weights(model, weights)


builders = (segnet,)
