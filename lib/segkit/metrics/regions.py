"""How many things a mask shows: its connected regions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def count_regions(mask: Tensor, *, least: int = 1) -> int:
    """Count the connected regions of a mask; pixels that share a side or a corner are connected.

    Args:
        mask: shape (H, W), bool, or anything that is not 0 in a region.
        least: pixels that a region needs to be counted, 1 or more.

    Raises:
        ValueError: another shape, or ``least`` below 1.

    Example:
        >>> count_regions(torch.tensor([[1, 1, 0, 1], [0, 0, 0, 1]]))
        2
    """
    if mask.ndim != 2 or least < 1:
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} and least={least}: give (H, W), and 1 or more"
        )
    inside = (mask != 0)[None]
    # Each pixel takes the largest number next to it, until a region has one number alone.
    numbers = torch.arange(1.0, mask.numel() + 1, dtype=torch.float64, device=mask.device)
    numbers = numbers.reshape(inside.shape) * inside
    while not torch.equal(
        grown := functional.max_pool2d(numbers, 3, stride=1, padding=1) * inside, numbers
    ):
        numbers = grown
    _, sizes = numbers[inside].unique(return_counts=True)
    return int((sizes >= least).sum())
