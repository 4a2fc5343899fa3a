"""What U-Net and its descendants are made of: two convolutions a level, and a step back up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.nn.conv import ConvBNReLU


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each followed by ReLU.

    Args:
        in_channels: channels of the input.
        channels: of the result, and between the two.
        padded: whether zeros around the map keep its size; otherwise each convolution takes 2
            pixels off it.
        batch_norm: whether each is followed by batch normalisation, and then has no bias.

    Raises:
        ValueError: in training, when a channel to normalise holds a single value.

    Source: Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015, section 2,
    https://arxiv.org/abs/1505.04597
    """

    def __init__(
        self, in_channels: int, channels: int, *, padded: bool = True, batch_norm: bool = True
    ) -> None:
        layers: list[nn.Module] = []
        for width in (in_channels, channels):
            if batch_norm:
                layers.append(ConvBNReLU(width, channels))
            else:
                layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU(inplace=True)]
        super().__init__(*layers)
        if not padded:  # which ConvBNReLU always is
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    module.padding = (0, 0)


class UpBlock(nn.Module):
    """Enlarge the level below, concatenate with skips, convolve twice.

    Args:
        below_channels: of the level below.
        skip_channels: of all skips together; 0 for none.
        channels: of the result.
        upsample: "nearest" repeats pixels, as most U-Nets on a backbone do; "transposed" and
            "bilinear" bring what is below to `channels` first, by a 2x2 transposed convolution, as
            in the papers, or a 1x1 one.
        batch_norm: whether the 3x3 convolutions are normalised.

    Raises:
        ValueError: an unknown upsampling.

    Source: the same, section 2; Zhou et al., "UNet++", DLMIA 2018, equation 1,
    https://arxiv.org/abs/1807.10165
    """

    def __init__(
        self,
        below_channels: int,
        skip_channels: int,
        channels: int,
        *,
        upsample: Literal["transposed", "bilinear", "nearest"] = "nearest",
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        if upsample not in (known := ("transposed", "bilinear", "nearest")):
            raise ValueError(f"upsample is {upsample!r}; take one of {known}")
        self.upsample = upsample
        width = channels
        if upsample == "transposed":
            self.up = nn.ConvTranspose2d(below_channels, channels, 2, stride=2)
        elif upsample == "bilinear":
            self.up = nn.Conv2d(below_channels, channels, 1)
        else:
            self.up, width = nn.Identity(), below_channels
        self.convs = DoubleConv(width + skip_channels, channels, batch_norm=batch_norm)

    def forward(self, below: Tensor, skips: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Compute a level.

        Args:
            below: shape (B, below_channels, h, w).
            skips: any number, each of shape (B, …, H, W).
            size: (H, W) in pixels, twice (h, w) or one less.

        Returns:
            Shape (B, channels, H, W).
        """
        x = self.up(below)
        if self.upsample == "transposed":
            x = x[..., : size[0], : size[1]]  # a size that was halved and rounded up
        else:
            # After the 1x1 convolution: the two commute, and the small map costs a quarter. To a
            # size that was halved and rounded up, "nearest" is the same as doubling and cropping.
            x = F.interpolate(x, tuple(size), mode=self.upsample)
        return self.convs(torch.cat([x, *skips], dim=1) if skips else x)


def init_up_convs(module: nn.Module) -> None:
    """Draw every transposed convolution in `module` from He's normal distribution; biases to zero.

    For kernels that do not overlap, such as 2x2 at stride 2: each value of the result is made of
    one pixel of each channel.

    Args:
        module: what to initialise, in place, with all its children.

    Source: U-Net, section 3: a variance of 2 / N, N the values that one value is made of.
    """
    for child in module.modules():
        if isinstance(child, nn.ConvTranspose2d):
            nn.init.normal_(child.weight, std=(2 / child.in_channels) ** 0.5)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
