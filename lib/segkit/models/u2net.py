"""U²-Net: a U-Net whose every stage is a U-Net.

Paper: Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection",
    Pattern Recognition 2020, https://arxiv.org/abs/2005.09007
Idea:  a residual U-block (RSU) looks at many scales within one stage, mostly on pooled maps and at
    few channels, so it costs little. Six of them down and five up make the network; no pretrained
    backbone is needed. Each of the last six stages scores every pixel by itself, and a 1x1
    convolution fuses the six.

    image ─ RSU-7 /1 ─────────────────────────────────────── RSU-7 /1 ─ side 1 ┐
              └ RSU-6 /2 ─────────────────────────────── RSU-6 /2 ───── side 2 ┤
                   └ RSU-5 /4 ─────────────────────── RSU-5 /4 ──────── side 3 ┼ 1x1 ─ logits
                        └ RSU-4 /8 ─────────────── RSU-4 /8 ─────────── side 4 ┤
                             └ RSU-4F /16 ──── RSU-4F /16 ───────────── side 5 ┤
                                  └ RSU-4F /32 ──┴───────────────────── side 6 ┘

Differs from the paper:
    - One sigmoid there, K classes with a softmax here; then side outputs and fusion have K channels
      each. Convolutions keep a bias in front of batch normalisation, as in the authors' code.
    - In training the six side outputs are auxiliary outputs at their own resolution, and the labels
      come down to them; the authors bring them up to the labels. All weights are 1, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Unpack, cast

import torch
from torch import Tensor, nn

from segkit.builder import Options, Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBNReLU, check_num_classes, resize
from segkit.outputs import SegOutput
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection",
    authors="Qin et al.",
    venue="Pattern Recognition",
    year=2020,
    url="https://arxiv.org/abs/2005.09007",
    kind="multi-scale",
)


class Block(NamedTuple):
    """The numbers of an RSU.

    Attributes:
        levels: L of RSU-L, the convolutions from its top to its bottom.
        mid_channels: M, inside.
        channels: of the result.
        dilated: RSU-LF, which dilates its convolutions instead of pooling.
    """

    levels: int
    mid_channels: int
    channels: int
    dilated: bool = False


class RSU(nn.Module):
    """Residual U-block: a convolution, plus a small U-Net of what it gives.

    Args:
        in_channels: channels of the input.
        block: the other numbers.

    Returns (forward):
        (B, block.channels, H, W) for an input of any H, W.

    Raises:
        ValueError: in training, when its lowest level holds a single value for each channel.

    Source: section 3.1, figure 2 (e).
    """

    def __init__(self, in_channels: int, block: Block) -> None:
        super().__init__()
        levels, mid, channels, dilated = block
        steps = [2**i if dilated else 1 for i in range(levels - 1)]
        self.enter = ConvBNReLU(in_channels, channels, bias=True)
        self.down = nn.ModuleList(
            ConvBNReLU(mid if i else channels, mid, dilation=step, bias=True)
            for i, step in enumerate(steps)
        )
        self.bottom = ConvBNReLU(mid, mid, dilation=2 * steps[-1], bias=True)
        self.up = nn.ModuleList(
            ConvBNReLU(2 * mid, mid if i else channels, dilation=step, bias=True)
            for i, step in reversed(list(enumerate(steps)))
        )
        self.pool = nn.Identity() if dilated else nn.MaxPool2d(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        x = entered
        skips = []
        for i, conv in enumerate(self.down):
            x = conv(self.pool(x) if i else x)
            skips.append(x)
        x = self.bottom(x)
        for conv in self.up:
            skip = skips.pop()
            x = conv(torch.cat([resize(x, skip.shape[-2:]), skip], dim=1))
        return x + entered


class U2Net(nn.Module):
    """U²-Net of any blocks.

    Args:
        num_classes: K, two or more.
        in_channels: channels of the images.
        encoder: six blocks, from the image down.
        decoder: five blocks, from the image down; the last one meets the fifth of the encoder.

    Raises:
        ValueError: fewer than two classes or another number of blocks; in training, a batch of one
            image of 32x32 pixels or less.

    Returns (forward):
        logits (B, K, H, W) for any H, W. In training, aux holds "side1" … "side6" at strides 1, 2,
        4, 8, 16 and 32, sizes rounded up.

    Example:
        >>> model = u2netp(num_classes=2).eval()
        >>> model(torch.zeros(1, 3, 50, 70)).logits.shape
        torch.Size([1, 2, 50, 70])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {f"side{i}": AuxLoss(1.0) for i in range(1, 7)}

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        encoder: Sequence[Block],
        decoder: Sequence[Block],
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if (len(encoder), len(decoder)) != (6, 5):
            raise ValueError(
                f"there are {len(encoder)} blocks down and {len(decoder)} up; give six and five"
            )
        down = [block.channels for block in encoder]
        above = [block.channels for block in decoder]
        self.encoder = nn.ModuleList(
            RSU(channels, block)
            for channels, block in zip((in_channels, *down), encoder, strict=False)
        )
        self.decoder = nn.ModuleList(
            RSU(skip + below, block)
            for skip, below, block in zip(down, (*above[1:], down[-1]), decoder, strict=False)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.side = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 3, padding=1) for channels in (*above, down[-1])
        )
        self.fuse = nn.Conv2d(6 * num_classes, num_classes, 1)

        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # Xavier's, as in the paper
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(cast(Tensor, module.bias))

    def forward(self, images: Tensor) -> SegOutput:
        skips = []
        x = images
        for i, block in enumerate(self.encoder):
            x = block(self.pool(x) if i else x)
            skips.append(x)

        features = [skips.pop()]  # from stride 32 up
        for block in reversed(self.decoder):
            skip = skips.pop()
            x = resize(features[-1], skip.shape[-2:])
            features.append(block(torch.cat([x, skip], dim=1)))

        sides = [conv(x) for conv, x in zip(self.side, reversed(features), strict=True)]
        size = images.shape[-2:]
        logits = self.fuse(torch.cat([resize(side, size) for side in sides], dim=1))
        if not self.training:
            return SegOutput(logits, {})
        return SegOutput(logits, dict(zip(self.aux_losses, sides, strict=True)))


def u2net(*, weights: Source | None = None, **options: Unpack[Options]) -> U2Net:
    """U²-Net: 44,260,987 parameters at 19 classes.

    Source: table 1.
    """
    model = U2Net(
        encoder=[
            Block(7, 32, 64),
            Block(6, 32, 128),
            Block(5, 64, 256),
            Block(4, 128, 512),
            Block(4, 256, 512, dilated=True),
            Block(4, 256, 512, dilated=True),
        ],
        decoder=[
            Block(7, 16, 64),
            Block(6, 32, 64),
            Block(5, 64, 128),
            Block(4, 128, 256),
            Block(4, 256, 512, dilated=True),
        ],
        **options,
    )
    return with_weights(model, weights)


def u2netp(*, weights: Source | None = None, **options: Unpack[Options]) -> U2Net:
    """U²-NetP, the small one: 1,195,675 parameters at 19 classes; see `u2net`."""
    blocks = [
        Block(7, 16, 64),
        Block(6, 16, 64),
        Block(5, 16, 64),
        Block(4, 16, 64),
        Block(4, 16, 64, dilated=True),
    ]
    model = U2Net(encoder=[*blocks, blocks[-1]], decoder=blocks, **options)
    return with_weights(model, weights)


builders = (u2net, u2netp)
