"""LinkNet: each decoder block gets back what its encoder block was given, by a plain sum.

Paper: Chaurasia and Culurciello, "LinkNet: Exploiting Encoder Representations for Efficient
    Semantic Segmentation", VCIP 2017, https://arxiv.org/abs/1707.03718
Idea:  what downsampling loses is lost for a decoder; pooling indices bring back little of it, and
    concatenation is expensive. Adding the input of an encoder block to the output of the decoder
    block on the same level costs nothing, and lets the decoder have a quarter of the channels
    where it enlarges.

    image ─ 7x7 /2 ─ pool /4 ─┬ layer1 ─┬ layer2 ─┬ layer3 ─┬ layer4 ─ c5 /32
                              │      c2 /4     c3 /8     c4 /16       │
    logits ─ head ─────────── + ─ 64 ── + ─ 64 ── + ─ 128 ─ + ─ 256 ──┘

    a decoder block:  1x1 to a quarter ─ 3x3 transposed, x2 ─ 1x1      (the last keeps its size)
    the head:         3x3 transposed to 32, x2 ─ 3x3 ─ 2x2 transposed to the classes, x2

Differs from the paper:
    - Images may have any size: what a transposed convolution makes too large by one is cut off.
    - The authors' PyTorch code has two biases in front of batch normalisation, which cancels them.
      Their Torch code has more of them, most epsilons at 0.001, and a ReLU on sums of what is not
      negative anyway.
    - `form="smp"` is smp.Linknet: transposed kernels of 4, the unpooled stem at stride 2 as the
      last skip, one more block up to the image's size and a 1x1 convolution for the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Unpack

from torch import Tensor, nn
from torch.nn import functional as F

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBNReLU, check_num_classes, init_kaiming
from segkit.outputs import BackboneWithStem, SegOutput

PAPER = Paper(
    title="LinkNet: Exploiting Encoder Representations for Efficient Semantic Segmentation",
    authors="Chaurasia and Culurciello",
    venue="VCIP",
    year=2017,
    url="https://arxiv.org/abs/1707.03718",
    kind="real-time",
)


class FullConvBNReLU(nn.Module):
    """Transposed convolution ("full convolution"), batch normalisation and ReLU.

    Args:
        in_channels: of the input.
        out_channels: of the result.
        kernel_size: 3, or 4 (which keeps a bias, as in smp).
        stride: 2 doubles the size, 1 keeps it.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, stride: int = 2
    ) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=1,
            output_padding=(stride - 1) * (kernel_size % 2),
            bias=kernel_size == 4,
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class DecoderBlock(nn.Sequential):
    """To a quarter of the channels, enlarge, to the channels of the skip; figure 3."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 2
    ) -> None:
        quarter = in_channels // 4
        super().__init__(
            ConvBNReLU(in_channels, quarter, 1),
            FullConvBNReLU(quarter, quarter, kernel_size, stride=stride),
            ConvBNReLU(quarter, out_channels, 1),
        )


class LinkNet(nn.Module):
    """LinkNet on a backbone with a stem.

    Everything but the backbone is initialised here, as in the authors' code: He's normal
    distribution for the gradients (fan out).

    Args:
        backbone: gives Stages at strides 4, 8, 16 and 32, sizes rounded up, and has
            ``stem_channels`` and ``forward_with_stem``, as ResNet has.
        num_classes: K, two or more.
        form: "paper", or "smp" for smp.Linknet.

    Raises:
        ValueError: fewer than two classes, another form, or a backbone of other strides or without
            a stem.

    Returns (forward):
        logits (B, K, H, W); no aux.

    Example:
        >>> import torch
        >>> model = linknet(backbone="resnet18", num_classes=5).eval()
        >>> model(torch.zeros(1, 3, 50, 70)).logits.shape
        torch.Size([1, 5, 50, 70])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(
        self,
        backbone: BackboneWithStem,
        *,
        num_classes: int,
        form: Literal["paper", "smp"] = "paper",
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if form not in ("paper", "smp"):
            raise ValueError(f"form is {form!r}; take 'paper' or 'smp'")
        if not hasattr(backbone, "forward_with_stem"):
            raise ValueError(
                f"{type(backbone).__name__} has no forward_with_stem, whose stride-2 feature is "
                "LinkNet's last skip: take a ResNet"
            )
        if tuple(backbone.strides) != (4, 8, 16, 32):
            raise ValueError(
                f"the backbone's strides are {tuple(backbone.strides)}; LinkNet doubles the size "
                "from level to level and needs 4, 8, 16, 32: use a backbone without dilation"
            )
        c2, c3, c4, c5 = backbone.channels
        stem = backbone.stem_channels
        self.backbone = backbone
        self.pooled = form == "paper"
        if form == "paper":
            self.decoder = nn.ModuleList(
                [
                    DecoderBlock(c5, c4, 3),
                    DecoderBlock(c4, c3, 3),
                    DecoderBlock(c3, c2, 3),
                    DecoderBlock(c2, stem, 3, stride=1),
                ]
            )
            self.head = nn.Sequential(
                FullConvBNReLU(stem, 32),
                ConvBNReLU(32, 32),
                nn.ConvTranspose2d(32, num_classes, 2, stride=2),
            )
        else:
            self.decoder = nn.ModuleList(
                [
                    DecoderBlock(c5, c4, 4),
                    DecoderBlock(c4, c3, 4),
                    DecoderBlock(c3, c2, 4),
                    DecoderBlock(c2, stem, 4),
                ]
            )
            self.head = nn.Sequential(DecoderBlock(stem, 32, 4), nn.Conv2d(32, num_classes, 1))

        for part in (self.decoder, self.head):
            init_kaiming(part, mode="fan_out")
            for module in part.modules():
                if isinstance(module, nn.ConvTranspose2d):
                    fan_out = module.out_channels * module.kernel_size[0] ** 2
                    nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> SegOutput:
        stem, (c2, c3, c4, x) = self.backbone.forward_with_stem(images)
        if self.pooled:
            stem = F.max_pool2d(stem, 3, stride=2, padding=1)  # what layer1 got
        for block, skip in zip(self.decoder, (c4, c3, c2, stem), strict=True):
            x = crop(block(x), skip.shape[-2:]) + skip
        return SegOutput(crop(self.head(x), images.shape[-2:]), {})


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """The first rows and columns, (height, width) of them."""
    return x[..., : size[0], : size[1]]


class Options(BackboneOptions, total=False):
    """What all builders here take.

    Attributes:
        form: "paper", or "smp" for smp.Linknet's decoder.
    """

    form: Literal["paper", "smp"]


def linknet(*, backbone: str, **options: Unpack[Options]) -> LinkNet:
    """LinkNet on any backbone with strides of 4, 8, 16 and 32 and a stem at 2."""
    return on_backbone(LinkNet, backbone, needs_stem=True, **options)


def linknet_resnet18(*, backbone: str = "resnet18", **options: Unpack[Options]) -> LinkNet:
    """LinkNet on ResNet-18, the paper's: 11,535,635 parameters at 19 classes."""
    return linknet(backbone=backbone, **options)


def linknet_resnet34(*, backbone: str = "resnet34", **options: Unpack[Options]) -> LinkNet:
    """LinkNet on ResNet-34: 21,643,795 parameters at 19 classes, 21,772,531 in smp's form."""
    return linknet(backbone=backbone, **options)


builders = (linknet, linknet_resnet18, linknet_resnet34)
