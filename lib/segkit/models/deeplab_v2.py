"""DeepLabV2: several atrous convolutions side by side see objects of several sizes.

Paper: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
    Convolution, and Fully Connected CRFs", TPAMI 2018, https://arxiv.org/abs/1606.00915
Idea:  atrous spatial pyramid pooling (ASPP): four classifiers with taps 6, 12, 18 and 24 pixels
    apart look at the same map, and their scores are added. The backbone is a ResNet at stride 8.

    image ─ dilated ResNet-101 ─ c5 /8 ─┬ 3x3, rate  6 ─┬ + ─ x8 ─ logits
                                        ├ 3x3, rate 12 ─┤
                                        ├ 3x3, rate 18 ─┤
                                        └ 3x3, rate 24 ─┘

With ``scales=(0.5, 0.75, 1.0)`` the images are seen at three sizes, and the largest score for each
class at each pixel counts; in training each size is also scored alone. Nearly twice the cost.

Differs from the paper:
    - The fully connected CRF that refines the result is `segkit.crf.refine`.
    - One scale unless `scales` says otherwise; the paper's best results have three.
    - The paper's loss compares the scores at stride 8 with labels brought down to that size; here
      the logits have the image's size in training too, and corners are aligned as in the release.
    - torchvision's ResNet has its strides in the 3x3 convolutions, the authors' in the 1x1 before
      them. Each is dilated so that trained weights see what they saw.
    - Batch normalisation learns; the authors leave that of the pretrained network frozen.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import ResizeLogits, check_num_classes, init_kaiming, resize
from segkit.outputs import Backbone, SegOutput

PAPER = Paper(
    title="DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous "
    "Convolution, and Fully Connected CRFs",
    authors="Chen et al.",
    venue="TPAMI",
    year=2018,
    url="https://arxiv.org/abs/1606.00915",
    kind="multi-scale",
)


class AtrousBranch(nn.Sequential):
    """The fully connected layers of VGG-16 with their first one dilated: 3x3, 1x1 and scores."""

    def __init__(
        self, in_channels: int, channels: int, num_classes: int, *, rate: int, dropout: float
    ) -> None:
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=rate, dilation=rate),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(channels, num_classes, 1),
        )
        init_kaiming(self)


class DeepLabV2(nn.Module):
    """A sum of atrous classifiers on c5.

    Args:
        backbone: gives Stages; c5 is classified, at stride 8 in the paper.
        num_classes: K, two or more.
        rates: distances between the taps of the classifiers, in pixels of c5, one each.
        channels: None for classifiers of one 3x3 convolution; a number for branches of three layers
            of this width, as on VGG-16.
        dropout: probability in those branches, twice.
        scales: sizes at which the images are seen, as fractions of their height and width; 1 is
            among them. With more than one, training also scores each alone: aux "x0.5", "x0.75" and
            "x1", shapes (B, K, h, w) at stride 8 of their own size, weight 1.

    Raises:
        ValueError: fewer than two classes, or scales without 1.

    Example:
        >>> import torch
        >>> from segkit.backbones.resnet import resnet18
        >>> model = DeepLabV2(resnet18(output_stride=8), num_classes=5, scales=(0.5, 1.0))
        >>> output = model(torch.zeros(2, 3, 64, 70))
        >>> output.logits.shape, output.aux["x0.5"].shape
        (torch.Size([2, 5, 64, 70]), torch.Size([2, 5, 5, 5]))
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        rates: tuple[int, ...] = (6, 12, 18, 24),
        channels: int | None = None,
        dropout: float = 0.5,
        scales: tuple[float, ...] = (1.0,),
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if 1 not in scales or min(scales) <= 0:
            raise ValueError(
                f"scales is {scales}; the images' own size, 1, must be among them, as in "
                "(0.5, 0.75, 1.0), and all must be above 0"
            )
        self.scales = tuple(scales)
        several = len(self.scales) > 1
        self.aux_losses: dict[str, AuxLoss] = (
            {f"x{scale:g}": AuxLoss(1.0) for scale in self.scales} if several else {}
        )
        c5 = backbone.channels.c5
        self.backbone = backbone
        if channels is None:
            self.branches = nn.ModuleList(
                nn.Conv2d(c5, num_classes, 3, padding=rate, dilation=rate) for rate in rates
            )
            scores: list[Any] = [*self.branches]
        else:
            self.branches = nn.ModuleList(
                AtrousBranch(c5, channels, num_classes, rate=rate, dropout=dropout)
                for rate in rates
            )
            branches: list[Any] = [*self.branches]
            scores = [branch[-1] for branch in branches]
        self.resize = ResizeLogits(align_corners=True)
        for score in scores:
            nn.init.normal_(score.weight, std=0.01)
            nn.init.zeros_(score.bias)

    def forward(self, images: Tensor) -> SegOutput:
        scores = {f"x{scale:g}": self._score(images, scale) for scale in self.scales}
        size = scores["x1"].shape[-2:]  # (H/8, W/8)
        # As released: of 8k + 1 pixels every eighth has scores of its own, the last one included.
        x = reduce(
            torch.maximum, [resize(score, size, align_corners=True) for score in scores.values()]
        )
        aux = scores if self.training and self.aux_losses else {}
        return SegOutput(self.resize(x, images.shape[-2:]), aux)

    def _score(self, images: Tensor, scale: float) -> Tensor:
        if scale != 1:  # corners on corners, as the scores are enlarged: the maps then lie aligned
            size = [round(scale * (side - 1)) + 1 for side in images.shape[-2:]]
            images = resize(images, size, align_corners=True)
        c5 = self.backbone(images).c5
        scores: list[Tensor] = [branch(c5) for branch in self.branches]
        return sum(scores[1:], start=scores[0])


class Options(BackboneOptions, total=False):
    """What all builders here take.

    Attributes:
        scales: sizes at which the images are seen, see `DeepLabV2`; (0.5, 0.75, 1.0) is the paper's
            multi-scale form, MSC.
    """

    scales: tuple[float, ...]


def deeplab_v2(*, backbone: str, **options: Unpack[Options]) -> DeepLabV2:
    """DeepLabV2 on any backbone that can be dilated to stride 8."""
    return on_backbone(DeepLabV2, backbone, output_stride=8, **options)


def deeplab_v2_resnet101(*, backbone: str = "resnet101", **options: Unpack[Options]) -> DeepLabV2:
    """DeepLabV2 on ResNet-101 at stride 8: 44,048,532 parameters at 21 classes."""
    return deeplab_v2(backbone=backbone, **options)


def deeplab_v2_vgg16(*, backbone: str = "vgg16_atrous", **options: Unpack[Options]) -> DeepLabV2:
    """DeepLabV2 on VGG-16, the paper's ASPP-L: 37,877,652 parameters at 21 classes.

    Four branches of three layers, 1024 wide. VGG-16 has no batch normalisation: give it its
    ImageNet weights.
    """
    return on_backbone(DeepLabV2, backbone, output_stride=8, channels=1024, **options)


builders = (deeplab_v2, deeplab_v2_resnet101, deeplab_v2_vgg16)
