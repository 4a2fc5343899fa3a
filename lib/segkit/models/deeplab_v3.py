"""DeepLabV3: atrous spatial pyramid pooling that also knows the whole image.

Paper: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017,
    https://arxiv.org/abs/1706.05587
Idea:  the farther apart the taps of a 3x3 convolution, the more of them lie outside the map, until
    only the centre counts. So ASPP gets batch normalisation, a plain 1x1 branch instead of the
    widest rate, and the mean of the whole map; the branches are concatenated and projected.

    image ─ dilated ResNet ─ c5 ─┬ 1x1 ───────────┬ concat ─ 1x1 ─ 3x3 ─ scores ─ x8 ─ logits
                             │   ├ 3x3, rate 12 ──┤
                             │   ├ 3x3, rate 24 ──┤
                             │   ├ 3x3, rate 36 ──┤
                             │   └ mean ─ 1x1 ────┘
                             └ c4 ─ aux head           (stride 8; at 16 the rates are 6, 12 and 18)

Differs from the paper: the builders give torchvision's networks, parameter for parameter, whose
weights they take.
    - A 3x3 convolution follows the projection (head_conv=False: the text), there is an auxiliary
      head on c4, weight 0.5, and ASPP has dropout, 0.5.
    - The three units of the last stage have equal rates. The paper's best is multi_grid=(1, 2, 4),
      which adds no parameters, but needs weights that were trained with it.
    - Output stride 8 in training too, where the paper trains at 16 and tests at 8.
    - On MobileNetV3, at stride 16, the rates are those of stride 8.
In mmsegmentation DeepLabV3 is 512 wide; `aspp_channels=512` has that width, but it fuses the
branches by one 3x3 convolution instead of a 1x1 and a 3x3.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from segkit.backbones.fitting import on_backbone
from segkit.backbones.mobilenet_v3 import mobilenet_v3_large
from segkit.builder import BackboneOptions, BackboneWeights, Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBNReLU, FCNHead, ResizeLogits, check_num_classes, init_decoder
from segkit.nn.aspp import ASPP, atrous_rates
from segkit.outputs import Backbone, SegOutput
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="Rethinking Atrous Convolution for Semantic Image Segmentation",
    authors="Chen et al.",
    venue="",
    year=2017,
    url="https://arxiv.org/abs/1706.05587",
    kind="multi-scale",
)


class DeepLabV3(nn.Module):
    """ASPP on c5, and an auxiliary head on an earlier stage.

    Everything but the backbone is initialised here (He's normal distribution).

    Args:
        backbone: gives Stages; c5 is classified, at stride 8 or 16 in the paper.
        num_classes: K, two or more.
        rates: distances between the taps of ASPP's 3x3 convolutions, in pixels of c5; None takes 6,
            12 and 18 at stride 16, twice that at 8.
        aspp_channels: channels of each branch of ASPP and of what follows.
        dropout: probability at the end of ASPP.
        head_conv: whether a 3x3 convolution stands between ASPP and the scores.
        aux: the stage that is scored too in training, "c4" or "c3", or None: aux of the same name,
            shape (B, K, h, w) at its stride, weight 0.5 as in torchvision's reference training.

    Raises:
        ValueError: fewer than two classes, or no such stage; in training, a batch of one image
            (the mean of the map leaves a single value per channel to normalise).

    Example:
        >>> import torch
        >>> from segkit.backbones.resnet import resnet18
        >>> output = DeepLabV3(resnet18(output_stride=8), num_classes=5)(torch.zeros(2, 3, 64, 70))
        >>> output.logits.shape, output.aux["c4"].shape
        (torch.Size([2, 5, 64, 70]), torch.Size([2, 5, 8, 9]))
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        rates: tuple[int, ...] | None = None,
        aspp_channels: int = 256,
        dropout: float = 0.5,
        head_conv: bool = True,
        aux: str | None = "c4",
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if aux not in (None, "c3", "c4"):
            raise ValueError(f'aux is {aux!r}; the stage may be "c4" or "c3", or None for no head')
        rates = rates or atrous_rates(backbone.strides.c5)
        self.aux = aux
        self.aux_losses: dict[str, AuxLoss] = {aux: AuxLoss(0.5)} if aux else {}
        self.backbone = backbone
        self.aspp = ASPP(backbone.channels.c5, aspp_channels, rates=rates, dropout=dropout)
        self.head_conv = ConvBNReLU(aspp_channels, aspp_channels) if head_conv else nn.Identity()
        self.head = nn.Conv2d(aspp_channels, num_classes, 1)
        self.resize = ResizeLogits()
        self.aux_head = FCNHead(getattr(backbone.channels, aux), num_classes) if aux else None

        init_decoder(self)

    def forward(self, images: Tensor) -> SegOutput:
        stages = self.backbone(images)
        scores = self.head(self.head_conv(self.aspp(stages.c5)))  # (B, K, H/8, W/8)
        aux = {}
        if self.training and self.aux and self.aux_head is not None:
            aux[self.aux] = self.aux_head(getattr(stages, self.aux))
        return SegOutput(self.resize(scores, images.shape[-2:]), aux)


class HeadOptions(BackboneOptions, total=False):
    """What all builders here take that the backbone does not see.

    Attributes:
        aspp_channels: channels of each branch of ASPP and of what follows, 256.
    """

    aspp_channels: int


class Options(HeadOptions, total=False):
    """What all builders here take.

    Attributes:
        output_stride: of c5, 8 or 16; the rates of ASPP follow it.
        multi_grid: what the rates of a ResNet's last three units are multiplied by; the paper's
            best is (1, 2, 4).
    """

    output_stride: int
    multi_grid: tuple[int, int, int]


def deeplab_v3(
    *,
    backbone: str,
    output_stride: int = 8,
    multi_grid: tuple[int, int, int] = (1, 1, 1),
    **options: Unpack[HeadOptions],
) -> DeepLabV3:
    """DeepLabV3 on any backbone that can be dilated to stride 8; see `Options`."""
    own = {}
    if tuple(multi_grid) != (1, 1, 1):
        # The rates of the units multiply that of the whole stage: 2, 4 and 8 at stride 16.
        own = {"multi_grid": multi_grid, "dilate_first": True}
    return on_backbone(
        DeepLabV3, backbone, output_stride=output_stride, backbone_options=own, **options
    )


def deeplab_v3_resnet50(*, backbone: str = "resnet50", **options: Unpack[Options]) -> DeepLabV3:
    """DeepLabV3 on ResNet-50: 39,638,355 parameters at 19 classes, 42,003,046 with the aux head."""
    return deeplab_v3(backbone=backbone, **options)


def deeplab_v3_resnet101(*, backbone: str = "resnet101", **options: Unpack[Options]) -> DeepLabV3:
    """DeepLabV3 on ResNet-101: 58,630,483 parameters at 19 classes, 60,995,174 with aux head."""
    return deeplab_v3(backbone=backbone, **options)


def deeplab_v3_mobilenet_v3_large(
    *,
    num_classes: int,
    in_channels: int = 3,
    weights: Source | None = None,
    weights_backbone: BackboneWeights = None,
) -> DeepLabV3:
    """DeepLabV3 on MobileNetV3-Large at stride 16: 11,028,792 parameters at 19 classes.

    As in torchvision: rates 12, 24 and 36, and an auxiliary head on c3, taken after the first block
    of its stage; without the head 11,024,963.
    """
    backbone = mobilenet_v3_large(
        in_channels=in_channels,
        output_stride=16,
        weights=weights_backbone,
        dilate_first=True,
        after_first=True,
    )
    model = DeepLabV3(backbone, num_classes=num_classes, rates=(12, 24, 36), aux="c3")
    return with_weights(model, weights)


builders = (
    deeplab_v3,
    deeplab_v3_resnet50,
    deeplab_v3_resnet101,
    deeplab_v3_mobilenet_v3_large,
)
