"""ViT: an image is a sentence of patches, and every patch looks at every other.

Paper: Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at
    Scale", ICLR 2021, https://arxiv.org/abs/2010.11929
Idea:  patches of 16x16 pixels become tokens, to which their position is added; one more token, the
    class token, belongs to no patch and gathers what the whole image says. Attention is global from
    the first block on, and the resolution stays the same to the last: a pyramid of features has to
    be made from the outputs of four blocks.

    image ─ 16x16 conv /16 ─ + positions ─ blocks ─┬─ blocks ─┬─ blocks ─┬─ blocks ─┐
                                                c2 /16     c3 /16     c4 /16     c5 /16

The modules are torchvision's, and so are the names in the state dict: `class_token`, `conv_proj`,
`encoder.pos_embedding`, `encoder.layers`, without the classifier.

Differs from the paper: nothing in the blocks. Images of any size: they are padded with zeros, below
and to the right, to whole patches, and the grid of position embeddings is resized (bilinear).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from segkit.backbones.pretrained import verify_weights, with_torchvision_weights
from segkit.builder import BackboneWeights
from segkit.outputs import Stages


class Tokens(NamedTuple):
    """What one block of a ViT gives.

    Attributes:
        patches: shape (B, C, H/16, W/16), sizes rounded up.
        class_token: shape (B, C).
    """

    patches: Tensor
    class_token: Tensor


class ViT(nn.Module):
    """The outputs of four blocks of a torchvision Vision Transformer.

    Args:
        network: a torchvision VisionTransformer; its modules are taken over and changed, so it is
            of no use afterwards. Its classifier is dropped.
        blocks: numbers of the four blocks, from 0, in rising order; None takes every fourth part of
            the depth. What comes after the last of them is dropped.
        norm: whether the network's last LayerNorm is applied to the last of the four, c5.

    Attributes:
        channels: Stages of the width of the tokens, four times the same.
        strides: Stages(16, 16, 16, 16), the side of a patch. Sizes are rounded up, so any H and W
            will do.

    Raises:
        ValueError: not four rising numbers of blocks that there are.

    Example:
        >>> features = vit_b_16().eval()(torch.zeros(1, 3, 64, 90))
        >>> features.c2.shape, features.c5.shape
        (torch.Size([1, 768, 4, 6]), torch.Size([1, 768, 4, 6]))
    """

    def __init__(
        self,
        network: models.VisionTransformer,
        *,
        blocks: tuple[int, int, int, int] | None = None,
        norm: bool = False,
    ) -> None:
        super().__init__()
        depth = len(network.encoder.layers)
        quarters = tuple(depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4))
        self.blocks = quarters if blocks is None else tuple(blocks)
        rising = [-1, *self.blocks, depth]
        if len(self.blocks) != 4 or rising != sorted(set(rising)):
            raise ValueError(
                f"blocks is {blocks}; give four rising numbers between 0 and {depth - 1}"
            )
        width, patch = network.hidden_dim, network.patch_size
        self.channels = Stages(width, width, width, width)
        self.strides = Stages(patch, patch, patch, patch)

        self.class_token = network.class_token
        self.conv_proj = network.conv_proj
        self.encoder = network.encoder
        self.encoder.layers = self.encoder.layers[: self.blocks[-1] + 1]
        if not norm:
            self.encoder.ln = nn.Identity()

    def forward(self, images: Tensor) -> Stages[Tensor]:
        return Stages(*(tokens.patches for tokens in self.forward_tokens(images)))

    def forward_tokens(self, images: Tensor) -> Stages[Tokens]:
        """Also give the class token, which a decoder can read out.

        Args:
            images: shape (B, C, H, W).

        Returns:
            Stages of `Tokens`, whose patches are what `forward` gives.
        """
        patch = self.strides.c2
        below, right = (-size % patch for size in images.shape[-2:])
        x = self.conv_proj(F.pad(images, (0, right, 0, below)))
        size = x.shape[-2:]
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x.flatten(2).mT], dim=1)
        x = self.encoder.dropout(x + self._positions(size))  # (B, 1 + H/16 W/16, C)

        stages = []
        for number, layer in enumerate(self.encoder.layers):
            x = layer(x)
            if number == self.blocks[-1]:
                x = self.encoder.ln(x)
            if number in self.blocks:
                stages.append(Tokens(x[:, 1:].mT.unflatten(2, size), x[:, 0]))
        return Stages(*stages)

    def _positions(self, size: tuple[int, int]) -> Tensor:
        positions = self.encoder.pos_embedding  # (1, 1 + side², C)
        side = round((positions.shape[1] - 1) ** 0.5)
        if tuple(size) == (side, side):
            return positions
        grid = positions[:, 1:].mT.unflatten(2, (side, side))
        grid = F.interpolate(grid, size=tuple(size), mode="bilinear", align_corners=False)
        return torch.cat([positions[:, :1], grid.flatten(2).mT], dim=1)


def vit_b_16(
    *,
    in_channels: int = 3,
    weights: BackboneWeights = None,
    blocks: tuple[int, int, int, int] = (2, 5, 8, 11),
    norm: bool = False,
) -> ViT:
    """ViT-B/16, 12 blocks of width 768: 85,797,120 parameters (1,536 more with `norm`).

    Args:
        in_channels: channels of the images.
        weights: torchvision's weights or their name, downloaded on first use; None draws them at
            random. The grid of position embeddings has the size that the weights were trained at:
            14x14 (224 pixels) or, for IMAGENET1K_SWAG_E2E_V1, 24x24 (384); 14x14 without weights.
        blocks: see `ViT`.
        norm: see `ViT`.

    Raises:
        ValueError: there are no such weights, or no such blocks.
        TypeError: the weights belong to another network.
    """
    return _vit(models.vit_b_16, models.ViT_B_16_Weights, in_channels, weights, blocks, norm)


def vit_l_16(
    *,
    in_channels: int = 3,
    weights: BackboneWeights = None,
    blocks: tuple[int, int, int, int] = (5, 11, 17, 23),
    norm: bool = False,
) -> ViT:
    """ViT-L/16, 24 blocks of width 1024: 303,299,584 parameters. Arguments as `vit_b_16`.

    IMAGENET1K_SWAG_E2E_V1 was trained at 512 pixels: 32x32 positions.
    """
    return _vit(models.vit_l_16, models.ViT_L_16_Weights, in_channels, weights, blocks, norm)


def _vit(
    build: Callable[..., models.VisionTransformer],
    kind: type[models.WeightsEnum],
    in_channels: int,
    weights: BackboneWeights,
    blocks: tuple[int, int, int, int],
    norm: bool,
) -> ViT:
    weights = verify_weights(weights, kind)
    side = 224 if weights is None else weights.meta["min_size"][0]
    network = with_torchvision_weights(
        build(image_size=side), weights, kind, in_channels=in_channels
    )
    if weights is None:  # other channels were drawn as a convolution; patches are a linear layer
        conv: Any = network.conv_proj
        fan_in = conv.weight[0].numel()
        nn.init.trunc_normal_(conv.weight, std=fan_in**-0.5)
    return ViT(network, blocks=blocks, norm=norm)


builders = (vit_b_16, vit_l_16)
