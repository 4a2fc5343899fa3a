"""Attention U-Net: each skip passes a gate that the coarser level steers.

Paper: Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018,
    https://arxiv.org/abs/1804.03999
Idea:  a skip carries everything that the encoder saw at its level. The decoder below it knows
    roughly where the object is; an additive attention gate compares the two at each place and
    weighs the skip with a number between 0 and 1, learned from nothing but the segmentation.

    image ─ x1 /1 ──────────────────────────────────── cat ┬ up1 /1 ─ 1x1 ┐
              └ x2 /2 ─────────────────── gate ─── cat ┬ up2 /2 ───── 1x1 ┼ sum by 1x1 ─ logits
                   └ x4 /4 ───────── gate ─── cat ┬ up4 /4 ────────── 1x1 ┤
                        └ x8 /8 gate ──── cat ┬ up8 /8 ────────────── 1x1 ┘
                             └ x16 /16 ───────┘   each gate also sees what comes from below it

Differs from the paper:
    - In two dimensions, and 64 to 1024 channels; the paper has volumes and a quarter of the width.
    - Deep supervision is that of the authors' code: the scores of all levels are concatenated and
      one 1x1 convolution weighs them. Also from there: the gate takes its skip to the coarser grid
      by a 2x2 convolution of stride 2, where the text downsamples.
    - Left out from that code: two 1x1 convolutions after each gate and one before the lowest, none
      of which the text has.
    - `gates="upsampled"` is the form that most implementations have: the signal is enlarged to the
      nearest value and convolved first, the gate works at the size of the skip with batch
      normalisation, the top skip is gated too, and there is no deep supervision. PaddleSeg's is
      `gates="upsampled_bilinear"`: it enlarges bilinearly. Its 7,812 parameters more are biases in
      front of batch normalisation, which cancels them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.builder import Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBN, ConvBNReLU, DoubleConv, check_num_classes, init_kaiming, resize
from segkit.outputs import SegOutput
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="Attention U-Net: Learning Where to Look for the Pancreas",
    authors="Oktay et al.",
    venue="MIDL",
    year=2018,
    url="https://arxiv.org/abs/1804.03999",
    kind="medical",
)


Gates = Literal["grid", "upsampled", "upsampled_bilinear"]


class AttentionGate(nn.Module):
    """Additive attention: alpha = sigmoid(psi(ReLU(theta(skip) + phi(signal)))).

    Args:
        theta: brings the skip to the grid and the width of the comparison.
        phi: brings the signal to that width.
        psi: gives one number for each place.

    Returns (forward):
        alpha (B, 1, H, W) between 0 and 1, for a skip (B, C, H, W) and a signal of any size.

    Source: equations 1 and 2.
    """

    def __init__(self, *, theta: nn.Module, phi: nn.Module, psi: nn.Module) -> None:
        super().__init__()
        self.theta = theta
        self.phi = phi
        self.psi = psi

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        x = self.theta(skip)
        x = F.relu(x + resize(self.phi(signal), x.shape[-2:]))
        return resize(self.psi(x).sigmoid(), skip.shape[-2:])


def grid_gate(channels: int, signal_channels: int) -> AttentionGate:
    """A gate that compares on the grid of the coarser level and interpolates alpha."""
    return AttentionGate(
        theta=nn.Conv2d(channels, channels, 2, stride=2, bias=False),
        phi=nn.Conv2d(signal_channels, channels, 1),
        psi=nn.Conv2d(channels, 1, 1),
    )


def full_gate(channels: int) -> AttentionGate:
    """A gate that compares at the size of the skip, with a signal that was enlarged to it."""
    width = channels // 2
    return AttentionGate(
        theta=ConvBN(channels, width, 1), phi=ConvBN(channels, width, 1), psi=ConvBN(width, 1, 1)
    )


class AttentionUNet(nn.Module):
    """U-Net with an attention gate on its skips.

    Args:
        num_classes: K, two or more.
        in_channels: channels of the images.
        channels: of each level, from the top.
        gates: "grid" as in the paper, "upsampled" or "upsampled_bilinear"; see the top of this
            file.

    Raises:
        ValueError: fewer than two classes, fewer than two levels, or unknown gates.

    Example:
        >>> model = AttentionUNet(num_classes=2, channels=(8, 16, 32)).eval()
        >>> images = torch.zeros(1, 3, 50, 70)
        >>> model(images).logits.shape
        torch.Size([1, 2, 50, 70])
        >>> {stride: tuple(alpha.shape) for stride, alpha in model.attention(images).items()}
        {2: (1, 1, 25, 35)}
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        channels: tuple[int, ...] = (64, 128, 256, 512, 1024),
        gates: Gates = "grid",
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if gates not in get_args(Gates):
            known = "'grid' (the paper's), 'upsampled' or 'upsampled_bilinear' (PaddleSeg's)"
            raise ValueError(f"gates is {gates!r}; take {known}")
        if len(channels) < 2:
            raise ValueError(f"channels is {channels}; give two levels or more, the top one first")
        grid = gates == "grid"
        levels = list(pairwise(reversed(channels)))  # (below, above), from the lowest up

        self.contract = nn.ModuleList(
            DoubleConv(above, below) for above, below in pairwise((in_channels, *channels))
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.up_convs = nn.ModuleList(
            nn.Identity() if grid else ConvBNReLU(below, above) for below, above in levels
        )
        if grid:  # the paper leaves the first skip without a gate
            self.gates = nn.ModuleList(grid_gate(above, below) for below, above in levels[:-1])
        else:
            self.gates = nn.ModuleList(full_gate(above) for _, above in levels)
        self.expand = nn.ModuleList(
            DoubleConv(above + (below if grid else above), above) for below, above in levels
        )
        scored = [above for _, above in levels] if grid else [channels[0]]
        self.heads = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in scored)
        self.fuse = nn.Conv2d(len(scored) * num_classes, num_classes, 1) if grid else nn.Identity()
        self.grid = grid
        self.enlarge = "bilinear" if gates == "upsampled_bilinear" else "nearest"
        init_kaiming(self)

    def forward(self, images: Tensor) -> SegOutput:
        return SegOutput(self._run(images)[0], {})

    def attention(self, images: Tensor) -> dict[int, Tensor]:
        """The maps that the gates make of images, as `forward` uses them.

        Args:
            images: shape (B, C, H, W).

        Returns:
            For the stride of each gated skip, from the lowest up, its alpha: shape (B, 1, H/stride,
            W/stride), sizes rounded up, between 0 (the skip is shut) and 1 (it passes).
        """
        return self._run(images)[1]

    def _run(self, images: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        skips = []
        x = images
        for level, convs in enumerate(self.contract):
            x = convs(self.pool(x) if level else x)
            skips.append(x)
        skips.pop()  # the lowest level is x itself

        alphas = {}
        scored = []
        for i, (up_conv, convs) in enumerate(zip(self.up_convs, self.expand, strict=True)):
            stride = 2 ** (len(skips) - 1)
            skip = skips.pop()
            size = skip.shape[-2:]
            if self.grid:
                signal, up = x, resize(x, size)
            else:
                signal = up = up_conv(F.interpolate(x, size, mode=self.enlarge))
            if i < len(self.gates):
                alphas[stride] = self.gates[i](skip, signal)
                skip = alphas[stride] * skip
            x = convs(torch.cat([skip, up], dim=1))
            scored.append(x)

        scored = scored[-len(self.heads) :]
        scores = [head(x) for head, x in zip(self.heads, scored, strict=True)]
        scores = [resize(score, images.shape[-2:]) for score in scores]
        return self.fuse(torch.cat(scores, dim=1)), alphas


def attention_unet(
    *,
    num_classes: int,
    in_channels: int = 3,
    weights: Source | None = None,
    gates: Gates = "grid",
) -> AttentionUNet:
    """Attention U-Net: 33,470,726 parameters at 19 classes.

    Args:
        num_classes: K, at least 2.
        in_channels: channels of the images.
        weights: where to load weights from; None draws them at random.
        gates: "grid", the paper's; "upsampled" or "upsampled_bilinear" (34,871,931 parameters),
            most implementations' and PaddleSeg's (34,879,743 there, with biases that batch
            normalisation cancels).

    Raises:
        ValueError: fewer than two classes, or unknown gates.
    """
    model = AttentionUNet(num_classes=num_classes, in_channels=in_channels, gates=gates)
    return with_weights(model, weights)


builders = (attention_unet,)
