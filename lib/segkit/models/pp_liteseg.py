"""PP-LiteSeg: a light decoder with attention-weighted fusion.

Paper: Peng et al., "PP-LiteSeg: A Superior Real-Time Semantic Segmentation Model", 2022,
    https://arxiv.org/abs/2204.02681
Idea:  pool the context once at stride 32 (SPPM), then fuse upwards with the backbone's features, an
    attention map choosing between the two sides (UAFM). The decoder gets thinner as the maps get
    larger, like the backbone (FLD).

    image ─ STDC ─┬ c5 /32 ─┬ SPPM ┬ UAFM ─ p5 /32 ─ aux head
                  │         └──────┘  │
                  ├ c4 /16 ───────── UAFM ─ p4 /16 ─ aux head
                  │                   │
                  └ c3 /8 ────────── UAFM ─ p3 /8 ── head ─ x8 ─ logits

Differs from the paper: this is the network that its authors released in PaddleSeg, parameter for
parameter; the text has it otherwise in places.
    - Three UAFMs, not two: the first fuses the context with c5 itself (fuse_c5=False: the text).
    - In training also heads on p4 and p5, each with weight 1.
    - Alpha weighs the low-level side, 1 - alpha the other; Eq. 1 swaps the two, which comes to the
      same for a learned alpha. Where Eq. 2 and 3 have one convolution there are two, each with
      batch normalisation.
    - The SPPM's convolutions keep a bias in front of batch normalisation.
Differs from the release:
    - Each of its spatial UAFMs stores the 1 of (1 - alpha) as a frozen parameter; without these
      three the counts at 19 classes are 8,141,600 (T) and 12,366,464 (B).
    - It upsamples the aux logits to the labels; here the labels come down to the aux logits.
    - Its STDC starts from ImageNet weights (SSLD distillation), which are not included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from segkit.backbones.catalog import takes
from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBN, ConvBNReLU, ResizeLogits, check_num_classes, init_decoder, resize
from segkit.outputs import Backbone, SegOutput

PAPER = Paper(
    title="PP-LiteSeg: A Superior Real-Time Semantic Segmentation Model",
    authors="Peng et al.",
    venue="",
    year=2022,
    url="https://arxiv.org/abs/2204.02681",
    kind="real-time",
)


class SPPM(nn.Module):
    """Simple Pyramid Pooling Module: context from a few pooled maps, added up.

    Args:
        in_channels: channels of the deepest feature.
        out_channels: channels of the result, and of each pooled map.
        bins: side of each pooled map in cells.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, bins: tuple[int, ...] = (1, 2, 4)
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(side), ConvBNReLU(in_channels, out_channels, 1, bias=True)
            )
            for side in bins
        )
        self.fuse = ConvBNReLU(out_channels, out_channels, bias=True)

    def forward(self, c5: Tensor) -> Tensor:
        first, *rest = (resize(branch(c5), c5.shape[-2:]) for branch in self.branches)
        return self.fuse(sum(rest, start=first))  # (B, out_channels, H/32, W/32)


class SpatialAttention(nn.Module):
    """One weight per pixel, from the mean and the maximum over the channels of both sides.

    Low and high (B, C, H, W) -> alpha (B, 1, H, W), between 0 and 1; the same module for any
    number of `channels` C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvBNReLU(4, 2), ConvBN(2, 1))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        pools = (torch.mean, torch.amax)
        maps = [pool(x, dim=1, keepdim=True) for x in (low, high) for pool in pools]
        return self.convs(torch.cat(maps, dim=1)).sigmoid()


class ChannelAttention(nn.Module):
    """One weight per channel, from the mean and the maximum over the pixels of both sides.

    Low and high (B, C, H, W) -> alpha (B, C, 1, 1), between 0 and 1; C is `channels`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.convs = nn.Sequential(
            ConvBN(4 * channels, half, 1), nn.LeakyReLU(0.01), ConvBN(half, channels, 1)
        )

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        pools = (torch.mean, torch.amax)
        pooled = [pool(x, dim=(2, 3), keepdim=True) for pool in pools for x in (low, high)]
        return self.convs(torch.cat(pooled, dim=1)).sigmoid()


