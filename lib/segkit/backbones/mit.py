"""MiT: a transformer with stages, for segmentation from the start.

Paper: Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with
    Transformers", NeurIPS 2021, https://arxiv.org/abs/2105.15203
Idea:  four stages like those of a convolutional network. Patches overlap, so that neighbours stay
    neighbours. At high resolution attention looks at a reduced map: every position asks, but only
    one key stands for R x R positions, which costs N²/R² instead of N². A 3x3 depthwise convolution
    between the two linear layers tells positions apart by the zeros at the border, so that there
    are no position embeddings and any image size will do.

    image ─ 7x7 conv /4 ─ blocks, R 8 = c2 ─ 3x3 conv /8 ─ blocks, R 4 = c3 ┐
               blocks, R 1 = c5 ─ 3x3 conv /32 ─ blocks, R 2 = c4 ─ 3x3 conv /16

    block: x + attention(norm(x)), then x + Mix-FFN(norm(x))

Differs from the paper: this is the network that its authors released. The text's R of Eq. 2 is the
number of positions, 64, 16, 4 and 1; here, as in its Table 6, the side. Its linear layer on stacked
positions is a convolution of kernel and stride R.
Where R does not divide a map, the reduction leaves out the last rows and columns, as released; so
at 360x480, where c2 is 90x120, its last two rows give no key.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, TypedDict, Unpack, cast

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from segkit.outputs import Stages


class EfficientSelfAttention(nn.Module):
    """Multi-head attention of every position to the means of R x R positions, weights learned.

    Args:
        channels: C, of the input and of the result.
        heads: how many attentions stand beside each other, each with C / heads channels.
        reduction: R, the side in positions of what one key stands for; 1 keeps every position.
        pad_reduction: where R does not divide a map, whether it is padded with zeros; otherwise its
            last rows and columns give no key.

    Returns:
        Shape (B, H, W, C), as the input.

    Source: section 3.1, Eq. 1 and 2.
    """

    def __init__(
        self, channels: int, heads: int, reduction: int, *, pad_reduction: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.reduction = reduction
        self.pad_reduction = pad_reduction
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)
        if reduction > 1:
            self.reduce = nn.Conv2d(channels, channels, reduction, stride=reduction)
            self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self._reduce(x)
        q, k, v = self._split(self.q(x)), self._split(self.k(reduced)), self._split(self.v(reduced))
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, N, C / heads)
        return self.project(mixed.transpose(1, 2).reshape(x.shape))

    def weights(self, x: Tensor) -> Tensor:
        """How much of each key every position takes: (B, heads, N, M), sums of 1 over M."""
        q, k = self._split(self.q(x)), self._split(self.k(self._reduce(x)))
        return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)

    def _reduce(self, x: Tensor) -> Tensor:
        if self.reduction == 1:
            return x
        below, right = (-size % self.reduction for size in x.shape[1:3])
        x = x.permute(0, 3, 1, 2)
        if self.pad_reduction and (below or right):
            x = F.pad(x, (0, right, 0, below))
        return self.norm(self.reduce(x).permute(0, 2, 3, 1))  # (B, H/R, W/R, C)

    def _split(self, x: Tensor) -> Tensor:
        # (B, h, w, C) -> (B, heads, h w, C / heads)
        return x.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MixFFN(nn.Module):
    """Two linear layers with a 3x3 depthwise convolution and GELU between, on (B, H, W, C).

    Source: section 3.1, Eq. 3; the hidden layer has four times the channels.
    """

    def __init__(self, channels: int, *, expansion: int = 4) -> None:
        super().__init__()
        hidden = expansion * channels
        self.expand = nn.Linear(channels, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.gelu = nn.GELU()
        self.project = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x).permute(0, 3, 1, 2)
        x = self.depthwise(x).permute(0, 2, 3, 1)
        return self.project(self.gelu(x))


class MiTBlock(nn.Module):
    """Attention, then Mix-FFN, each on the normalised input and added to it; (B, H, W, C)."""

    def __init__(
        self, attention: EfficientSelfAttention, *, stochastic_depth: float, eps: float
    ) -> None:
        super().__init__()
        channels = attention.q.in_features
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attention = attention
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.ffn = MixFFN(channels)
        self.stochastic_depth = StochasticDepth(stochastic_depth, mode="row")

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.stochastic_depth(self.attention(self.norm1(x)))
        return x + self.stochastic_depth(self.ffn(self.norm2(x)))


class OverlapPatchEmbedding(nn.Module):
    """A convolution whose windows overlap, and LayerNorm: (B, C, H, W) -> (B, H/s, W/s, D).

    Sizes are rounded up.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int, *, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, channels, kernel_size, stride=stride, padding=kernel_size // 2
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).permute(0, 2, 3, 1))


class MiTStage(nn.Module):
    """Patch embedding, blocks and LayerNorm: (B, C, H, W) -> (B, D, H/s, W/s)."""

    def __init__(self, embed: nn.Module, blocks: Iterable[nn.Module], norm: nn.Module) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.Sequential(*blocks)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.blocks(self.embed(x))).permute(0, 3, 1, 2)

    def attention(self, x: Tensor, block: int) -> Tensor:
        """The attention weights of one block, from the stage's input: (B, heads, N, M)."""
        asked: Any = self.blocks[block]
        return asked.attention.weights(asked.norm1(self.blocks[:block](self.embed(x))))


