"""Gaussian filtering in a few dimensions, in time linear in the number of points.

Paper: "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Adams, Baek, Davis,
    Computer Graphics Forum (Eurographics) 2010, https://doi.org/10.1111/j.1467-8659.2009.01645.x

Idea:
    Cover the feature space with simplices, the cells of the permutohedral lattice. Every pixel
    hands its values to the d + 1 corners of the cell it lies in, by its barycentric weights; the
    values are blurred with (1 2 1) along each of the d + 1 directions of the lattice; and every
    pixel reads the result off the corners with the same weights. Only corners that some pixel
    touches exist, and those between two of them.

    values (N, C) -> splat -> (M, C) -> blur along 0, 1, ..., d -> (M, C) -> slice -> (N, C)

Differs from the paper:
    - A corner's d coordinates are packed into one 64-bit integer instead of hashed. The packing is
      linear: a step along a lattice direction adds a constant, so the neighbours of all corners
      are found by binary search, and no pixel is visited by Python.
    - Corners that no pixel touches exist as well where they link two that are touched. Without
      them values cannot pass, and the probabilities of a CRF are about twice as far from exact.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# A double still tells positions of this size a small part of a cell apart.
_FARTHEST = 2**48
# Channels filtered at a time: bounds the memory at M x 32 numbers, whatever the number of classes.
_CHANNELS = 32


class PermutohedralLattice:
    """Sums values over all points, weighted by about exp(-|f_i - f_j|^2 / 2) times a constant.

    The constant is unknown: divide by the sum of the weights, which is the filter of ones. A ratio
    is within a few percent of the true one where the points lie densely. Of two distant clusters
    the weights are less exact, because no corner carries anything through the void between them.

    Args:
        features: one point per row in units of the Gaussian's width, shape (N, d), N and d >= 1.

    Raises:
        ValueError: a feature is NaN or infinite, or they span more cells than 64 bits can number.

    Example:
        >>> lattice = PermutohedralLattice(torch.rand(100, 2))
        >>> average = lattice(torch.rand(100, 3)) / lattice(torch.ones(100, 1))
    """

    def __init__(self, features: Tensor) -> None:
        dims = features.shape[1]
        corner0, order, self._weights = _enclosing_simplex(features)
        strides = _strides(corner0)
        # A step along direction i is +1 in all coordinates and -(d + 1) more in coordinate i.
        steps = strides.sum() - (dims + 1) * strides
        # From corner k - 1 of a cell to corner k the step goes along one direction.
        path = torch.cat(((corner0 * strides).sum(1, keepdim=True), steps[order.flip(1)]), dim=1)
        touched, index = path.cumsum(1)[:, : dims + 1].unique(return_inverse=True)
        corners = torch.cat((touched, _bridges(touched, steps))).unique()
        index = torch.searchsorted(corners, touched)[index]
        self._corners = index.int()

        by_corner = index.flatten().argsort(stable=True)
        self._pixels = (by_corner // (dims + 1)).int()
        self._pixel_weights = self._weights.flatten()[by_corner]
        counts = torch.bincount(index.flatten(), minlength=len(corners))
        self._offsets = F.pad(counts.cumsum(0), (1, 0)).int()
        self._directions = [_neighbours(corners, step) for step in steps]

    def __len__(self) -> int:
        """How many corners the lattice has."""
        return len(self._offsets) - 1

    def __call__(self, values: Tensor) -> Tensor:
        """Filter each column of ``values``, shape (N, C) float32; the result has the same shape."""
        return torch.cat(
            [self._filter(part.contiguous()) for part in values.split(_CHANNELS, 1)], 1
        )

    def _filter(self, values: Tensor) -> Tensor:
        # An embedding bag is a weighted sum of rows of a table: a sparse matrix product, fused, in
        # parallel on every device, and without atomics, so that it repeats to the last bit.
        at_corners = F.embedding_bag(
            self._pixels,
            values,
            self._offsets,
            mode="sum",
            per_sample_weights=self._pixel_weights,
            include_last_offset=True,
        )
        for index, weights in self._directions:
            at_corners = F.embedding_bag(index, at_corners, mode="sum", per_sample_weights=weights)
        return F.embedding_bag(
            self._corners, at_corners, mode="sum", per_sample_weights=self._weights
        )


def _enclosing_simplex(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The cell of every point.

    Returns:
        corner0: int64 (N, d + 1), the cell's corner all of whose coordinates are multiples of
            d + 1.
        order: int64 (N, d + 1), the coordinates by falling difference to ``corner0``: the cell is
            one of the (d + 1)! around the corner, and this order names it.
        weights: float32 (N, d + 1), barycentric, of corner 0 to d; they sum to 1.
    """
    dims = features.shape[1]
    size = dims + 1
    position = features.double() @ _onto_the_plane(dims).to(features.device)
    farthest = position.abs().max().item()
    if not farthest < _FARTHEST:  # NaN is not
        raise ValueError(
            f"the features reach up to {farthest:.3g} lattice cells from 0, more than "
            f"{_FARTHEST:.3g}: use wider Gaussians"
        )
    multiple = (position / size).round()
    residual = position - multiple * size
    rank = residual.argsort(1, descending=True).argsort(1)
    # The rounded corner may lie off the plane of sum 0. It returns by moving the coordinates whose
    # rounding was worst, and those change ends in the order.
    excess = multiple.sum(1, keepdim=True).long()
    moved = rank + excess
    multiple = multiple.long() - (moved >= size).long() + (moved < 0).long()
    order = (moved % size).argsort(1)
    residual = (position - multiple * size).gather(1, order)
    weights = (residual[:, :-1] - residual[:, 1:]).flip(1) / size
    weights = torch.cat((1 - weights.sum(1, keepdim=True), weights), dim=1)
    return multiple * size, order, weights.clamp_min(0).float()


