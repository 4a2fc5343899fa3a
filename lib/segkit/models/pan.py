"""PAN: attention from a small pyramid over c5, then what the deep map sees weighs the shallow one.

Paper: Li et al., "Pyramid Attention Network for Semantic Segmentation", BMVC 2018,
    https://arxiv.org/abs/1805.10180
Idea:  pooling to fixed grids loses where things are. Feature pyramid attention (FPA) halves c5
    three times, looks at the halves with kernels of 7, 5 and 3 and comes back up: one weight per
    pixel, from three scales. On the way down to stride 4, global attention upsampling (GAU) lets
    the mean of the deeper map say which channels of the shallower map matter.

    image ─ ResNet ─┬ c5 /16 ─ FPA ─┐
                    ├ c4 /16 ───── GAU ─┐
                    ├ c3 /8 ─────────── GAU ─┐
                    └ c2 /4 ──────────────── GAU ─ 3x3 ─ x4 ─ logits

    FPA: c5 ─┬ mean ─ 1x1 ───────────────────────────────── + ─       GAU: low ─ 3x3 ─ * ─ + ─
             ├ 1x1 ───────────────────────────────────── * ─┘         high ─┬ mean, 1x1 ┘  │
             └ /2 ─ 7x7 ─┬ 7x7 ───────────────────── + ─ x2                 └ x2 ──────────┘
                         └ /2 ─ 5x5 ─┬ 5x5 ───── + ─ x2
                                     └ /2 ─ 3x3 ─ 3x3 ─ x2

No code of the authors is known. The widths, the biases in front of batch normalisation and the 3x3
convolution to the scores are those of smp.PAN, parameter for parameter: 32 channels in the decoder,
one in the pyramid.

Differs from the paper:
    - The ResNet is torchvision's, with a 7x7 stem instead of three 3x3 convolutions.
    - Halving rounds up, so images may have any size.
Differs from smp.PAN:
    - Its gate is a sigmoid, and `gate="sigmoid"` is theirs. The text has batch normalisation and a
      nonlinearity there; here that is the ReLU that follows batch normalisation everywhere else.
    - It aligns the corners of what it enlarges, and needs images of 128 pixels and more.
    - It dilates all of layer4, torchvision leaves out the first of its 3x3 convolutions.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Unpack

from torch import Tensor, nn
from torch.nn import functional as F

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBN, ConvBNReLU, ResizeLogits, check_num_classes, init_decoder, resize
from segkit.outputs import Backbone, SegOutput

PAPER = Paper(
    title="Pyramid Attention Network for Semantic Segmentation",
    authors="Li et al.",
    venue="BMVC",
    year=2018,
    url="https://arxiv.org/abs/1805.10180",
    kind="attention",
)


def halve(x: Tensor) -> Tensor:
    """Maximum of each 2x2 pixels; a last odd row or column counts as half a pixel more."""
    return F.max_pool2d(x, 2, ceil_mode=True)


def mean(x: Tensor) -> Tensor:
    """Mean over the pixels, (B, C, H, W) -> (B, C, 1, 1)."""
    return F.adaptive_avg_pool2d(x, 1)


class FeaturePyramidAttention(nn.Module):
    """One weight per pixel from three scales, times the map, plus the map's mean.

    Args:
        in_channels: of the map.
        channels: of the result.

    Raises:
        ValueError: in training, a batch of one image.

    Source: section 3.1, figure 3b.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.image = ConvBNReLU(in_channels, channels, 1, bias=True)
        self.pixel = ConvBNReLU(in_channels, channels, 1, bias=True)
        self.down1 = ConvBNReLU(in_channels, 1, 7, bias=True)
        self.down2 = ConvBNReLU(1, 1, 5, bias=True)
        self.down3 = ConvBNReLU(1, 1, 3, bias=True)
        self.up3 = ConvBNReLU(1, 1, 3, bias=True)
        self.up2 = ConvBNReLU(1, 1, 5, bias=True)
        self.up1 = ConvBNReLU(1, 1, 7, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        scale1 = self.down1(halve(x))  # (B, 1, H/2, W/2)
        scale2 = self.down2(halve(scale1))
        scale3 = self.down3(halve(scale2))

        attention = self.up3(scale3)
        attention = self.up2(scale2) + resize(attention, scale2.shape[-2:])
        attention = self.up1(scale1) + resize(attention, scale1.shape[-2:])
        attention = resize(attention, x.shape[-2:])  # (B, 1, H, W)
        return self.pixel(x) * attention + self.image(mean(x))


class GlobalAttentionUpsample(nn.Module):
    """The shallower map, its channels weighted by the mean of the deeper one, plus the deeper one.

    Args:
        low_channels: of the shallower map.
        channels: of the deeper map and of the result.
        gate: what the weights pass last, so that they are not negative.

    Raises:
        ValueError: in training, a batch of one image.

    Source: section 3.2, figure 4.
    """

    def __init__(self, low_channels: int, channels: int, *, gate: nn.Module) -> None:
        super().__init__()
        self.weigh = ConvBN(channels, channels, 1, bias=True)
        self.gate = gate
        self.low = ConvBNReLU(low_channels, channels, bias=True)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        weights = self.gate(self.weigh(mean(high)))  # (B, C, 1, 1)
        return self.low(low) * weights + resize(high, low.shape[-2:])


class PAN(nn.Module):
    """Feature pyramid attention on c5 and three global attention upsamplings.

    Everything but the backbone is initialised here (He's normal distribution).

    Args:
        backbone: gives Stages; the paper's c5 is at stride 16.
        num_classes: K, two or more.
        channels: width of the decoder.
        gate: of the channel weights: "relu" as in the paper, "sigmoid" as in smp.

    Raises:
        ValueError: fewer than two classes, or another gate; in training, a batch of one image (the
            mean of the map is a single value per channel to normalise).

    Returns (forward):
        logits (B, K, H, W); no aux.

    Example:
        >>> import torch
        >>> from segkit.backbones.resnet import resnet18
        >>> model = PAN(resnet18(), num_classes=5).eval()
        >>> model(torch.zeros(1, 3, 50, 70)).logits.shape
        torch.Size([1, 5, 50, 70])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        channels: int = 32,
        gate: Literal["relu", "sigmoid"] = "relu",
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        gates = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}
        if gate not in gates:
            raise ValueError(f"gate is {gate!r}; take 'relu' (the paper's) or 'sigmoid' (smp's)")
        c2, c3, c4, c5 = backbone.channels

        self.backbone = backbone
        self.fpa = FeaturePyramidAttention(c5, channels)
        self.gau4 = GlobalAttentionUpsample(c4, channels, gate=gates[gate]())
        self.gau3 = GlobalAttentionUpsample(c3, channels, gate=gates[gate]())
        self.gau2 = GlobalAttentionUpsample(c2, channels, gate=gates[gate]())
        self.head = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.resize = ResizeLogits()

        init_decoder(self)

    def forward(self, images: Tensor) -> SegOutput:
        c2, c3, c4, c5 = self.backbone(images)
        x = self.fpa(c5)  # (B, 32, H/16, W/16)
        x = self.gau4(c4, x)
        x = self.gau3(c3, x)  # (B, 32, H/8, W/8)
        x = self.gau2(c2, x)  # (B, 32, H/4, W/4)
        return SegOutput(self.resize(self.head(x), images.shape[-2:]), {})


class Options(BackboneOptions, total=False):
    """What all builders here take.

    Attributes:
        gate: of the channel weights: "relu" as in the paper, "sigmoid" as in smp.
    """

    gate: Literal["relu", "sigmoid"]


def pan(*, backbone: str, **options: Unpack[Options]) -> PAN:
    """PAN on any backbone that can be dilated to stride 16."""
    return on_backbone(PAN, backbone, output_stride=16, **options)


def pan_resnet50(*, backbone: str = "resnet50", **options: Unpack[Options]) -> PAN:
    """PAN on ResNet-50 at stride 16: 24,265,018 parameters at 19 classes, as smp.PAN."""
    return pan(backbone=backbone, **options)


def pan_resnet101(*, backbone: str = "resnet101", **options: Unpack[Options]) -> PAN:
    """PAN on ResNet-101 at stride 16, as the paper's: 43,257,146 parameters at 19 classes."""
    return pan(backbone=backbone, **options)


builders = (pan, pan_resnet50, pan_resnet101)
