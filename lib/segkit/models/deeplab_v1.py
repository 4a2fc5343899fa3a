"""DeepLab-LargeFOV: convolutions with holes keep the resolution that pooling would lose.

Paper: Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected
    CRFs", ICLR 2015, https://arxiv.org/abs/1412.7062
Idea:  leave out the last two subsamplings of VGG-16, and let the convolutions behind them skip
    pixels ("à trous") so that they see what they saw before: scores at stride 8 instead of 32, with
    the trained weights. The first fully connected layer, 7x7 and 4096 wide, becomes 3x3 and 1024
    wide with taps 12 pixels apart: as large a field of view, a sixth of the parameters.

    image ─ VGG-16 ─ pool3 /8 ─ conv4 ─ pool4 /8 ─ conv5, rate 2 ─ pool5 /8
            ─ fc6, rate 12 ─ fc7 ─ scores /8 ─ x8 ─ logits

Differs from the paper:
    - The fully connected CRF that refines the result has no part in the training: it is
      `segkit.crf.refine`.
    - The network is the authors' released model, which averages 3x3 pixels after pool5 and aligns
      the corners of what it enlarges; the text mentions neither.
    - The paper's loss compares the scores at stride 8 with labels brought down to that size; here
      the logits have the image's size in training too.
    - fc6 and fc7 start at random. The authors thin out VGG's own to the smaller shapes.
    - Caffe's pooling makes one pixel more of an even size; the same for the paper's sizes, 8k + 1.
"""

from __future__ import annotations

from typing import ClassVar, Unpack, cast

from torch import Tensor, nn
from torch.nn import functional as F

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import ResizeLogits, check_num_classes, init_kaiming
from segkit.outputs import Backbone, SegOutput

PAPER = Paper(
    title="Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs",
    authors="Chen et al.",
    venue="ICLR",
    year=2015,
    url="https://arxiv.org/abs/1412.7062",
    kind="classic",
)


class DeepLabV1(nn.Module):
    """Fully connected layers as atrous convolutions on a backbone that keeps its resolution.

    Args:
        backbone: gives Stages; c5 is classified, at stride 8 in the paper.
        num_classes: K, two or more.
        rate: distance between the taps of fc6, in pixels of c5.
        channels: width of fc6 and fc7.
        dropout: probability after fc6 and after fc7.

    Raises:
        ValueError: fewer than two classes.

    Example:
        >>> import torch
        >>> from segkit.backbones.vgg_atrous import vgg16_atrous
        >>> model = DeepLabV1(vgg16_atrous(), num_classes=5, channels=64).eval()
        >>> model(torch.zeros(1, 3, 33, 50)).logits.shape
        torch.Size([1, 5, 33, 50])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        rate: int = 12,
        channels: int = 1024,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        c5 = backbone.channels.c5
        self.backbone = backbone
        self.average = nn.AvgPool2d(3, stride=1, padding=1)
        self.fc6 = nn.Conv2d(c5, channels, 3, padding=rate, dilation=rate)
        self.fc7 = nn.Conv2d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(channels, num_classes, 1)
        # As released: of 8k + 1 pixels every eighth has scores of its own, the last one included.
        self.resize = ResizeLogits(align_corners=True)

        init_kaiming(nn.ModuleList([self.fc6, self.fc7]))
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.head.bias))

    def forward(self, images: Tensor) -> SegOutput:
        x = self.average(self.backbone(images).c5)  # (B, 512, H/8, W/8)
        x = self.dropout(F.relu(self.fc6(x)))
        x = self.dropout(F.relu(self.fc7(x)))
        scores = self.head(x)  # (B, K, H/8, W/8)
        return SegOutput(self.resize(scores, images.shape[-2:]), {})


class Options(BackboneOptions, total=False):
    """What all builders here take.

    Attributes:
        rate: distance between the taps of fc6, 12, in pixels at stride 8; the paper tries 4 and 8
            too, with larger kernels.
    """

    rate: int


def deeplab_v1(*, backbone: str, **options: Unpack[Options]) -> DeepLabV1:
    """DeepLab-LargeFOV on any backbone that can be dilated to stride 8."""
    return on_backbone(DeepLabV1, backbone, output_stride=8, **options)


def deeplab_v1_vgg16(*, backbone: str = "vgg16_atrous", **options: Unpack[Options]) -> DeepLabV1:
    """DeepLab-LargeFOV on VGG-16: 20,505,429 parameters at 21 classes, the paper's 20.5 M.

    VGG-16 has no batch normalisation: give it its ImageNet weights.
    """
    return deeplab_v1(backbone=backbone, **options)


builders = (deeplab_v1, deeplab_v1_vgg16)
