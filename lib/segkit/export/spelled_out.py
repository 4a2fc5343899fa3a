"""What torch writes wrongly into ONNX, or cannot, where sizes are free: in other operations.

Adaptive average pooling becomes two matrix products, which are right at every size. ONNX has no
such layer, and torch's exporter writes the cells of the size that it sees: PP-LiteSeg loses 3 % of
its labels so at 90 x 130 after an export at 96 x 128, without a word, and at other sizes the file
fails. A remainder by an image's size, U-Net's mirrored border, becomes one by a tensor; its
quotients of sizes, rounded down also below zero, stay above.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

FAR = 2**20
"""More than any quotient of sizes below zero."""


def spell_out(program: ExportedProgram) -> ExportedProgram:
    """The program without adaptive average pooling and remainders by a size."""
    aten = torch.ops.aten
    program = program.run_decompositions(
        {aten.adaptive_avg_pool2d.default: adaptive_avg_pool2d, aten.remainder.Scalar: _remainder}
    )
    for node in program.graph.find_nodes(op="call_function", target=operator.floordiv):
        _round_down(node)
    return program


def _round_down(node: Node) -> None:
    """Let a size's quotient n // k, which ONNX rounds to zero, be (n + far * k) // k - far."""
    graph, value = node.graph, node.meta["val"]
    above, below = node.args
    with graph.inserting_before(node):
        far = graph.call_function(operator.mul, (below, FAR))
        far.meta["val"] = _value(below) * FAR
        positive = graph.call_function(operator.add, (above, far))
        positive.meta["val"] = _value(above) + far.meta["val"]
    with graph.inserting_after(node):
        back = graph.call_function(operator.sub, (node, FAR))
        back.meta["val"] = value
    node.replace_all_uses_with(back, delete_user_cb=lambda user: user is not back)
    node.args, node.meta["val"] = (positive, below), value + FAR


def _value(argument: Any) -> Any:
    return argument.meta["val"] if isinstance(argument, Node) else argument


def _remainder(x: Tensor, divisor: float) -> Tensor:
    return x.remainder(torch.scalar_tensor(divisor, dtype=x.dtype, device=x.device))


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
