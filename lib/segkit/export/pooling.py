"""Adaptive average pooling as two matrix products, which are right at every size.

ONNX has no such layer, and torch's exporter writes the cells of the size that it sees: PP-LiteSeg
loses 3 % of its labels so at 90 x 130 after an export at 96 x 128, without a word, and at other
sizes the file fails.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.export import ExportedProgram


def spell_out_pooling(program: ExportedProgram) -> ExportedProgram:
    """The program without adaptive average pooling."""
    aten = torch.ops.aten
    return program.run_decompositions({aten.adaptive_avg_pool2d.default: adaptive_avg_pool2d})


def adaptive_avg_pool2d(x: Tensor, size: Sequence[int]) -> Tensor:
    """What `torch.nn.functional.adaptive_avg_pool2d` gives, in operations for which sizes are free.

    Args:
        x: shape (..., H, W).
        size: (h, w) of the grid.

    Returns:
        Shape (..., h, w).
    """
    height, width = size
    if height == width == 1:
        return x.mean((-2, -1), keepdim=True)
    rows, columns = _cells(height, x.shape[-2], x), _cells(width, x.shape[-1], x)
    return rows @ x @ columns.T


def _cells(cells: int, pixels: int, like: Tensor) -> Tensor:
    """The share of each pixel in each cell, (cells, pixels): cells overlap where n is no multiple.

    A cell reaches from floor(i n / k) to ceil((i + 1) n / k).
    """
    cell = torch.arange(cells, device=like.device)[:, None]
    pixel = torch.arange(pixels, device=like.device)
    start, stop = cell * pixels // cells, ((cell + 1) * pixels + cells - 1) // cells
    inside = (start <= pixel) & (pixel < stop)
    return inside.to(like.dtype) / (stop - start)
