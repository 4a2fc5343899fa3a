"""Class weights for rare classes, from how often each class occurs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def inverse_log_frequency_weights(frequencies: Tensor | Sequence[float], c: float = 1.1) -> Tensor:
    """ENet's class weights: 1 / log(c + f), bounded where a class is very rare.

    Args:
        frequencies: labelled pixels of each class, or their shares, shape (K,), >= 0; divided by
            their sum here.
        c: more than 1; the nearer to 1, the more the rare classes count. ENet has 1.02, which
            bounds the weights to 1.4..50; 1.1 bounds them to 1.3..10.5.

    Returns:
        float32 (K,); 1 / log(c) for a class that never occurs.

    Raises:
        ValueError: c <= 1, or frequencies are not K numbers >= 0 with a positive sum.

    Source: Paszke et al., "ENet", 2016, section 5.2.
    """
    if not 1 < c < math.inf:
        raise ValueError(f"c is {c}; it is more than 1, or a class that never occurs has no weight")
    frequencies = _counts("frequencies", frequencies)
    return (1 / torch.log(c + frequencies / frequencies.sum())).float()


def median_frequency_weights(
    pixels: Tensor | Sequence[float], images: Tensor | Sequence[float]
) -> Tensor:
    """SegNet's median frequency balancing: median frequency over the class's own.

    The frequency of a class is its pixels over all pixels of the images in which it occurs, so a
    class that is rare but large where it occurs is not blown up.

    Args:
        pixels: labelled pixels of each class, shape (K,), >= 0.
        images: in how many images each class occurs, shape (K,). That suffices if all images are of
            one size, which then cancels; if not, give the pixels of those images instead.

    Returns:
        float32 (K,); 1 for the class of median frequency (for an even number of classes the median
        lies half-way between the middle two), 0 for a class that never occurs, which is also left
        out of the median.

    Raises:
        ValueError: not K numbers >= 0 with a positive sum each, sizes that differ, or a class that
            has pixels but no image.

    Source: Badrinarayanan et al., "SegNet", TPAMI 2017, section 4; after Eigen and Fergus, ICCV
    2015.
    """
    pixels, images = _counts("pixels", pixels), _counts("images", images)
    if pixels.shape != images.shape or ((pixels > 0) & (images == 0)).any():
        raise ValueError(
            f"pixels {pixels.tolist()} and images {images.tolist()} contradict each other; every "
            "class with pixels occurs in at least one image"
        )
    present = pixels > 0
    frequencies = pixels[present] / images[present]
    weights = torch.zeros_like(pixels)
    weights[present] = frequencies.quantile(0.5) / frequencies
    return weights.float()


def _counts(name: str, counts: Tensor | Sequence[float]) -> Tensor:
    try:
        counts = torch.as_tensor(counts, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} are {counts!r:.200}; needed is one number per class, such as [900, 80, 20]"
        ) from error
    if counts.ndim != 1 or not counts.isfinite().all() or (counts < 0).any() or not counts.any():
        raise ValueError(
            f"{name} are {counts.tolist()!r:.200}; needed is one number per class, none below 0 "
            "and not all of them 0"
        )
    return counts
