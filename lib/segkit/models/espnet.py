"""ESPNet: a pyramid of dilated convolutions that costs no more than one small convolution.

Paper: Mehta et al., "ESPNet: Efficient Spatial Pyramid of Dilated Convolutions for Semantic
    Segmentation", ECCV 2018, https://arxiv.org/abs/1803.06815
Idea:  a convolution is taken apart (ESP): a 1x1 one reduces the channels to a fifth, five dilated
    3x3 ones see them at dilations 1 to 16, and their results are concatenated. Added up from the
    smaller dilation to the larger before that, they show no grid (hierarchical feature fusion).
    The image itself, made smaller, is handed to each level again (input reinforcement).

    image ─ x1 /2 ┬────────────────────────────────────────────────── cat ─ conv ─ up ─ logits
                  └ 3 ESP ─ x2 /4 ┬ 1x1 ───────────────── cat ─ ESP ─ up
                                  └ 9 ESP ─ x3 /8 ─ 1x1 ─ up

Differs from the paper: this is the network that its authors released, tensor for tensor
(sacmehta/ESPNet, train/Model.py). In it:
    - Of five branches the first, with dilation 1, takes the channels that a division by five leaves
      over, and stays out of the sums.
    - An ESP module that halves the size has a 3x3 convolution for its 1x1 and no residual.
Differs from the release:
    - It needs images with sides that are multiples of 8. Here a map of odd size is halved rounding
      up, and what is doubled again is cropped; for multiples of 8 that is the same.
    - Its decoder carries K channels, too few for the ESP module below five; here five at least.
    - Its weights for Cityscapes have another decoder, where fuse1 sees the stem in place of x1.
    - ESPNet-C's logits are enlarged with corners not aligned, as any; there it depends on torch.
    - It trains the encoder alone as ESPNet-C first, on labels made eight times smaller, then all.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import ClassVar, TypeVar, Unpack

import torch
from torch import Tensor, nn

from segkit.builder import Options, Paper
from segkit.losses import AuxLoss
from segkit.nn import ResizeLogits, check_num_classes
from segkit.outputs import SegOutput
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="ESPNet: Efficient Spatial Pyramid of Dilated Convolutions for Semantic Segmentation",
    authors="Mehta et al.",
    venue="ECCV",
    year=2018,
    url="https://arxiv.org/abs/1803.06815",
    kind="real-time",
)

Network = TypeVar("Network", bound=nn.Module)


class BNPReLU(nn.Module):
    """Batch normalisation and PReLU, with a slope for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, eps=1e-3)  # the release's; torch's own is 1e-5
        self.prelu = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.bn(x))


class ConvBNPReLU(BNPReLU):
    """A 3x3 convolution in front of batch normalisation and PReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__(out_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.conv(x))


class ESP(nn.Module):
    """Efficient Spatial Pyramid: reduce, split, transform, merge.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result, 5 or more.
        stride: 1 keeps the size; 2 halves it, rounded up.
        residual: whether the input is added to what is merged; it must have the same shape.

    Source: section 3 and figure 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, residual: bool = True
    ) -> None:
        super().__init__()
        width = out_channels // 5
        kernel_size = 1 if stride == 1 else 3
        self.reduce = nn.Conv2d(
            in_channels, width, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
        )
        widths = (out_channels - 4 * width, width, width, width, width)
        self.transform = nn.ModuleList(
            nn.Conv2d(width, channels, 3, padding=2**i, dilation=2**i, bias=False)
            for i, channels in enumerate(widths)
        )
        self.norm = BNPReLU(out_channels)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)
        first, *rest = (conv(reduced) for conv in self.transform)
        merged = torch.cat([first, *accumulate(rest)], dim=1)  # each with the sum of those before
        return self.norm(x + merged if self.residual else merged)


def _double(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=False)


def _crop(x: Tensor, like: Tensor) -> Tensor:
    return x[..., : like.shape[-2], : like.shape[-1]]


