"""DPT: a plain vision transformer, and a convolutional decoder that builds the pyramid it lacks.

Paper: Ranftl, Bochkovskiy and Koltun, "Vision Transformers for Dense Prediction", ICCV 2021,
    https://arxiv.org/abs/2103.13413
Idea:  a ViT never loses resolution after its patches and sees the whole image in every block. The
    tokens of four blocks, each with the class token read into it, are put back on the image's grid
    and reassembled at four sizes; RefineNet's fusion then goes from the coarsest to the finest.

    image ─ ViT /16 ─┬ block 1/4 ─ reassemble /4 ──── fuse ─ p2 /2 ─ head ─ x2 ─ logits
                     │                                 │
                     ├ block 2/4 ─ reassemble /8 ──── fuse ─ p3 /4 ─ aux head
                     │                                 │
                     ├ block 3/4 ─ reassemble /16 ─── fuse ─ p4 /8
                     │                                 │
                     └ block 4/4 ─ reassemble /32 ─── fuse ─ p5 /16

Differs from the paper: this is the network that its authors released.
    - DPT-Large takes blocks 6, 12, 18 and 24; the text says 5 for the first.
    - Maps are resampled at widths of their own, DPT-Base's at 96, 192, 384 and 768 channels, and
      then a 3x3 convolution gives all of them 256; the text projects to 256 at once.
    - Transposed convolutions have kernels as large as their stride, 4 and 2; the text says 3x3.
    - The release starts from ViTs for 384 pixels; here the weights are torchvision's, and so is
      their number of position embeddings.
    - DPT-Hybrid, whose first two stages are a ResNet's, is not here.
Differs from the release:
    - It has parameters that it never uses: a residual unit for the skip that the deepest fusion
      lacks, and the ViT's last LayerNorm. They are left out.
    - An image is padded to whole patches and the logits are cropped; fusion enlarges to the next
      map's size instead of twice. For multiples of 32 pixels this is the release.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from segkit.backbones.vit import Tokens, ViT, vit_b_16, vit_l_16
from segkit.builder import BackboneOptions, BackboneWeights, Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBN, FCNHead, ResizeLogits, check_num_classes, resize
from segkit.outputs import SegOutput, Stages
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="Vision Transformers for Dense Prediction",
    authors="Ranftl, Bochkovskiy and Koltun",
    venue="ICCV",
    year=2021,
    url="https://arxiv.org/abs/2103.13413",
    kind="transformer",
)

Readout = Literal["project", "add", "ignore"]


class ReadoutProject(nn.Module):
    """Concatenate every patch with the class token, then a linear layer and GELU.

    Tokens of (B, C, h, w) and (B, C) -> (B, C, h, w); C is `channels`.

    Source: section 3, Eq. 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(2 * channels, channels), nn.GELU())

    def forward(self, tokens: Tokens) -> Tensor:
        patches = tokens.patches.permute(0, 2, 3, 1)
        everywhere = tokens.class_token[:, None, None].expand_as(patches)
        return self.project(torch.cat([patches, everywhere], dim=-1)).permute(0, 3, 1, 2)


class ReadoutAdd(nn.Module):
    """Add the class token to every patch (Eq. 3)."""

    def forward(self, tokens: Tokens) -> Tensor:
        return tokens.patches + tokens.class_token[:, :, None, None]


class ReadoutIgnore(nn.Module):
    """Leave the class token aside (Eq. 2)."""

    def forward(self, tokens: Tokens) -> Tensor:
        return tokens.patches


class Reassemble(nn.Module):
    """Tokens of one block -> a map at a stride of its own.

    Args:
        in_channels: C, width of the tokens.
        channels: of the map while it is resampled.
        out_channels: of the result, D.
        stride: of the result, in pixels: 4, 8, 16 or 32, where a token has 16.
        readout: what becomes of the class token.

    Returns:
        Shape (B, D, H/stride, W/stride).

    Source: section 3, Eq. 1 to 6; the order of the convolutions is the release's.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        stride: int,
        readout: Readout,
    ) -> None:
        super().__init__()
        if readout == "project":
            self.readout = ReadoutProject(in_channels)
        else:
            self.readout = ReadoutAdd() if readout == "add" else ReadoutIgnore()
        self.project = nn.Conv2d(in_channels, channels, 1)
        if stride < 16:
            factor = 16 // stride
            self.resample = nn.ConvTranspose2d(channels, channels, factor, stride=factor)
        elif stride == 16:
            self.resample = nn.Identity()
        else:
            self.resample = nn.Conv2d(channels, channels, 3, stride=stride // 16, padding=1)
        self.smooth = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)

    def forward(self, tokens: Tokens) -> Tensor:
        return self.smooth(self.resample(self.project(self.readout(tokens))))


class ResidualConvUnit(nn.Module):
    """x + two 3x3 convolutions, each behind a ReLU and with batch normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(channels, channels)
        self.conv2 = ConvBN(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x.relu()).relu())