class UAFM(nn.Module):
    """Unified Attention Fusion Module: the detail of one side, the meaning of the other.

    Args:
        low_channels: channels of the backbone's feature.
        channels: channels of the deeper feature; the two are fused at this width.
        out_channels: channels of the result.
        attention: module (low, high) -> alpha, or None for the plain sum low + high. It is the
            submodule `attention`, so that a forward hook on it sees alpha: 1 takes the backbone's
            side, 0 the deeper one.
    """

    def __init__(
        self, low_channels: int, channels: int, out_channels: int, *, attention: nn.Module | None
    ) -> None:
        super().__init__()
        self.project = ConvBNReLU(low_channels, channels)
        self.attention = attention
        self.smooth = ConvBNReLU(channels, out_channels)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        low = self.project(low)
        high = resize(high, low.shape[-2:])
        if self.attention is None:
            return self.smooth(low + high)
        alpha = self.attention(low, high)
        return self.smooth(torch.lerp(high, low, alpha))  # alpha low + (1 - alpha) high


class SegHead(nn.Sequential):
    """3x3 convolution to `channels`, then 1x1 to the logits, at the size of the input."""

    def __init__(self, in_channels: int, channels: int, num_classes: int) -> None:
        super().__init__(
            ConvBNReLU(in_channels, channels), nn.Conv2d(channels, num_classes, 1, bias=False)
        )