def _onto_the_plane(dims: int) -> Tensor:
    """The (d, d + 1) map to the plane of coordinate sum 0, scaled so that the filter has width 1.

    Splat, blur and slice together have a variance of (d + 1)^2 2/3 along every axis of the plane.
    """
    plane = torch.zeros(dims, dims + 1, dtype=torch.float64)
    for i in range(dims):
        plane[i, : i + 1] = 1
        plane[i, i + 1] = -(i + 1)
        plane[i] /= math.sqrt((i + 1) * (i + 2))
    return plane * (math.sqrt(2 / 3) * (dims + 1))


def _strides(corner0: Tensor) -> Tensor:
    """Factors (d + 1,) that pack a corner into one integer, no two corners into the same one."""
    dims = corner0.shape[1] - 1
    # The last coordinate follows from the others. Other corners of a cell are up to d away, their
    # neighbours d more; twice that on each side keeps a row from touching the next.
    spans = (corner0.amax(0) - corner0.amin(0) + 4 * (dims + 1)).tolist()[:dims]
    strides = [math.prod(spans[i + 1 :]) for i in range(dims)]
    reach = math.prod(spans) + sum(
        abs(stride) * low
        for stride, low in zip(strides, corner0.abs().amax(0).tolist(), strict=False)
    )
    if reach * 2 >= 2**63:
        raise ValueError(
            f"the features span {' x '.join(str(span) for span in spans)} lattice cells, more than "
            "a 64-bit integer can number: use wider Gaussians or a smaller image"
        )
    return corner0.new_tensor([*strides, 0])


def _bridges(touched: Tensor, steps: Tensor) -> Tensor:
    """Corners next to two or more of the touched ones; a touched one may be among them.

    One next to a single touched corner has nobody to pass its values on to.
    """
    ring = torch.cat([touched + step for each in steps for step in (each, -each)])
    bridges, links = ring.unique(return_counts=True)
    return bridges[links >= 2]


def _neighbours(corners: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """A corner and the two next to it along one direction: index and weight, (M, 3) each.

    Weights are 1, 1/2, 1/2; a neighbour that does not exist weighs 0.
    """
    self_index = torch.arange(len(corners), device=corners.device)
    index, weights = [self_index], [torch.ones_like(self_index, dtype=torch.float32)]
    for wanted in (corners + step, corners - step):
        found = torch.searchsorted(corners, wanted).clamp_max(len(corners) - 1)
        exists = corners[found] == wanted
        index.append(found.where(exists, self_index))
        weights.append(exists.float() / 2)
    return torch.stack(index, 1).int(), torch.stack(weights, 1)
