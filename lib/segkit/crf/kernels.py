"""Gaussian kernels between all pairs of pixels: their features, the exact sum, normalisation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from segkit.crf.lattice import PermutohedralLattice

Filter = Callable[[Tensor], Tensor]

METHODS = ("fast", "exact")
"""Ways to sum over all pairs of pixels."""

NORMALISATIONS = ("pixel", "symmetric")
"""Ways to free a kernel's strength from the number of similar pixels."""

# Entries of the kernel matrix held at a time: 64 MB of float32.
_ENTRIES = 1 << 24


class ExactGaussian:
    """Sums values over all points, weighted by exp(-|f_i - f_j|^2 / 2): O(N^2), chunk by chunk.

    Args:
        features: one point per row in units of the Gaussian's width, shape (N, d).
    """

    def __init__(self, features: Tensor) -> None:
        self._features = features

    def __call__(self, values: Tensor) -> Tensor:
        """Filter each column of ``values``, shape (N, C); the result has the same shape."""
        rows = max(1, _ENTRIES // len(self._features))
        # Through a matrix product cdist would lose the digits of small distances.
        distances = (
            torch.cdist(part, self._features, compute_mode="donot_use_mm_for_euclid_dist")
            for part in self._features.split(rows)
        )
        return torch.cat([(distance.square() / -2).exp() @ values for distance in distances])


def normalised_kernel(features: Tensor, *, method: str, normalisation: str) -> Filter:
    """A Gaussian kernel whose weights sum to about one at each pixel.

    With k the kernel matrix and n = k 1 the sums of its rows, ``"pixel"`` is k_ij / n_i, a weighted
    average over the other pixels, and ``"symmetric"`` k_ij / sqrt(n_i n_j). The diagonal stays in:
    a pixel's message to itself weighs k_ii = 1 before normalisation, one among all.

    Args:
        features: one point per pixel in units of the kernel's width, shape (N, d).
        method: one of `METHODS`.
        normalisation: one of `NORMALISATIONS`.

    Returns:
        A function that filters each column of its argument, shape (N, C), into the same shape.
    """
    gaussian: Filter = (ExactGaussian if method == "exact" else PermutohedralLattice)(features)
    sums = gaussian(features.new_ones(len(features), 1))
    if normalisation == "pixel":
        scale = sums.reciprocal()
        return lambda values: gaussian(values).mul_(scale)
    root = sums.rsqrt()
    return lambda values: gaussian(values * root).mul_(root)


def positions(image: Tensor, width: float) -> Tensor:
    """Each pixel's (y, x) over ``width`` pixels: float32 (H*W, 2)."""
    axes = [torch.arange(size, device=image.device) / width for size in image.shape[-2:]]
    return torch.cartesian_prod(*axes)


def positions_and_colours(image: Tensor, width: float, colour_width: float) -> Tensor:
    """Each pixel's position, and its RGB over ``colour_width`` levels: float32 (H*W, 5)."""
    colours = image.flatten(1).T.float() / colour_width
    return torch.cat((positions(image, width), colours), dim=1)
