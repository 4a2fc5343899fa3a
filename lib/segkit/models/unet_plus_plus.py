"""U-Net++: a U-Net of every depth at once, nested into each other by dense skips.

Paper: Zhou et al., "UNet++: A Nested U-Net Architecture for Medical Image Segmentation",
    DLMIA 2018, https://arxiv.org/abs/1807.10165; extended in IEEE TMI 2020,
    https://arxiv.org/abs/1912.05074
Idea:  a skip of U-Net joins features of very different depth. Here nodes in between close the gap:
    X^{i,j} convolves all earlier nodes of its level i and the enlarged node below. The top row then
    holds the results of U-Nets of depth 1 to 4; each has a head, and after training the deeper ones
    may be cut off (`UNetPlusPlus.prune`).

    image ─ X00 /1 ── X01 ── X02 ── X03 ── X04      1x1 head on X01 … X04: L1 … L4
              └ X10 /2 ┴─ X11 ┴─ X12 ┴─ X13 ┘       └ down: max pooling
                   └ X20 /4 ┴─ X21 ┴─ X22 ┘         ┴ up: 2x2 transposed convolution
                        └ X30 /8 ┴─ X31 ┘           ─ every earlier node of the level
                             └ X40 /16 ┘

In training the logits are X04's and the heads of X01, X02, X03 are auxiliary outputs, all with
weight 1. In evaluation the probabilities of the four are averaged, the paper's accurate mode;
`prune` gives its fast mode, one of them alone.

Differs from the paper: nothing in the network, whose 9,041,601 parameters (one channel, one class,
one head) are the authors'.
    - The average comes as logits too: the logarithm of the mean of the softmax.
    - The authors' Keras code has dropout of 0.5 after every convolution; the text has none.
    - PaddleSeg's count, 8.36 M, has a bilinear x2 and a 1x1 convolution for each transposed one, a
      quarter of its weights (``upsample="bilinear"``), and batch normalisation.
    - `BackboneUNetPlusPlus` has a backbone for X00 … X40, nearest-neighbour upsampling and one
      head, no levels to prune: with ResNets it is smp.UnetPlusPlus, parameter for parameter.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal, Self, Unpack

import torch
from torch import Tensor, nn

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, BackboneWeights, Options, Paper
from segkit.losses import AuxLoss
from segkit.nn import DoubleConv, UpBlock, check_num_classes, init_kaiming, init_up_convs
from segkit.outputs import BackboneWithStem, SegOutput
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="UNet++: A Nested U-Net Architecture for Medical Image Segmentation",
    authors="Zhou et al.",
    venue="DLMIA",
    year=2018,
    url="https://arxiv.org/abs/1807.10165",
    kind="medical",
)


def nest(column: Sequence[Tensor], nodes: nn.ModuleDict) -> dict[str, Tensor]:
    """Compute all nodes from the first column.

    Args:
        column: X^{0,0} … X^{d,0}, from the largest map to the smallest.
        nodes: an `UpBlock` for each "x{i}{j}" with j from 1 and i + j up to d.

    Returns:
        All nodes by name, the first column included.

    Source: equation 1.
    """
    depth = len(column) - 1
    grid = {f"x{i}0": x for i, x in enumerate(column)}
    for j in range(1, depth + 1):
        for i in range(depth - j + 1):
            skips = [grid[f"x{i}{k}"] for k in reversed(range(j))]
            below = grid[f"x{i + 1}{j - 1}"]
            grid[f"x{i}{j}"] = nodes[f"x{i}{j}"](below, skips, skips[0].shape[-2:])
    return grid


class UNetPlusPlus(nn.Module):
    """U-Net++ as in the paper.

    Args:
        num_classes: K, two or more.
        in_channels: channels of the images.
        channels: of each level, from the top; two to ten.
        deep_supervision: a head on each node of the top row; False: on the last one only.
        batch_norm: whether each 3x3 convolution is followed by batch normalisation.
        upsample: how a node enlarges what is below it, see `segkit.nn.double_conv.UpBlock`.

    Raises:
        ValueError: fewer than two classes, another number of levels, or an unknown upsampling.

    Returns (forward):
        logits (B, K, H, W) for any H, W. In training, aux holds "x01", "x02" and "x03" of the same
        shape.

    Example:
        >>> model = UNetPlusPlus(num_classes=2, in_channels=1, channels=(4, 8, 16)).eval()
        >>> model(torch.zeros(1, 1, 50, 70)).logits.shape
        torch.Size([1, 2, 50, 70])
        >>> fast = model.prune(1)
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        channels: tuple[int, ...] = (32, 64, 128, 256, 512),
        deep_supervision: bool = True,
        batch_norm: bool = False,
        upsample: Literal["transposed", "bilinear", "nearest"] = "transposed",
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if not 2 <= len(channels) <= 10:
            raise ValueError(f"channels is {channels}; give two to ten levels, the top one first")
        depth = len(channels) - 1
        self.column = nn.ModuleList(
            DoubleConv(above, below, batch_norm=batch_norm)
            for above, below in pairwise((in_channels, *channels))
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        kind = {"upsample": upsample, "batch_norm": batch_norm}
        self.nodes = nn.ModuleDict(
            {
                f"x{i}{j}": UpBlock(channels[i + 1], j * channels[i], channels[i], **kind)
                for j in range(1, depth + 1)
                for i in range(depth - j + 1)
            }
        )
        first = 1 if deep_supervision else depth
        self.heads = nn.ModuleDict(
            {f"x0{j}": nn.Conv2d(channels[0], num_classes, 1) for j in range(first, depth + 1)}
        )
        self.aux_losses: dict[str, AuxLoss] = dict.fromkeys(list(self.heads)[:-1], AuxLoss(1.0))

        init_kaiming(self)
        init_up_convs(self)

    def forward(self, images: Tensor) -> SegOutput:
        column = []
        x = images
        for i, convs in enumerate(self.column):
            x = convs(self.pool(x) if i else x)
            column.append(x)
        grid = nest(column, self.nodes)

        scores = {name: head(grid[name]) for name, head in self.heads.items()}
        _, logits = scores.popitem()
        if self.training:
            return SegOutput(logits, scores)
        if scores:
            each = torch.stack([x.log_softmax(dim=1) for x in (*scores.values(), logits)])
            logits = each.logsumexp(dim=0) - math.log(len(each))
        return SegOutput(logits, {})

    def prune(self, level: int) -> Self:
        """The network L1, L2 …: what one head of the top row needs, and nothing else.

        Args:
            level: columns that are kept beside the first; the deepest gives the fast mode.

        Returns:
            A copy, on the same device, whose logits are those of the head on X^{0,level}. It has
            no auxiliary outputs.

        Raises:
            ValueError: there is no such level, or it has no head (deep supervision is off).

        Source: the 2018 paper, on deep supervision.
        """
        if f"x0{level}" not in self.heads:
            raise ValueError(
                f"level is {level}; heads are on levels {', '.join(n[2:] for n in self.heads)} "
                "(on all of them with deep_supervision=True)"
            )
        pruned = copy.deepcopy(self)
        del pruned.column[level + 1 :]
        for name in self.nodes:
            if int(name[1]) + int(name[2]) > level:
                del pruned.nodes[name]
        for name in self.heads:
            if name != f"x0{level}":
                del pruned.heads[name]
        pruned.aux_losses = {}
        return pruned


class BackboneUNetPlusPlus(nn.Module):
    """The nested skips on any backbone that gives a stem.

    Args:
        backbone: gives Stages and, by ``forward_with_stem``, the stride-2 feature.
        num_classes: K, two or more.
        decoder_channels: widths of X^{3,1}, X^{2,2}, X^{1,3}, X^{0,4} (strides 16 to 2) and of the
            last step to the image's size. The other nodes have the width of the backbone's stage.

    Raises:
        ValueError: fewer than two classes, no stem, or not five decoder channels.

    Example:
        >>> model = unet_plus_plus(backbone="resnet18", num_classes=5).eval()
        >>> model(torch.zeros(1, 3, 50, 70)).logits.shape
        torch.Size([1, 5, 50, 70])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(
        self,
        backbone: BackboneWithStem,
        *,
        num_classes: int,
        decoder_channels: tuple[int, int, int, int, int] = (256, 128, 64, 32, 16),
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if len(decoder_channels) != 5:
            raise ValueError(f"decoder_channels is {decoder_channels}; give five, one a level")
        if not hasattr(backbone, "forward_with_stem"):
            raise ValueError(
                f"{type(backbone).__name__} has no forward_with_stem, which gives the stride-2 "
                "feature X^{0,0}; take a backbone that has it, such as a ResNet"
            )
        self.backbone = backbone
        column = (backbone.stem_channels, *backbone.channels)
        self.nodes = nn.ModuleDict()
        for i in range(4):
            below = column[i + 1]
            for j in range(1, 5 - i):
                if i + j == 4 and i < 3:
                    below = decoder_channels[2 - i]
                channels = decoder_channels[3 - i] if i + j == 4 else column[i]
                self.nodes[f"x{i}{j}"] = UpBlock(below, j * column[i], channels)
        self.last = UpBlock(decoder_channels[3], 0, decoder_channels[4])
        self.head = nn.Conv2d(decoder_channels[4], num_classes, 3, padding=1)
        init_kaiming(self.nodes)
        init_kaiming(self.last)

    def forward(self, images: Tensor) -> SegOutput:
        stem, stages = self.backbone.forward_with_stem(images)
        grid = nest([stem, *stages], self.nodes)
        x = self.last(grid["x04"], [], images.shape[-2:])
        return SegOutput(self.head(x), {})


class PaperOptions(Options, total=False):
    """What the paper's network takes, see `UNetPlusPlus`."""

    deep_supervision: bool
    batch_norm: bool
    upsample: Literal["transposed", "bilinear", "nearest"]


def unet_plus_plus(
    *,
    backbone: str = "",
    weights: Source | None = None,
    weights_backbone: BackboneWeights = None,
    **options: Unpack[PaperOptions],
) -> UNetPlusPlus | BackboneUNetPlusPlus:
    """The paper's U-Net++: 9,044,652 parameters at 19 classes.

    With the name of a backbone the nested skips on that, `BackboneUNetPlusPlus`, which has none of
    the paper's options.
    """
    if backbone:
        own = {"weights": weights, "weights_backbone": weights_backbone, "needs_stem": True}
        return on_backbone(BackboneUNetPlusPlus, backbone, **own, **options)
    if weights_backbone is not None:
        raise ValueError(f"weights_backbone is {weights_backbone!r}, but no backbone is named")
    return with_weights(UNetPlusPlus(**options), weights)


def unet_plus_plus_resnet18(
    *, backbone: str = "resnet18", **options: Unpack[BackboneOptions]
) -> BackboneUNetPlusPlus:
    """U-Net++ on ResNet-18: 15,973,059 parameters at 19 classes, as smp.UnetPlusPlus."""
    return on_backbone(BackboneUNetPlusPlus, backbone, needs_stem=True, **options)


def unet_plus_plus_resnet34(
    *, backbone: str = "resnet34", **options: Unpack[BackboneOptions]
) -> BackboneUNetPlusPlus:
    """U-Net++ on ResNet-34: 26,081,219 parameters at 19 classes, as smp.UnetPlusPlus."""
    return on_backbone(BackboneUNetPlusPlus, backbone, needs_stem=True, **options)


def unet_plus_plus_resnet50(
    *, backbone: str = "resnet50", **options: Unpack[BackboneOptions]
) -> BackboneUNetPlusPlus:
    """U-Net++ on ResNet-50: 48,988,355 parameters at 19 classes, as smp.UnetPlusPlus."""
    return on_backbone(BackboneUNetPlusPlus, backbone, needs_stem=True, **options)


builders = (
    unet_plus_plus,
    unet_plus_plus_resnet18,
    unet_plus_plus_resnet34,
    unet_plus_plus_resnet50,
)
