"""HRNet: high resolution from the first stage to the last, with coarser branches beside it.

Paper: Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition",
    TPAMI 2021, https://arxiv.org/abs/1908.07919
Idea:  other backbones lose resolution and a decoder wins it back. Here the map at stride 4 is kept
    throughout, each stage adds a branch of half the resolution and twice the width, and after every
    few blocks each branch receives the sum of all branches, brought to its size: by strided
    convolutions from the finer ones, by a 1x1 convolution and interpolation from the coarser ones.

    image ─ stem /4 ─ stage1 ┬ /4 ─ stage2 ─ /4 ─ stage3 ─ /4 ─ stage4 ─ c2 /4
                             │         ×              ×             ×
                             └ /8 ─ stage2 ┬ /8 ─ stage3 ─ /8 ─ stage4 ─ c3 /8
                                           │          ×             ×
                                           └ /16 ─ stage3 ┬ /16 ─ stage4 ─ c4 /16
                                                          │          ×
                                                          └ /32 ─ stage4 ─ c5 /32

HRNet-W18 has widths 18, 36, 72 and 144. ImageNet weights are not included.

Differs from the paper: the text interpolates and then applies the 1x1 convolution. As in the
segmentation release it is the other way round, which is cheaper and, up to the statistics of batch
normalisation, the same. Maps are interpolated to the size of the branch that receives them, so that
sides need not be multiples of 32.
Differs from PaddleSeg: unless its padding_same is False, it pads convolutions of stride 2 as
TensorFlow does, at even sizes below and on the right alone. The counts are equal, the functions are
not: weights that were trained with it are for another network.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

from segkit.nn import ConvBN, ConvBNReLU, init_kaiming, resize
from segkit.outputs import Stages


def concatenate(features: Stages[Tensor], *, align_corners: bool = False) -> Tensor:
    """All four resolutions as one map at stride 4: the representation called HRNetV2.

    Args:
        features: c2 to c5, shapes (B, C, H/s, W/s).
        align_corners: as `resize`.

    Returns:
        Shape (B, sum of the channels, H/4, W/4), the coarser maps interpolated bilinearly.

    Source: section 3.3, figure 4 (b).
    """
    size = features.c2.shape[-2:]
    coarser = (resize(x, size, align_corners=align_corners) for x in features[1:])
    return torch.cat([features.c2, *coarser], dim=1)


def _path(channels: tuple[int, ...], source: int, target: int) -> nn.Module:
    """What a map of one branch goes through to be added to another, without interpolation."""
    if source == target:
        return nn.Identity()
    if source > target:
        return ConvBN(channels[source], channels[target], 1)
    width = channels[source]
    halvings = [ConvBNReLU(width, width, stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, ConvBN(width, channels[target], stride=2))


class HRModule(nn.Module):
    """Residual blocks on every branch, then an exchange between all of them.

    Args:
        channels: of each branch, from the finest; each has half the resolution of the one before.
        depth: residual blocks (two 3x3 convolutions each) on every branch.
        upsampling: how coarser maps reach the size of a finer branch.
        align_corners: as `resize`, where it is bilinear.

    Source: section 3.2, figure 3.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        *,
        depth: int = 4,
        upsampling: Literal["bilinear", "nearest"] = "bilinear",
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.align_corners = align_corners
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width) for _ in range(depth))) for width in channels
        )
        # paths[target][source]
        self.paths: Any = nn.ModuleList(
            nn.ModuleList(_path(channels, source, target) for source in range(len(channels)))
            for target in range(len(channels))
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused = []
        for target, paths in enumerate(self.paths):
            size = maps[target].shape[-2:]
            first, *rest = (path(x) for path, x in zip(paths, maps, strict=True))
            for source, x in enumerate(rest, start=1):
                first = first + (self._upsample(x, size) if source > target else x)
            fused.append(F.relu(first))
        return fused

    def _upsample(self, x: Tensor, size: torch.Size) -> Tensor:
        if self.upsampling == "nearest":
            return F.interpolate(x, size=tuple(size), mode="nearest")
        return resize(x, size, align_corners=self.align_corners)


class HRNet(nn.Module):
    """The HRNet backbone; its stages are the four branches of the last exchange.

    Args:
        width: channels at stride 4; each coarser branch has twice as many.
        modules: exchanges in stages 2, 3 and 4.
        depth: residual blocks between two exchanges, and bottlenecks in stage 1.
        in_channels: channels of the images.
        upsampling: "bilinear" as in this paper and the segmentation release, or "nearest" as in the
            first paper (CVPR 2019) and the ImageNet release.
        align_corners: whether bilinear upsampling aligns the corners, as in the authors' HRNet-OCR.

    Attributes:
        channels: Stages(width, 2 width, 4 width, 8 width).
        strides: Stages(4, 8, 16, 32). Sizes are rounded up, so any H and W will do.

    Raises:
        ValueError: another `upsampling`; in training, a batch of one image of 32x32 pixels or
            less, whose coarsest map is 1x1.

    Example:
        >>> features = hrnet_w18_small().eval()(torch.zeros(1, 3, 64, 90))
        >>> features.c2.shape, features.c5.shape
        (torch.Size([1, 18, 16, 23]), torch.Size([1, 144, 2, 3]))
    """

    def __init__(
        self,
        *,
        width: int,
        modules: tuple[int, int, int] = (1, 4, 3),
        depth: int = 4,
        in_channels: int = 3,
        upsampling: Literal["bilinear", "nearest"] = "bilinear",
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if upsampling not in ("bilinear", "nearest"):
            raise ValueError(f"upsampling is {upsampling!r}; take 'bilinear' or 'nearest'")
        self.channels = Stages(width, 2 * width, 4 * width, 8 * width)
        self.strides = Stages(4, 8, 16, 32)

        def stage(branches: int, count: int) -> nn.Sequential:
            widths = tuple(self.channels[:branches])
            return nn.Sequential(
                *(
                    HRModule(
                        widths, depth=depth, upsampling=upsampling, align_corners=align_corners
                    )
                    for _ in range(count)
                )
            )

        c2, c3, c4, c5 = self.channels
        self.stem = nn.Sequential(
            ConvBNReLU(in_channels, 64, stride=2), ConvBNReLU(64, 64, stride=2)
        )
        self.stage1 = nn.Sequential(
            Bottleneck(64, 64, downsample=ConvBN(64, 256, 1)),
            *(Bottleneck(256, 64) for _ in range(depth - 1)),
        )
        self.enter = ConvBNReLU(256, c2)
        self.down2 = ConvBNReLU(256, c3, stride=2)
        self.stage2 = stage(2, modules[0])
        self.down3 = ConvBNReLU(c3, c4, stride=2)
        self.stage3 = stage(3, modules[1])
        self.down4 = ConvBNReLU(c4, c5, stride=2)
        self.stage4 = stage(4, modules[2])
        init_kaiming(self, mode="fan_out")  # as the ImageNet release

    def forward(self, images: Tensor) -> Stages[Tensor]:
        x = self.stage1(self.stem(images))  # (B, 256, H/4, W/4)
        maps = self.stage2([self.enter(x), self.down2(x)])
        maps = self.stage3([*maps, self.down3(maps[-1])])
        return Stages(*self.stage4([*maps, self.down4(maps[-1])]))


class Options(TypedDict, total=False):
    """What all builders take, see `HRNet`."""

    in_channels: int
    upsampling: Literal["bilinear", "nearest"]
    align_corners: bool


def hrnet_w18_small(**options: Unpack[Options]) -> HRNet:
    """HRNet-W18 with half the blocks and fewer exchanges: 3,860,720 parameters.

    Of the two networks of this name it is the second, "small v2", which segmentation uses.
    """
    return HRNet(width=18, modules=(1, 3, 2), depth=2, **options)


def hrnet_w18(**options: Unpack[Options]) -> HRNet:
    """HRNet-W18: 9,562,260 parameters."""
    return HRNet(width=18, **options)


def hrnet_w32(**options: Unpack[Options]) -> HRNet:
    """HRNet-W32: 29,305,536 parameters."""
    return HRNet(width=32, **options)


def hrnet_w48(**options: Unpack[Options]) -> HRNet:
    """HRNet-W48: 65,325,120 parameters."""
    return HRNet(width=48, **options)


builders = (hrnet_w18_small, hrnet_w18, hrnet_w32, hrnet_w48)
