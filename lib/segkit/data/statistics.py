"""How often each class occurs: what class weights are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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
