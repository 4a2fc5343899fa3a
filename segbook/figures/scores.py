"""Scores by class: the confusion matrix and IoU bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from segbook import text
from segbook.figures.pictures import Colour, array, check_classes, hexed
from segbook.figures.style import BLUE, GREY, INK, PALE, VERMILION, sized, styled

NORMALISE = {
    "row": "share of each true class, % (a row sums to 100)",
    "column": "share of each predicted class, % (a column sums to 100)",
    "all": "share of all labelled pixels, %",
}
"""Ways to normalise a confusion matrix, and what a cell then says."""


def room(names: Sequence[str]) -> float:
    """Inches by which a figure grows for names that are longer than most."""
    return 0.075 * max(0, max(map(len, names)) - 20)


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
        ValueError: no class, another shape, negative counts, an unknown way to normalise.
    """
    if normalise not in NORMALISE:
        raise ValueError(f"normalise is {normalise!r}; allowed are {', '.join(NORMALISE)}")
    if not (count := len(classes)):
        raise ValueError("there is no class to draw; give at least one")
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

    # Of many classes the matrix is a picture: its cells shrink, and at last lose their numbers.
    cell = min(0.46, 20 / count)
    letters = min(8.5, 72 * cell)
    names = [text.figure(name, most=40) for name in classes]
    side = 1.6 + cell * max(count, 4) + room(names)
    figure = sized(side + 1.3, side, layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(PALE)
    # The root lifts small shares: confusions of a few per cent are what one looks for.
    drawn = axes.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, 0, 100))
    figure.colorbar(drawn, ax=axes, shrink=0.7, ticks=[0, 1, 5, 20, 50, 100], label="%")
    axes.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), names)
    axes.tick_params(length=0, labelsize=letters)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="prediction", ylabel="truth", title=NORMALISE[normalise])
    for row, column in np.argwhere(np.isfinite(percent)) if cell >= 0.3 else ():
        value = percent[row, column]
        number = "" if value == 0 else "·" if value < 0.5 else f"{value:.0f}"
        colour = "white" if value > 35 else INK
        axes.text(
            column, row, number, ha="center", va="center", color=colour, fontsize=min(8, 20 * cell)
        )
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
        ValueError: no class, lengths that differ, values outside 0..1.
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
    if not classes:
        raise ValueError("there is no class to draw; give at least one")
    first, second = (text.figure(name, most=40) for name in names)
    lines = list(range(len(classes)))
    order = lines
    if sort:
        order = np.argsort(-np.nan_to_num(values[0], nan=-1.0), kind="stable").tolist()

    labels = [text.figure(classes[k], most=40) for k in order]
    wide, tall = 7.2 + room([*labels, first + second]), 0.9 + 0.27 * len(classes)
    figure = sized(wide, tall, layout="constrained")
    axes = figure.subplots()
    main = values[0][order]
    bars = axes.barh(lines, np.nan_to_num(main), color=BLUE, height=0.66)
    means = [float(np.nanmean(one)) if np.isfinite(one).any() else np.nan for one in values]
    axes.axvline(means[0], color=BLUE, linewidth=1, linestyle="--")
    if len(values) == 2:
        (points,) = axes.plot(values[1][order], lines, "D", color=VERMILION, markersize=5)
        axes.axvline(means[1], color=VERMILION, linewidth=1, linestyle="--")
        named = [
            f"{one}: mean {100 * mean:.1f}"
            for one, mean in zip((first, second), means, strict=True)
        ]
        axes.legend(
            [bars, points], named, ncols=2,
            loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1,
        )  # fmt: skip
    else:
        axes.set_title(f"mean {100 * means[0]:.1f}")
    columns = [(1.015, INK)] if compare is None else [(1.015, BLUE), (1.115, VERMILION)]
    for one, (x, ink) in zip(values, columns, strict=True):
        for line, value in zip(lines, one[order], strict=True):
            score, colour = (f"{100 * value:.1f}", ink) if np.isfinite(value) else ("absent", GREY)
            axes.text(x, line, score, va="center", color=colour, fontsize=8.5)
    axes.set_yticks(lines, labels)
    axes.tick_params(axis="y", length=0, pad=4 if palette is None else 16)
    if palette is not None:
        colours = [hexed(palette[k]) for k in order]
        left = np.full(len(order), -0.018)
        axes.scatter(
            left, lines, s=70, marker="s", c=colours, zorder=3,
            edgecolors=GREY, linewidths=0.5, clip_on=False,
        )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(len(classes) - 0.4, -0.6))
    axes.set_xlabel(f"IoU, % (policy: {text.figure(policy)})")
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}")
    axes.grid(axis="x")
    return figure