class ESPEncoder(nn.Module):
    """The encoder, images -> (x1, x2, x3) of `channels` at strides 2, 4 and 8, rounded up.

    Args:
        in_channels: channels of the images.
        alpha2: ESP modules at stride 4, after the one that halves.
        alpha3: ESP modules at stride 8, after the one that halves.
    """

    def __init__(self, *, in_channels: int = 3, alpha2: int = 2, alpha3: int = 8) -> None:
        super().__init__()
        self.channels = (16 + in_channels, 128 + in_channels, 256)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)
        self.stem = ConvBNPReLU(in_channels, 16, stride=2)
        self.norm1 = BNPReLU(self.channels[0])
        self.down2 = ESP(self.channels[0], 64, stride=2, residual=False)
        self.level2 = nn.Sequential(*(ESP(64, 64) for _ in range(alpha2)))
        self.norm2 = BNPReLU(self.channels[1])
        self.down3 = ESP(self.channels[1], 128, stride=2, residual=False)
        self.level3 = nn.Sequential(*(ESP(128, 128) for _ in range(alpha3)))
        self.norm3 = BNPReLU(self.channels[2])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        half = self.pool(images)
        quarter = self.pool(half)
        x1 = self.norm1(torch.cat([self.stem(images), half], dim=1))  # (B, 16 + C, H/2, W/2)
        down = self.down2(x1)
        x2 = self.norm2(torch.cat([self.level2(down), down, quarter], dim=1))  # (B, 128 + C, H/4)
        down = self.down3(x2)
        x3 = self.norm3(torch.cat([down, self.level3(down)], dim=1))  # (B, 256, H/8, W/8)
        return x1, x2, x3


class ESPNet(nn.Module):
    """ESPNet: the encoder and a decoder that carries little more than the class scores.

    Args:
        encoder: module images -> (x1, x2, x3) at strides 2, 4 and 8, with attribute `channels`.
        num_classes: K, at least 2.

    Raises:
        ValueError: fewer than two classes.

    Example:
        >>> model = espnet(num_classes=11).eval()
        >>> model(torch.zeros(1, 3, 50, 70)).logits.shape
        torch.Size([1, 11, 50, 70])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(self, encoder: ESPEncoder, *, num_classes: int) -> None:
        super().__init__()
        width = max(check_num_classes(num_classes), 5)  # one channel for each branch of the ESP
        x1, x2, x3 = encoder.channels
        self.encoder = encoder
        self.project3 = nn.Conv2d(x3, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width, eps=1e-3)
        self.up3 = _double(width, width)
        self.project2 = nn.Conv2d(x2, width, 1, bias=False)
        self.fuse2 = nn.Sequential(BNPReLU(2 * width), ESP(2 * width, width, residual=False))
        self.up2 = nn.Sequential(_double(width, width), BNPReLU(width))
        self.fuse1 = ConvBNPReLU(width + x1, width)
        self.up1 = _double(width, num_classes)

    def forward(self, images: Tensor) -> SegOutput:
        x1, x2, x3 = self.encoder(images)
        y2 = _crop(self.up3(self.bn3(self.project3(x3))), x2)  # (B, K, H/4, W/4)
        y1 = self.up2(self.fuse2(torch.cat([self.project2(x2), y2], dim=1)))
        y1 = self.fuse1(torch.cat([_crop(y1, x1), x1], dim=1))  # (B, K, H/2, W/2)
        logits = _crop(self.up1(y1), images).contiguous()  # one plane per class, as ResizeLogits
        return SegOutput(logits, {})


class ESPNetC(nn.Module):
    """ESPNet-C: the encoder alone, its class scores at stride 8 enlarged; see `ESPNet`.

    Example:
        >>> model = espnet_c(num_classes=11).eval()
        >>> model(torch.zeros(1, 3, 50, 70)).logits.shape
        torch.Size([1, 11, 50, 70])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(self, encoder: ESPEncoder, *, num_classes: int) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.encoder = encoder
        self.project3 = nn.Conv2d(encoder.channels[2], num_classes, 1, bias=False)
        self.resize = ResizeLogits()

    def forward(self, images: Tensor) -> SegOutput:
        *_, x3 = self.encoder(images)
        return SegOutput(self.resize(self.project3(x3), images.shape[-2:]), {})


class ESPOptions(Options, total=False):
    """What both builders take.

    Attributes:
        alpha2: ESP modules at stride 4, 2; p in the release's file names.
        alpha3: ESP modules at stride 8, 8; q in the release's file names: 3, 5 or 8.
        weights: where to load weights from; None draws them at random.
    """

    alpha2: int
    alpha3: int
    weights: Source | None


def _on_encoder(
    network: Callable[..., Network],
    *,
    num_classes: int,
    in_channels: int = 3,
    alpha2: int = 2,
    alpha3: int = 8,
    weights: Source | None = None,
) -> Network:
    encoder = ESPEncoder(in_channels=in_channels, alpha2=alpha2, alpha3=alpha3)
    return with_weights(network(encoder, num_classes=num_classes), weights)


def espnet(**options: Unpack[ESPOptions]) -> ESPNet:
    """ESPNet: 363,462 parameters at 19 classes."""
    return _on_encoder(ESPNet, **options)


def espnet_c(**options: Unpack[ESPOptions]) -> ESPNetC:
    """ESPNet-C, without the decoder: 349,193 parameters at 19 classes."""
    return _on_encoder(ESPNetC, **options)


builders = (espnet, espnet_c)