class Fusion(nn.Module):
    """Add the reassembled map to what comes from below, refine, enlarge.

    Args:
        channels: of everything here.
        skip: whether something comes from below; the deepest fusion has its map alone.

    Source: section 3 and figure 1, right, after RefineNet, https://arxiv.org/abs/1611.06612
    """

    def __init__(self, channels: int, *, skip: bool = True) -> None:
        super().__init__()
        self.refine_skip = ResidualConvUnit(channels) if skip else None
        self.refine = ResidualConvUnit(channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, below: Tensor | None, size: tuple[int, int]) -> Tensor:
        if self.refine_skip is not None:
            x = below + self.refine_skip(x)
        return self.project(resize(self.refine(x), size, align_corners=True))


class DPT(nn.Module):
    """Dense Prediction Transformer on a plain ViT.

    Args:
        backbone: has ``forward_tokens`` (images -> Stages of `Tokens`), patches of 16x16 pixels,
            and the attribute `channels`.
        num_classes: K, at least 2.
        reassemble_channels: of the maps at strides 4, 8, 16 and 32 while they are resampled.
        decoder_channels: D, of everything behind.
        readout: what becomes of the class token: "project", "add" or "ignore".

    Raises:
        ValueError: fewer than two classes, another readout, other strides than 16, or in training,
            a batch of one image of 32x32 pixels or less (batch normalisation of a 1x1 map).

    Returns (forward):
        logits (B, K, H, W) for any H, W. In training, aux holds "p3" (B, K, H/4, W/4), sizes
        rounded up.

    Example:
        >>> model = dpt_vit_b16(num_classes=150).eval()
        >>> model(torch.zeros(1, 3, 64, 96)).logits.shape
        torch.Size([1, 150, 64, 96])
    """

    # Section 4.2: behind the last fusion but one.
    aux_losses: ClassVar[dict[str, AuxLoss]] = {"p3": AuxLoss(0.2)}

    def __init__(
        self,
        backbone: ViT,
        *,
        num_classes: int,
        reassemble_channels: tuple[int, int, int, int],
        decoder_channels: int = 256,
        readout: Readout = "project",
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if readout not in ("project", "add", "ignore"):
            raise ValueError(f"readout is {readout!r}; take 'project', 'add' or 'ignore'")
        if backbone.strides != (16, 16, 16, 16):
            raise ValueError(
                f"the backbone's strides are {[*backbone.strides]}; DPT needs a plain ViT with 16 "
                "four times, such as vit_b_16"
            )
        width = decoder_channels
        self.backbone = backbone
        self.reassemble = nn.ModuleList(
            Reassemble(in_channels, channels, width, stride=stride, readout=readout)
            for in_channels, channels, stride in zip(
                backbone.channels, reassemble_channels, (4, 8, 16, 32), strict=True
            )
        )
        self.fuse2 = Fusion(width)
        self.fuse3 = Fusion(width)
        self.fuse4 = Fusion(width)
        self.fuse5 = Fusion(width, skip=False)
        self.head = FCNHead(width, num_classes, channels=width)
        self.resize = ResizeLogits(align_corners=True)
        self.aux_head = FCNHead(width, num_classes, channels=width)

    def forward(self, images: Tensor) -> SegOutput:
        stages: Stages[Tokens] = self.backbone.forward_tokens(images)
        c2, c3, c4, c5 = (
            reassemble(tokens) for reassemble, tokens in zip(self.reassemble, stages, strict=True)
        )  # (B, D, H/4, W/4) … (B, D, H/32, W/32)
        half = [2 * side for side in c2.shape[-2:]]
        p5 = self.fuse5(c5, None, c4.shape[-2:])
        p4 = self.fuse4(c4, p5, c3.shape[-2:])
        p3 = self.fuse3(c3, p4, c2.shape[-2:])
        p2 = self.fuse2(c2, p3, half)  # (B, D, H/2, W/2)

        height, width = images.shape[-2:]  # both results are cut to the image without its padding
        doubled = [2 * side for side in half]
        logits = self.resize(self.head(p2), doubled)[..., :height, :width]
        if not self.training:
            return SegOutput(logits, {})
        aux = self.aux_head(p3)[..., : -(-height // 4), : -(-width // 4)]
        return SegOutput(logits, {"p3": aux})


class Options(BackboneOptions, total=False):
    """What all builders here take; a ViT is told by its size, so that no other backbone fits.

    Attributes:
        readout: what becomes of the class token: "project", "add" or "ignore", which the paper
            compares.
    """

    readout: Readout


def _dpt(
    build: Callable[..., ViT],
    reassemble_channels: tuple[int, int, int, int],
    *,
    num_classes: int,
    in_channels: int = 3,
    weights: Source | None = None,
    weights_backbone: BackboneWeights = None,
    readout: Readout = "project",
) -> DPT:
    backbone = build(in_channels=in_channels, weights=weights_backbone)
    model = DPT(
        backbone,
        num_classes=num_classes,
        reassemble_channels=reassemble_channels,
        readout=readout,
    )
    return with_weights(model, weights)


def dpt_vit_b16(**options: Unpack[Options]) -> DPT:
    """DPT-Base on ViT-B/16: 110,333,932 parameters at 150 classes."""
    return _dpt(vit_b_16, (96, 192, 384, 768), **options)


def dpt_vit_l16(**options: Unpack[Options]) -> DPT:
    """DPT-Large on ViT-L/16: 342,388,524 parameters at 150 classes."""
    return _dpt(vit_l_16, (256, 512, 1024, 1024), **options)


builders = (dpt_vit_b16, dpt_vit_l16)