class MiT(nn.Module):
    """Mix Transformer.

    Args:
        channels: of the four stages.
        depths: blocks in each stage.
        in_channels: channels of the images.
        heads: attention heads in each stage.
        reductions: R of each stage, see `EfficientSelfAttention`.
        stochastic_depth: probability that the last block's branches are left out for an image in
            training; it rises from 0 in the first block linearly.
        eps: of LayerNorm in the blocks and behind the stages; the patch embeddings' and the
            reductions' have torch's 1e-5, as released.
        pad_reduction: see `EfficientSelfAttention`.

    Attributes:
        channels: Stages of the channels above.
        strides: Stages(4, 8, 16, 32). Sizes are rounded up, so any H and W from 32 up will do.

    Example:
        >>> import torch
        >>> features = mit_b0().eval()(torch.zeros(1, 3, 64, 96))
        >>> features.c2.shape, features.c5.shape
        (torch.Size([1, 32, 16, 24]), torch.Size([1, 256, 2, 3]))
    """

    def __init__(
        self,
        *,
        channels: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        in_channels: int = 3,
        heads: tuple[int, int, int, int] = (1, 2, 5, 8),
        reductions: tuple[int, int, int, int] = (8, 4, 2, 1),
        stochastic_depth: float = 0.1,
        eps: float = 1e-6,
        pad_reduction: bool = False,
    ) -> None:
        super().__init__()
        self.channels = Stages(*channels)
        self.strides = Stages(4, 8, 16, 32)

        step = stochastic_depth / max(sum(depths) - 1, 1)
        self.stages = nn.ModuleList()
        for i, (before, width) in enumerate(pairwise((in_channels, *channels))):
            kernel_size, stride = (7, 4) if i == 0 else (3, 2)
            embed = OverlapPatchEmbedding(before, width, kernel_size, stride=stride)
            blocks = [
                MiTBlock(
                    EfficientSelfAttention(
                        width, heads[i], reductions[i], pad_reduction=pad_reduction
                    ),
                    stochastic_depth=step * number,
                    eps=eps,
                )
                for number in range(sum(depths[:i]), sum(depths[: i + 1]))
            ]
            self.stages.append(MiTStage(embed, blocks, nn.LayerNorm(width, eps=eps)))
        _init_as_released(self)

    def forward(self, images: Tensor) -> Stages[Tensor]:
        features = []
        x = images
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return Stages(*features)

    def attention(self, images: Tensor, stage: str, block: int) -> Tensor:
        """Look at where one block looks.

        Args:
            images: shape (B, C, H, W).
            stage: "c2", "c3", "c4" or "c5", of stride s.
            block: number of the block in the stage, from 0.

        Returns:
            Weights of shape (B, heads, N, M) that sum to 1 over M: N are the H/s x W/s positions
            that ask, row by row, sizes rounded up, M the H/(s R) x W/(s R) keys, rounded down.

        Raises:
            ValueError: no such stage or block.
        """
        if stage not in Stages._fields:
            raise ValueError(f"stage is {stage!r}; it may be one of {', '.join(Stages._fields)}")
        index = Stages._fields.index(stage)
        asked: Any = self.stages[index]
        depth = len(asked.blocks)
        if not 0 <= block < depth:
            raise ValueError(f"block is {block}; {stage} has the blocks 0 to {depth - 1}")
        x = images
        for before in self.stages[:index]:
            x = before(x)
        return asked.attention(x, block)


def _init_as_released(module: nn.Module) -> None:
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.trunc_normal_(child.weight, std=0.02)
            nn.init.zeros_(child.bias)
        elif isinstance(child, nn.Conv2d):
            # He's normal distribution, fan out; torch's own does not divide it by the groups.
            fan_out = child.out_channels * child.kernel_size[0] ** 2 // child.groups
            nn.init.normal_(child.weight, std=(2 / fan_out) ** 0.5)
            nn.init.zeros_(cast(Tensor, child.bias))


class Options(TypedDict, total=False):
    """What all builders take, see `MiT`."""

    in_channels: int
    stochastic_depth: float
    eps: float
    pad_reduction: bool


def mit_b0(**options: Unpack[Options]) -> MiT:
    """MiT-B0: 3,319,392 parameters. Sizes from Table 6."""
    return MiT(channels=(32, 64, 160, 256), depths=(2, 2, 2, 2), **options)


def mit_b1(**options: Unpack[Options]) -> MiT:
    """MiT-B1, twice as wide: 13,151,424 parameters."""
    return MiT(channels=(64, 128, 320, 512), depths=(2, 2, 2, 2), **options)


def mit_b2(**options: Unpack[Options]) -> MiT:
    """MiT-B2, deeper: 24,196,288 parameters."""
    return MiT(channels=(64, 128, 320, 512), depths=(3, 4, 6, 3), **options)


def mit_b3(**options: Unpack[Options]) -> MiT:
    """MiT-B3, deeper: 44,072,128 parameters."""
    return MiT(channels=(64, 128, 320, 512), depths=(3, 4, 18, 3), **options)


def mit_b4(**options: Unpack[Options]) -> MiT:
    """MiT-B4, deeper: 60,842,688 parameters."""
    return MiT(channels=(64, 128, 320, 512), depths=(3, 8, 27, 3), **options)


def mit_b5(**options: Unpack[Options]) -> MiT:
    """MiT-B5, deeper: 81,443,008 parameters."""
    return MiT(channels=(64, 128, 320, 512), depths=(3, 6, 40, 3), **options)


builders = (mit_b0, mit_b1, mit_b2, mit_b3, mit_b4, mit_b5)
