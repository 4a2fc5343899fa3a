"""What every transform takes and gives: one image and its mask, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Transform: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(image, mask) -> (image, mask)``: see `segkit.transforms` for shapes and dtypes."""


def check_pair(image: Tensor, mask: Tensor) -> None:
    """Refuse what is not an image with its mask.

    Args:
        image: shape (3, H, W), uint8, or float32 that still counts 0..255.
        mask: shape (H, W), uint8.

    Raises:
        ValueError: a wrong dtype, a wrong shape, no pixels, or two sizes.
    """
    if image.dtype not in (torch.uint8, torch.float32) or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(
            f"image is {image.dtype} {tuple(image.shape)}: a transform takes uint8 (3, H, W), "
            "or float32 (3, H, W) that counts 0..255"
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


def uniform(low: float, high: float) -> float:
    """One number from [low, high), from torch's global generator."""
    return low + (high - low) * torch.rand((), dtype=torch.float64).item()
