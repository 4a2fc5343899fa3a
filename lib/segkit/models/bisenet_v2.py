"""BiSeNet V2: one wide shallow branch for detail, one thin deep branch for meaning.

Paper: Yu et al., "BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic
    Segmentation", IJCV 2021, https://arxiv.org/abs/2004.02147
Idea:  what needs resolution needs few layers, what needs many layers needs no resolution. So both
    are computed apart, straight from the image, and each then gates the other: a sigmoid of the
    semantics weighs the detail at stride 8, a sigmoid of the semantics weighs the pooled detail at
    stride 32, and the sum is the result. Heads inside the semantic branch ("boosters") help it to
    train and are then thrown away.

    image ┬ detail:   64 /2 ─ 64 /4 ─ 128 /8 ───────────────────────┬ aggregation /8 ─ head ─ logits
          └ semantic: stem 16 /4 ─ 32 /8 ─ 64 /16 ─ 128 /32 ─ context┘
                         c2          c3      c4        c5
                         └ booster   └ booster └ booster └ booster

Differs from the paper:
    - A head of the paper, boosters included, is a 3x3 convolution and a 1x1, of a width in between
      that it leaves open. Here it is CoinCheung's implementation: 1,024 channels in the head; in a
      booster 128, then twice the size, then a 3x3 convolution to (stride)^2. With these the network
      has 5,231,487 parameters in training and 3,358,627 in use. In use that is also
      mmsegmentation's, up to 256, but its boosters are heads of two 3x3 convolutions with 16, 64,
      256 and 1,024 channels: 14.80 M in training. PaddleSeg's heads are plain and narrow (2.52 M
      and 2.32 M); see the builder's options.
    - As in CoinCheung's and mmsegmentation's, a ReLU follows the last depthwise convolution of a
      gather-and-expansion layer and that of the aggregation, and batch normalisation and a ReLU the
      3x3 convolution of the context embedding, where the paper, as CoinCheung notes, shows none.
    - Upsampling is bilinear, as in the figures; CoinCheung's takes the nearest value.
PaddleSeg's has none of these three ReLUs and the plain convolution, and pads its convolutions of
stride 2 as TensorFlow does, at even sizes below and on the right alone: the same counts, other
functions, so that weights cannot be exchanged.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.builder import Paper
from segkit.losses import AuxLoss
from segkit.nn import (
    ConvBN,
    ConvBNReLU,
    FCNHead,
    ResizeLogits,
    check_num_classes,
    init_kaiming,
    resize,
)
from segkit.outputs import SegOutput
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic "
    "Segmentation",
    authors="Yu et al.",
    venue="IJCV",
    year=2021,
    url="https://arxiv.org/abs/2004.02147",
    kind="real-time",
)


class Stem(nn.Module):
    """Two ways to a quarter of the size at once: strided convolutions, and max pooling (figure 4).

    Args:
        in_channels: channels of the images.
        channels: channels of the result, even.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(in_channels, channels, stride=2)
        self.convs = nn.Sequential(
            ConvBNReLU(channels, channels // 2, 1),
            ConvBNReLU(channels // 2, channels, stride=2),
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = ConvBNReLU(2 * channels, channels)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)
        return self.fuse(torch.cat([self.convs(x), self.pool(x)], dim=1))


class GatherExpansion(nn.Module):
    """Gather with a 3x3, expand by a depthwise one, project back, add the shortcut (figure 5).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result; at stride 1 those of the input.
        stride: 1 keeps the size; 2 halves it, rounded up, with a second depthwise convolution
            and a separable one on the shortcut.
        expansion: by how much the depthwise convolution is wider than the input.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, expansion: int = 6
    ) -> None:
        super().__init__()
        wide = expansion * in_channels
        self.gather = ConvBNReLU(in_channels, in_channels)
        if stride == 1:
            self.expand: nn.Module = ConvBNReLU(in_channels, wide, groups=in_channels)
            self.shortcut: nn.Module = nn.Identity()
        else:
            self.expand = nn.Sequential(
                ConvBN(in_channels, wide, stride=stride, groups=in_channels),
                ConvBNReLU(wide, wide, groups=wide),
            )
            self.shortcut = nn.Sequential(
                ConvBN(in_channels, in_channels, stride=stride, groups=in_channels),
                ConvBN(in_channels, out_channels, 1),
            )
        self.project = ConvBN(wide, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.project(self.expand(self.gather(x))) + self.shortcut(x))


class ContextEmbedding(nn.Module):
    """Add what the whole image is about to every pixel (figure 4).

    Args:
        channels: channels of the input and of the result.

    Raises:
        ValueError: in training, a batch of one image: its mean has one value per channel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.conv = ConvBNReLU(channels, channels, 1)
        self.smooth = ConvBNReLU(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        # Synchronised batch normalisation counts the other processes too and is no BatchNorm2d.
        if self.bn.training and x.shape[0] == 1 and isinstance(self.bn, nn.BatchNorm2d):
            raise ValueError(
                "ContextEmbedding normalises the mean of each image, in a batch of one a single "
                "value per channel. In training take a batch of 2 or more, convert the model with "
                "nn.SyncBatchNorm.convert_sync_batchnorm when training on several devices, or "
                "freeze batch normalisation by putting these layers in eval mode."
            )
        context = self.bn(x.mean(dim=(2, 3), keepdim=True))
        return self.smooth(x + self.conv(context))


class GuidedAggregation(nn.Module):
    """Bilateral guided aggregation: each branch at both resolutions, the semantics as gates.

    Detail (B, C, H, W) and semantic (B, C, ceil(H / 4), ceil(W / 4)) -> (B, C, H, W) for C
    `channels` (figure 6).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

        def separable() -> nn.Sequential:
            return nn.Sequential(
                ConvBN(channels, channels, groups=channels),
                nn.Conv2d(channels, channels, 1, bias=False),
            )

        self.detail_keep = separable()
        self.detail_down = nn.Sequential(
            ConvBN(channels, channels, stride=2), nn.AvgPool2d(3, stride=2, padding=1)
        )
        self.semantic_up = ConvBN(channels, channels)
        self.semantic_keep = separable()
        self.fuse = ConvBNReLU(channels, channels)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        size = detail.shape[-2:]
        fine = self.detail_keep(detail) * resize(self.semantic_up(semantic), size).sigmoid()
        coarse = self.detail_down(detail) * self.semantic_keep(semantic).sigmoid()
        return self.fuse(fine + resize(coarse, size))


class Booster(nn.Sequential):
    """Auxiliary head that scores at twice the size of its input.

    Args:
        in_channels: channels of the feature map.
        num_classes: K, channels of the scores.
        stride: of the feature map, in pixels of the image; stride^2 channels precede the scores.
        channels: width of the first convolution.
    """

    def __init__(self, in_channels: int, num_classes: int, *, stride: int, channels: int) -> None:
        super().__init__(
            ConvBNReLU(in_channels, channels),
            nn.Dropout(0.1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            ConvBNReLU(channels, stride**2),
            nn.Conv2d(stride**2, num_classes, 1),
        )


class BiSeNetV2(nn.Module):
    """The whole network; there is no backbone to exchange.

    Args:
        num_classes: K, at least 2.
        in_channels: channels of the images.
        head_channels: width inside the head.
        booster_channels: width inside the boosters on c2, c3, c4 and c5.
        booster_upsampling: whether a booster doubles the size before it scores; False makes it a
            plain head like the main one.

    Raises:
        ValueError: fewer than two classes; in training, a batch of one image.

    Returns (forward):
        logits (B, K, H, W) for any H, W from 32 up. In training, aux holds "c2", "c3", "c4" and
        "c5" at strides 2, 4, 8 and 16; at 4, 8, 16 and 32 without booster_upsampling.

    Example:
        >>> model = bisenet_v2(num_classes=19).eval()
        >>> model(torch.zeros(1, 3, 64, 96)).logits.shape
        torch.Size([1, 19, 64, 96])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {
        name: AuxLoss(1.0) for name in ("c2", "c3", "c4", "c5")
    }

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        head_channels: int = 1024,
        booster_channels: tuple[int, int, int, int] = (128, 128, 128, 128),
        booster_upsampling: bool = True,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.detail = nn.Sequential(
            *(ConvBNReLU(in_channels, 64, stride=2), ConvBNReLU(64, 64)),
            *(ConvBNReLU(64, 64, stride=2), ConvBNReLU(64, 64), ConvBNReLU(64, 64)),
            *(ConvBNReLU(64, 128, stride=2), ConvBNReLU(128, 128), ConvBNReLU(128, 128)),
        )
        self.stem = Stem(in_channels, 16)
        self.stage3 = nn.Sequential(GatherExpansion(16, 32, stride=2), GatherExpansion(32, 32))
        self.stage4 = nn.Sequential(GatherExpansion(32, 64, stride=2), GatherExpansion(64, 64))
        self.stage5 = nn.Sequential(
            GatherExpansion(64, 128, stride=2), *(GatherExpansion(128, 128) for _ in range(3))
        )
        self.context = ContextEmbedding(128)
        self.aggregation = GuidedAggregation(128)
        self.head = FCNHead(128, num_classes, channels=head_channels)
        self.resize = ResizeLogits()

        self.boosters = nn.ModuleDict()
        for level, channels in zip((2, 3, 4, 5), booster_channels, strict=True):
            width, stride = 4 * 2**level, 2**level
            self.boosters[f"c{level}"] = (
                Booster(width, num_classes, stride=stride, channels=channels)
                if booster_upsampling
                else FCNHead(width, num_classes, channels=channels)
            )
        init_kaiming(self)

    def forward(self, images: Tensor) -> SegOutput:
        detail = self.detail(images)  # (B, 128, H/8, W/8)
        c2 = self.stem(images)  # (B, 16, H/4, W/4)
        c3 = self.stage3(c2)  # (B, 32, H/8, W/8)
        c4 = self.stage4(c3)  # (B, 64, H/16, W/16)
        c5 = self.stage5(c4)  # (B, 128, H/32, W/32)
        p3 = self.aggregation(detail, self.context(c5))  # (B, 128, H/8, W/8)

        logits = self.resize(self.head(p3), images.shape[-2:])  # (B, K, H, W)
        if not self.training:
            return SegOutput(logits, {})
        stages = {"c2": c2, "c3": c3, "c4": c4, "c5": c5}
        return SegOutput(logits, {name: self.boosters[name](x) for name, x in stages.items()})


def bisenet_v2(
    *,
    num_classes: int,
    in_channels: int = 3,
    weights: Source | None = None,
    head_channels: int = 1024,
    booster_channels: tuple[int, int, int, int] = (128, 128, 128, 128),
    booster_upsampling: bool = True,
) -> BiSeNetV2:
    """BiSeNet V2: 5,231,487 parameters at 19 classes, of which 3,358,627 are used in eval.

    Args:
        num_classes: K, at least 2.
        in_channels: channels of the images.
        weights: where to load weights from; None draws them at random.
        head_channels: width inside the head; PaddleSeg has 128.
        booster_channels: width inside each booster; PaddleSeg has (16, 32, 64, 128).
        booster_upsampling: whether a booster doubles the size before it scores; PaddleSeg's do not.

    Raises:
        ValueError: fewer than two classes.

    Source: Table 1 and figures 4 to 6; the heads: CoinCheung/BiSeNet.
    """
    model = BiSeNetV2(
        num_classes=num_classes,
        in_channels=in_channels,
        head_channels=head_channels,
        booster_channels=booster_channels,
        booster_upsampling=booster_upsampling,
    )
    return with_weights(model, weights)


builders = (bisenet_v2,)
