"""LR-ASPP: a lite reduced head for mobile networks, gated by the whole image.

Paper: Howard et al., "Searching for MobileNetV3", ICCV 2019,
    https://arxiv.org/abs/1905.02244, section 6.4
Idea:  of the pyramid in DeepLabV3's head two branches are left: a 1x1 convolution, and the pooled
    image, which weighs the channels of the first like squeeze-and-excitation does. The scores of a
    finer feature are added, so that borders do not come from stride 16 alone.

    image ─ MobileNetV3 ─┬ c5 /16 ─┬ 1x1 conv ──── * ─ x2 ─ scores ─ + /8 ─ x8 ─ logits
                         │         └ pool ─ gate ──┘                 │
                         └ c3 /8 ─ scores ───────────────────────────┘

Differs from the paper: this is torchvision's network.
    - The pooling is over the whole map; the paper's is 49x49 with stride 16x20, for images of
      2048x1024, and saves a few operations.
    - The last stage has all its channels; `reduced_tail=True` halves them, as in the paper.
    - c3 is taken after the first block of its stage; the paper does not say where.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

from torch import Tensor, nn

from segkit.backbones.fitting import on_backbone
from segkit.backbones.mobilenet_v3 import mobilenet_v3_large
from segkit.builder import BackboneOptions, BackboneWeights, Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBNReLU, ResizeLogits, check_num_classes, resize
from segkit.outputs import Backbone, SegOutput
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="Searching for MobileNetV3",
    authors="Howard et al.",
    venue="ICCV",
    year=2019,
    url="https://arxiv.org/abs/1905.02244",
    kind="real-time",
)


class Gate(nn.Sequential):
    """One weight per channel from the mean over the map, as in squeeze-and-excitation.

    (B, in_channels, H, W) -> (B, out_channels, 1, 1), between 0 and 1.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.Sigmoid(),
        )


class LRASPP(nn.Module):
    """LR-ASPP over any backbone with a finer feature c3 and a deep one c5.

    Args:
        backbone: module images -> Stages, with the attribute `channels`.
        num_classes: K, at least 2.
        channels: width of the head.

    Raises:
        ValueError: fewer than two classes.

    Returns (forward):
        logits (B, K, H, W) for any H, W from 32 up; aux is empty.

    Example:
        >>> import torch
        >>> model = lraspp_mobilenet_v3_large(num_classes=11).eval()
        >>> model(torch.zeros(1, 3, 96, 128)).logits.shape
        torch.Size([1, 11, 96, 128])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(self, backbone: Backbone, *, num_classes: int, channels: int = 128) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.backbone = backbone
        self.project = ConvBNReLU(backbone.channels.c5, channels, 1)
        self.gate = Gate(backbone.channels.c5, channels)
        self.score_c5 = nn.Conv2d(channels, num_classes, 1)
        self.score_c3 = nn.Conv2d(backbone.channels.c3, num_classes, 1)
        self.resize = ResizeLogits()

    def forward(self, images: Tensor) -> SegOutput:
        _, c3, _, c5 = self.backbone(images)
        x = self.project(c5) * self.gate(c5)  # (B, 128, H/16, W/16)
        x = resize(x, c3.shape[-2:])  # (B, 128, H/8, W/8)
        logits = self.score_c5(x) + self.score_c3(c3)  # (B, K, H/8, W/8)
        return SegOutput(self.resize(logits, images.shape[-2:]), {})


def lraspp(*, backbone: str, **options: Unpack[BackboneOptions]) -> LRASPP:
    """LR-ASPP on any backbone that can be dilated to stride 16."""
    return on_backbone(LRASPP, backbone, output_stride=16, **options)


def lraspp_mobilenet_v3_large(
    *,
    num_classes: int,
    in_channels: int = 3,
    weights: Source | None = None,
    weights_backbone: BackboneWeights = None,
    reduced_tail: bool = False,
) -> LRASPP:
    """LR-ASPP on MobileNetV3-Large at stride 16: 3,221,198 parameters at 19 classes.

    Args:
        num_classes: K, at least 2.
        in_channels: channels of the images.
        weights: where to load weights from; None draws them at random.
        weights_backbone: torchvision's ImageNet weights or their name, such as "IMAGENET1K_V2".
        reduced_tail: half the channels in the backbone's last stage, as in the paper.

    Raises:
        ValueError: fewer than two classes, or weights that there are not.
    """
    backbone = mobilenet_v3_large(
        in_channels=in_channels,
        output_stride=16,
        weights=weights_backbone,
        dilate_first=True,
        after_first=True,
        reduced_tail=reduced_tail,
    )
    return with_weights(LRASPP(backbone, num_classes=num_classes), weights)


builders = (lraspp, lraspp_mobilenet_v3_large)
