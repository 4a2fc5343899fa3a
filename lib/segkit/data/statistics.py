"""How often each class occurs, and how bright the images are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST_STD = 1e-3
"""Standard deviation of a band in which nothing is seen, so that it can be divided by."""


def class_pixels(dataset: Any) -> tuple[Tensor, Tensor]:
    """Count the labelled pixels of a data set, and the images' sizes, by class.

    Args:
        dataset: has ``len``, ``num_classes`` and ``raw(i) -> (image, mask)``.

    Returns:
        Two int64 tensors of shape (K,): the pixels of each class, and the pixels (void ones
        included) of the images in which it occurs, as SegNet's median frequencies need them.
    """
    pixels = torch.zeros(dataset.num_classes, dtype=torch.int64)
    area = torch.zeros(dataset.num_classes, dtype=torch.int64)
    for index in range(len(dataset)):
        try:
            _, mask = dataset.raw(index)
        except (ValueError, OSError):  # the doctor names it, the loader leaves it out
            continue
        counts = torch.bincount(mask.reshape(-1).int(), minlength=256)[: dataset.num_classes]
        pixels += counts
        area += (counts > 0) * mask.numel()
    return pixels, area


def image_statistics(dataset: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure the mean and the standard deviation of a data set's images, over all pixels.

    Args:
        dataset: has ``len`` and ``raw(i) -> (image, mask)``, images (C, H, W) that count 0..255.

    Returns:
        Mean and deviation of each channel, in 0..1, to four decimals.

    Raises:
        ValueError: no image can be read, or two have different numbers of channels.
    """
    total, error = 0, "it is empty"
    sums: Any = 0
    squares: Any = 0
    for index in range(len(dataset)):
        try:
            image, _ = dataset.raw(index)
        except (ValueError, OSError) as caught:  # the doctor names it, the loader leaves it out
            error = str(caught)
            continue
        levels = image.flatten(1).double() / 255
        if total and len(sums) != len(levels):
            raise ValueError(
                f"{dataset.stem(index)} has {len(levels)} channels and those before {len(sums)}: "
                "name the bands to read in data.yaml, such as bands: [1, 2, 3]"
            )
        total += levels.shape[1]
        sums, squares = sums + levels.sum(1), squares + levels.square().sum(1)
    if not total:
        raise ValueError(f"no image of {dataset!r} can be read: {error}")
    mean = sums / total
    std = (squares / total - mean.square()).clamp_min(0).sqrt().clamp_min(LEAST_STD)
    return tuple(round(m, 4) for m in mean.tolist()), tuple(round(s, 4) for s in std.tolist())
