"""Scores by class: the confusion matrix and IoU bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from segbook.figures.overlays import hexed
from segbook.figures.pictures import Colour, array, check_classes
from segbook.figures.style import BLUE, GREY, INK, PALE, VERMILION, styled

NORMALISE = {
    "row": "share of each true class, % (a row sums to 100)",
    "column": "share of each predicted class, % (a column sums to 100)",
    "all": "share of all labelled pixels, %",
}
"""Ways to normalise a confusion matrix, and what a cell then says."""


@styled
def confusion(cm: ArrayLike, classes: Sequence[str], normalise: str = "row") -> Figure:
    """The confusion matrix as shares of pixels, truth downwards and prediction across.

    Args:
        cm: pixel counts, shape (K, K) or (K+1, K) where the last row is void, which is left out;
            rows are truth, columns prediction.
        classes: the K class names.
        normalise: ``"row"`` (the diagonal is each class's accuracy), ``"column"`` (its precision)
            or ``"all"``.

    Returns:
        A figure; a class without a pixel to divide by has an empty row or column, a share below
        half of the last digit is a dot.

    Raises:
        ValueError: another shape, negative counts, an unknown way to normalise.
    """
    if normalise not in NORMALISE:
        raise ValueError(f"normalise is {normalise!r}; allowed are {', '.join(NORMALISE)}")
    count = len(classes)
    matrix = array(cm).astype(np.float64)
    if matrix.shape not in ((count, count), (count + 1, count)):
        raise ValueError(
            f"the matrix has shape {matrix.shape}; with {count} classes it is ({count}, {count}) "
            f"or, with a last row for void, ({count + 1}, {count})"
        )
    if (matrix < 0).any():
        raise ValueError("the matrix has negative entries; give pixel counts")
    matrix = matrix[:count]
    total = matrix.sum(axis={"row": 1, "column": 0, "all": None}[normalise], keepdims=True)
    percent = np.full(matrix.shape, np.nan)
    np.divide(100 * matrix, total, out=percent, where=np.broadcast_to(total > 0, matrix.shape))

    side = 1.6 + 0.46 * max(count, 4)
    figure = Figure(figsize=(side + 1.3, side), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(PALE)
    # The root lifts small shares: confusions of a few per cent are what one looks for.
    drawn = axes.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, 0, 100))
    figure.colorbar(drawn, ax=axes, shrink=0.7, ticks=[0, 1, 5, 20, 50, 100], label="%")
    axes.set_xticks(range(count), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), classes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="prediction", ylabel="truth", title=NORMALISE[normalise])
    for row, column in np.argwhere(np.isfinite(percent)):
        value = percent[row, column]
        text = "" if value == 0 else "·" if value < 0.5 else f"{value:.0f}"
        colour = "white" if value > 35 else INK
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    return figure


@styled
def iou_bars(
    iou: ArrayLike,
    classes: Sequence[str],
    *,
    compare: ArrayLike | None = None,
    names: tuple[str, str] = ("IoU", "compared with"),
    palette: Sequence[Colour] | None = None,
    sort: bool = True,
    policy: str = "dataset",
) -> Figure:
    """IoU of each class as bars, with a line at their mean.

    Args:
        iou: shape (K,), 0..1; nan for a class that is absent.
        classes: the K class names.
        compare: a second set, shape (K,), drawn as diamonds on the same lines.
        names: what the two sets are called in the legend.
        palette: K colours for a square beside each name; None leaves them out.
        sort: best class on top; else in the order of the classes.
        policy: the name of the policy that the IoU come from, for the title.

    Returns:
        A figure; absent classes have no bar, are marked so, and are left out of the mean.

    Raises:
        ValueError: lengths that differ, values outside 0..1.
    """
    if palette is not None:
        check_classes(classes, palette)
    values = [array(iou).astype(np.float64)]
    values += [] if compare is None else [array(compare).astype(np.float64)]
    for one in values:
        if one.shape != (len(classes),):
            raise ValueError(f"IoU of shape {one.shape} for {len(classes)} classes; give one each")
        if ((one < 0) | (one > 1)).any():
            raise ValueError("an IoU lies outside 0..1; IoU are fractions here, not per cent")
    lines = list(range(len(classes)))
    order = lines
    if sort:
        order = np.argsort(-np.nan_to_num(values[0], nan=-1.0), kind="stable").tolist()

    figure = Figure(figsize=(7.2, 0.9 + 0.27 * len(classes)), layout="constrained")
    axes = figure.subplots()
    main = values[0][order]
    axes.barh(lines, np.nan_to_num(main), color=BLUE, height=0.66, label=names[0])
    means = [float(np.nanmean(one)) if np.isfinite(one).any() else np.nan for one in values]
    title = f"mean {means[0]:.3f}"
    axes.axvline(means[0], color=BLUE, linewidth=1, linestyle="--")
    if len(values) == 2:
        axes.plot(values[1][order], lines, "D", color=VERMILION, markersize=5, label=names[1])
        axes.axvline(means[1], color=VERMILION, linewidth=1, linestyle="--")
        title = f"mean {means[0]:.3f} ({names[0]}), {means[1]:.3f} ({names[1]})"
        handles = axes.get_legend_handles_labels()
        axes.legend(
            handles[0][::-1], handles[1][::-1], ncols=2,
            loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1,
        )  # fmt: skip
    columns = [(1.015, INK)] if compare is None else [(1.015, BLUE), (1.115, VERMILION)]
    for one, (x, ink) in zip(values, columns, strict=True):
        for line, value in zip(lines, one[order], strict=True):
            text, colour = (f"{value:.3f}", ink) if np.isfinite(value) else ("absent", GREY)
            axes.text(x, line, text, va="center", color=colour, fontsize=8.5)
    axes.set_yticks(lines, [classes[k] for k in order])
    axes.tick_params(axis="y", length=0, pad=4 if palette is None else 16)
    if palette is not None:
        colours = [hexed(palette[k]) for k in order]
        left = np.full(len(order), -0.018)
        axes.scatter(
            left, lines, s=70, marker="s", c=colours, zorder=3,
            edgecolors=GREY, linewidths=0.5, clip_on=False,
        )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(len(classes) - 0.4, -0.6), xlabel=f"IoU (policy: {policy})")
    axes.grid(axis="x")
    axes.set_title(title)
    return figure
