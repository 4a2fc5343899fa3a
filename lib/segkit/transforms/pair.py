"""What every transform takes and gives: one image and its mask, checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from segkit.inputs import check_tensor

Transform: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(image, mask) -> (image, mask)``: see `segkit.transforms` for shapes and dtypes."""


_NORMALISED, _SIXTEEN_BITS = 16, 1000
"""Bounds that colours of 0..255 keep, noise and overshoots included: below 0 only where some are
well above it, and never in the thousands."""


def check_pair(image: Tensor, mask: Tensor, channels: int = 3) -> None:
    """Refuse what is not an image with its mask.

    Args:
        image: shape (C, H, W), uint8, or float32 that still counts 0..255.
        mask: shape (H, W), uint8.
        channels: C.

    Raises:
        ValueError: no tensor, a wrong dtype, a wrong shape, no pixels, two sizes, or floating-point
            colours that do not count 0..255.
    """
    takes = f"uint8 ({channels}, H, W), or float32 that counts 0..255"
    check_tensor("image", image, takes)
    check_tensor("mask", mask, "uint8 (H, W)")
    fits = image.ndim == 3 and image.shape[0] == channels
    if image.dtype not in (torch.uint8, torch.float32) or not fits:
        raise ValueError(
            f"image is {image.dtype} {tuple(image.shape)}: a transform takes {takes}"
            + _channels_last(image)
        )
    if mask.dtype != torch.uint8 or mask.ndim != 2:
        raise ValueError(
            f"mask is {mask.dtype} {tuple(mask.shape)}: a transform takes uint8 (H, W); "
            "Normalize, which makes it int64, comes last"
        )
    if image.shape[1:] != mask.shape:
        raise ValueError(
            f"image has {image.shape[1]}x{image.shape[2]} pixels (height x width) and its mask "
            f"{mask.shape[0]}x{mask.shape[1]}: both must have the same size"
        )
    if not mask.numel():
        raise ValueError(f"image and mask of {mask.shape[0]}x{mask.shape[1]} pixels are empty")
    check_levels(image)


def check_levels(image: Tensor) -> None:
    """Refuse colours that do not count 0..255: to scale them all the same is silent.

    A picture of whole numbers may be a dark one, `dark_as_whole`; it passes.

    Args:
        image: any shape; bytes are always right.

    Raises:
        ValueError: NaN or infinite numbers, colours of 0..1, normalised ones, those of 16 bits, or
            truth values.
    """
    if image.dtype == torch.uint8 or not image.numel():
        return
    whole = not image.is_floating_point()
    low, high = (float(bound) for bound in (image.long() if whole else image).aminmax())
    if not math.isfinite(low) or not math.isfinite(high):
        found = "holds NaN or infinite numbers: look at how it was made"
    elif image.dtype == torch.bool:
        found = "is true or false: give 255 * image, if it is a picture"
    elif whole and low >= 0 and high <= 255:
        return
    elif low >= 0 and high <= 1 and not torch.equal(image, image.round()):
        found = "counts 0..1: give 255 * image, or bytes, before ToDtype(torch.float32, scale=True)"
    elif low < 0 and high < _NORMALISED:
        found = f"lies in {low:.3g}..{high:.3g}, as after Normalize, which comes last and once"
    elif whole and low < 0:
        found = f"goes down to {low:.6g}: look at how it was made"
    elif whole or high > _SIXTEEN_BITS:
        found = f"goes up to {high:.6g}: of 16 bits give image / 257"
    else:
        return
    raise ValueError(f"image is {image.dtype} and counts 0..255 in a transform, but this {found}")


def dark_as_whole(image: Tensor) -> Tensor:
    """A picture of 0..255 with no level above 1 in whole levels, so that none is taken for 0..1."""
    return image.round() if float(image.max()) <= 1 else image


def _channels_last(image: Tensor) -> str:
    last = image.ndim == 3 and image.shape[-1] == 3
    return ": image.permute(2, 0, 1) puts the colours first" if last else ""


def uniform(low: float, high: float) -> float:
    """One number from [low, high), from torch's global generator."""
    return low + (high - low) * torch.rand((), dtype=torch.float64).item()
