"""How many things a mask shows: its connected regions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def number_regions(mask: Tensor) -> Tensor:
    """Another number for each connected region; pixels that share a side or a corner are connected.

    Args:
        mask: shape (H, W), bool, or anything that is not 0 in a region.

    Returns:
        int64 (H, W): 0 outside, a number above 0 for each region, in no order.

    Raises:
        ValueError: another shape.
    """
    if mask.ndim != 2:
        raise ValueError(f"a mask of shape {tuple(mask.shape)}: give (H, W)")
    inside = (mask != 0)[None]
    # Each pixel takes the largest number next to it, until a region has one number alone.
    numbers = torch.arange(1.0, mask.numel() + 1, dtype=torch.float64, device=mask.device)
    numbers = numbers.reshape(inside.shape) * inside
    while not torch.equal(
        grown := functional.max_pool2d(numbers, 3, stride=1, padding=1) * inside, numbers
    ):
        numbers = grown
    return numbers[0].long()


def count_regions(mask: Tensor, *, least: int = 1) -> int:
    """Count the connected regions of a mask, as `number_regions` parts them.

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
    _, sizes = number_regions(mask)[mask != 0].unique(return_counts=True)
    return int((sizes >= least).sum())


def matched_regions(predicted: Tensor, truth: Tensor, *, above: float = 0.5) -> int:
    """Count the true regions that one predicted region covers: neither merged nor in pieces.

    Args:
        predicted: shape (H, W), bool, or anything that is not 0 in a region.
        truth: likewise.
        above: the IoU that the two regions must exceed, 0.5 or more: then each has one partner.

    Raises:
        ValueError: two shapes, or ``above`` outside 0.5..1.

    Source: Kirillov et al., "Panoptic Segmentation", CVPR 2019, section 4.1.

    Example:
        >>> truth = torch.tensor([[1, 1, 0, 1], [1, 1, 0, 1]])
        >>> matched_regions(torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0]]), truth)
        1
    """
    if predicted.shape != truth.shape or truth.ndim != 2 or not 0.5 <= above <= 1:
        raise ValueError(
            f"masks of shapes {tuple(predicted.shape)} and {tuple(truth.shape)}, above={above}: "
            "give two of one shape (H, W), and 0.5 to 1"
        )
    found, real = number_regions(predicted), number_regions(truth)
    pairs, shared = torch.stack([found, real])[:, (found > 0) & (real > 0)].unique(
        dim=1, return_counts=True
    )
    sizes = [(found == one).sum() + (real == other).sum() for one, other in pairs.T]
    return sum(int(both > above * (size - both)) for both, size in zip(shared, sizes, strict=True))
