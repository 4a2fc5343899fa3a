"""The stamper: a transposed convolution as stamps on a page, and their sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional as F

from segbook import text
from segbook.figures.pictures import array
from segbook.figures.style import sized, styled
from segbook.widgets.sent import drawn
from segbook.widgets.widget import Widget, sources

STRIDES = (1, 2, 3, 4)
LARGEST = 8
"""Rows and columns of values and kernels, at most: more cannot be read."""


class Stamper(Widget):
    """A transposed convolution: each value stamps the kernel, `stride` apart; where they meet, add.

    The numbers may be typed; stamps appear one by one. How many stamps meet in a cell shows where a
    checkerboard comes from: the kernel's size is no multiple of the stride.

    Args:
        kernel: its name, or numbers of shape (h, w), or (w) for one direction; also a dictionary of
            name -> numbers to choose from. Names: ``"tent"`` (bilinear, 2 * stride wide, follows
            the stride), ``"ones 2"``, ``"ones 3"``, ``"ones 4"``, ``"learned 3"``, ``"learned 4"``.
        values: of shape (h, w), or (w) for one direction.

    Attributes:
        stride: cells between stamps, 1 to 4; as all below, it may be set and follows the hand.
        name: of the kernel in use.
        stamps: how many stamps have been set, row by row; -1 is all.
        view: ``"sum"`` or ``"count"``: how many stamps meet.
        numbers: the values as rows, to be typed.

    Raises:
        ValueError: values or kernels of another shape, larger than 8x8, or not finite; an unknown
            name.

    Example:
        >>> stamper = Stamper([1.0, 2.0, 1.0], values=[1, 0, 2], stride=2)
        >>> stamper
        Stamper(1x3 values, kernel of 1x3, stride 2: 1x7)
        >>> stamper.output().tolist()
        [[1.0, 2.0, 1.0, 0.0, 2.0, 4.0, 2.0]]
    """

    _esm, _css = sources("stamper")
    title = "Transposed convolution"
    state = ("kernels", "strides", "numbers", "stride", "name", "stamps", "view")

    kernels = traitlets.Dict(read_only=True).tag(sync=True)
    strides = traitlets.List(traitlets.Int(), list(STRIDES), read_only=True).tag(sync=True)
    numbers = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    stride = traitlets.Enum(STRIDES, 2).tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    stamps = traitlets.Int(-1).tag(sync=True)
    view = traitlets.Enum(("sum", "count"), "sum").tag(sync=True)

    def __init__(
        self,
        kernel: str | ArrayLike | Mapping[str, ArrayLike] = "tent",
        values: ArrayLike = ((1, 2, 0), (0, 3, 1), (2, 1, 1)),
        **settings: Any,
    ) -> None:
        rows = _table(values, "values")
        single = len(rows) == 1
        offered = _offered(single=single)
        if isinstance(kernel, Mapping):
            given = {text.one_line(name): _table(k, name) for name, k in kernel.items()}
            if not given:
                raise ValueError("there is no kernel; give at least one")
            chosen, offered = next(iter(given)), given
        elif isinstance(kernel, str):
            if kernel not in offered:
                raise ValueError(f"kernel is {kernel!r}; known are {', '.join(offered)}")
            chosen = kernel
        else:
            chosen = "yours"
            offered = {chosen: _table(kernel, "kernel"), **offered}
        settings = {"name": chosen, "numbers": rows.tolist(), **settings}
        super().__init__(**settings)
        self.set_trait("kernels", {name: _plain(k) for name, k in offered.items()})
        self._named({"value": self.name})

    @traitlets.validate("name")
    def _named(self, proposal: dict) -> str:
        if self.kernels and proposal["value"] not in self.kernels:
            raise ValueError(
                f"name is {proposal['value']!r}; it is one of {', '.join(self.kernels)}"
            )
        return proposal["value"]

    @traitlets.validate("numbers")
    def _numbers_are_a_table(self, proposal: dict) -> list[list[float]]:
        return _table(proposal["value"], "values").tolist()

    def kernel(self) -> NDArray[np.float32]:
        """The kernel in use, shape (h, w)."""
        found = self.kernels[self.name]
        return np.array(found[str(self.stride)] if isinstance(found, dict) else found, np.float32)

    def output(self) -> NDArray[np.float32]:
        """The sum of the stamps that have been set, shape (H, W): (h - 1) * stride + kernel."""
        values = np.array(self.numbers, np.float32)
        if self.stamps >= 0:
            values.ravel()[self.stamps :] = 0
        return stamped(values, self.kernel(), self.stride)

    def count(self) -> NDArray[np.float32]:
        """How many of all stamps meet in each cell, shape (H, W)."""
        ones = np.ones_like(np.array(self.numbers, np.float32))
        return stamped(ones, np.ones_like(self.kernel()), self.stride)

    def __repr__(self) -> str:
        """What is in it, the same in every run."""
        sizes = [np.array(self.numbers).shape, self.kernel().shape, self.output().shape]
        values, kernel, out = ("x".join(map(str, size)) for size in sizes)
        return f"Stamper({values} values, kernel of {kernel}, stride {self.stride}: {out})"

    def snapshot(self) -> bytes:
        """Values, kernel, the sum of the stamps and how many meet, beside each other.

        Returns:
            PNG bytes.
        """
        return drawn(_four(self))


def stamped(values: ArrayLike, kernel: ArrayLike, stride: int) -> NDArray[np.float32]:
    """The transposed convolution of one channel, without padding: the stamps' sum.

    Args:
        values: shape (h, w).
        kernel: shape (kh, kw).
        stride: cells between stamps; one direction has one row of each.

    Returns:
        Shape ((h - 1) * stride + kh, (w - 1) * stride + kw).
    """
    one, two = (torch.tensor(np.asarray(x, np.float32))[None, None] for x in (values, kernel))
    return F.conv_transpose2d(one, two, stride=stride)[0, 0].numpy()


def _offered(*, single: bool) -> dict[str, Any]:
    """The kernels to choose from; with one row each for one direction."""
    rng = np.random.default_rng(3)
    learned = {size: rng.normal(0.35, 0.6, (size, size)).round(1) for size in (3, 4)}

    def shaped(square: NDArray) -> NDArray:
        return square[len(square) // 2][None] if single else square

    tents = {}
    for stride in STRIDES:
        # As FCN's: 2 * stride wide where the stride is even, one less where it is odd.
        size = 2 * stride - stride % 2
        taps = 1 - np.abs(np.arange(size) - (size - 1) / 2) / stride
        tents[str(stride)] = taps[None] if single else np.outer(taps, taps)
    return {
        "tent": tents,
        **{f"ones {size}": shaped(np.ones((size, size))) for size in (2, 3, 4)},
        **{f"learned {size}": shaped(square) for size, square in learned.items()},
    }


def _plain(kernel: Any) -> Any:
    if isinstance(kernel, dict):
        return {key: _plain(value) for key, value in kernel.items()}
    return kernel.tolist()


def _table(values: ArrayLike, what: str) -> NDArray[np.float64]:
    table = np.atleast_2d(array(values)).astype(float)
    if table.ndim != 2 or not 1 <= min(table.shape) <= max(table.shape) <= LARGEST:
        raise ValueError(
            f"{what} have shape {tuple(np.shape(array(values)))}; give a row, or rows and columns, "
            f"of at most {LARGEST}"
        )
    if not np.isfinite(table).all():
        raise ValueError(f"{what} hold nan or infinite numbers")
    return table


@styled
def _four(widget: Stamper) -> Figure:
    values, kernel = np.array(widget.numbers), widget.kernel()
    shown = {
        "values": values,
        f"kernel: {widget.name}": kernel,
        f"sum of the stamps, stride {widget.stride}": widget.output(),
        "stamps that meet": widget.count(),
    }
    widths = [max(table.shape[1], 2.5) for table in shown.values()]
    tallest = max(table.shape[0] for table in shown.values())
    figure = sized(0.36 * sum(widths) + 1.2, 0.36 * tallest + 0.6, layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=widths)
    for ax, (name, table) in zip(axes, shown.items(), strict=True):
        _numbers(ax, table, "Greys" if name == "stamps that meet" else "PuOr_r")
        ax.set_title(name, fontsize=8.5)
    return figure


def _numbers(ax: Axes, table: NDArray, colours: str) -> None:
    """A table of numbers, coloured by value: zero is white."""
    most = float(np.abs(table).max()) or 1.0
    low = 0 if colours == "Greys" else -1.6 * most
    ax.imshow(table, cmap=colours, vmin=low, vmax=1.6 * most)
    for (row, column), value in np.ndenumerate(table):
        ax.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=6.5)
    ax.set(xticks=[], yticks=[], anchor="N")