class PPLiteSeg(nn.Module):
    """PP-LiteSeg over any backbone with stages at strides 8, 16 and 32.

    Everything but the backbone is initialised here (He's normal distribution).

    Args:
        backbone: module images -> Stages, with the attribute `channels`.
        num_classes: K, at least 2.
        decoder_channels: widths of p3, p4 and p5, from the largest map to the smallest.
        head_channels: widths inside the heads on p3, p4 and p5.
        context: module c5 -> (B, width of p5, H/32, W/32), such as `SPPM`; None puts a 1x1
            convolution in its place.
        attention: makes the attention of a UAFM from its width: `SpatialAttention`,
            `ChannelAttention`; None fuses by a plain sum.
        fuse_c5: whether a UAFM fuses the context with c5, as in the release; False hands the
            context straight to the UAFM at stride 16, as in the paper's text.

    Raises:
        ValueError: fewer than two classes; in training, a batch of one image (the SPPM normalises
            a map pooled to 1x1).

    Returns (forward):
        logits (B, K, H, W) for any H, W from 32 up. In training, aux holds "p4" (B, K, H/16, W/16)
        and "p5" (B, K, H/32, W/32), sizes rounded up.

    Example:
        >>> model = pp_liteseg_t(num_classes=11).eval()
        >>> model(torch.zeros(1, 3, 96, 128)).logits.shape
        torch.Size([1, 11, 96, 128])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {"p4": AuxLoss(1.0), "p5": AuxLoss(1.0)}

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        decoder_channels: tuple[int, int, int],
        head_channels: tuple[int, int, int],
        context: nn.Module | None,
        attention: Callable[[int], nn.Module] | None = SpatialAttention,
        fuse_c5: bool = True,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        _, c3, c4, c5 = backbone.channels
        p3, p4, p5 = decoder_channels

        def uafm(low: int, channels: int, out: int) -> UAFM:
            return UAFM(low, channels, out, attention=attention(channels) if attention else None)

        self.backbone = backbone
        self.context = context if context is not None else ConvBNReLU(c5, p5, 1)
        self.uafm5 = uafm(c5, p5, p5) if fuse_c5 else None
        self.uafm4 = uafm(c4, p5, p4)
        self.uafm3 = uafm(c3, p4, p3)
        self.head = SegHead(p3, head_channels[0], num_classes)
        self.resize = ResizeLogits()
        self.aux_head4 = SegHead(p4, head_channels[1], num_classes)
        self.aux_head5 = SegHead(p5, head_channels[2], num_classes)

        init_decoder(self)

    def forward(self, images: Tensor) -> SegOutput:
        stages = self.backbone(images)
        p5 = self.context(stages.c5)
        if self.uafm5 is not None:
            p5 = self.uafm5(stages.c5, p5)  # (B, P5, H/32, W/32)
        p4 = self.uafm4(stages.c4, p5)  # (B, P4, H/16, W/16)
        p3 = self.uafm3(stages.c3, p4)  # (B, P3, H/8, W/8)

        logits = self.resize(self.head(p3), images.shape[-2:])  # (B, K, H, W)
        if not self.training:
            return SegOutput(logits, {})
        return SegOutput(logits, {"p4": self.aux_head4(p4), "p5": self.aux_head5(p5)})


class Options(BackboneOptions, total=False):
    """What all builders here take: the switches of the ablation in Table 3.

    Attributes:
        sppm: the Simple Pyramid Pooling Module; False puts a 1x1 convolution in its place.
        attention: in the UAFMs; None switches it off: element-wise sum.
        fuse_c5: three UAFMs, as released; False gives the two of the paper's text.
        count_include_pad: whether STDC's average pooling counts the zeros of its padding. They are
            left out in the release and counted in STDC's own code.
    """

    sppm: bool
    attention: Literal["spatial", "channel"] | None
    fuse_c5: bool
    count_include_pad: bool


def pp_liteseg(
    *,
    backbone: str,
    decoder_channels: tuple[int, int, int] = (32, 64, 128),
    head_channels: tuple[int, int, int] = (32, 64, 64),
    sppm: bool = True,
    attention: Literal["spatial", "channel"] | None = "spatial",
    fuse_c5: bool = True,
    count_include_pad: bool = False,
    **options: Unpack[BackboneOptions],
) -> PPLiteSeg:
    """PP-LiteSeg on any backbone with strides of 4, 8, 16 and 32, as wide as PP-LiteSeg-T.

    Args:
        backbone: by name.
        decoder_channels: see `PPLiteSeg`.
        head_channels: see `PPLiteSeg`.
        sppm: see `Options`.
        attention: see `Options`.
        fuse_c5: see `Options`.
        count_include_pad: see `Options`; False says nothing to a backbone that is no STDC.
        options: see `BackboneOptions`.

    Raises:
        ValueError: an unknown attention; and as `on_backbone`.

    Source: Table 1; the widths of the heads are those of the release.
    """
    kinds = {"spatial": SpatialAttention, "channel": ChannelAttention, None: None}
    if attention not in kinds:
        raise ValueError(f"attention is {attention!r}; take 'spatial', 'channel' or None (a sum)")

    def network(backbone: Backbone, **rest: Any) -> PPLiteSeg:
        context = SPPM(backbone.channels.c5, decoder_channels[2]) if sppm else None
        return PPLiteSeg(
            backbone,
            decoder_channels=decoder_channels,
            head_channels=head_channels,
            context=context,
            attention=kinds[attention],
            fuse_c5=fuse_c5,
            **rest,
        )

    of_stdc = {}
    if count_include_pad or "count_include_pad" in takes(backbone):
        of_stdc["count_include_pad"] = count_include_pad
    return on_backbone(network, backbone, backbone_options=of_stdc, **options)


def pp_liteseg_t(
    *, backbone: str = "stdc1", fld: bool = True, **options: Unpack[Options]
) -> PPLiteSeg:
    """PP-LiteSeg-T: STDC1 and a decoder of 32, 64 and 128 channels.

    Without `fld`, the Flexible and Lightweight Decoder, every level has 96 channels.
    """
    decoder = (32, 64, 128) if fld else (96, 96, 96)
    heads = (32, 64, 64)
    return pp_liteseg(backbone=backbone, decoder_channels=decoder, head_channels=heads, **options)


def pp_liteseg_b(
    *, backbone: str = "stdc2", fld: bool = True, **options: Unpack[Options]
) -> PPLiteSeg:
    """PP-LiteSeg-B: STDC2 and a decoder of 64, 96 and 128 channels; see `pp_liteseg_t`."""
    decoder = (64, 96, 128) if fld else (96, 96, 96)
    heads = (64, 64, 64)
    return pp_liteseg(backbone=backbone, decoder_channels=decoder, head_channels=heads, **options)


builders = (pp_liteseg, pp_liteseg_t, pp_liteseg_b)
