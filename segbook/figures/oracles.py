"""The oracle table: what each stride can hope to reach, class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from segbook import text
from segbook.figures.pictures import label_map
from segbook.figures.scores import room
from segbook.figures.style import INK, sized, styled
from segkit.metrics import oracle_matrix


@styled
def oracle_table(
    sets: Mapping[str, Sequence[ArrayLike]],
    strides: Sequence[int] = (32, 16, 8, 4),
    *,
    classes: Sequence[str],
) -> Figure:
    """IoU of a perfect network at each stride, for each class, over each data set.

    The numbers are those of `segkit.metrics.oracle_matrix`, which gives them for an assert.

    Args:
        sets: label maps by the name of their data set, each map of shape (H, W), 255 for void.
        strides: in pixels, in the order of the columns.
        classes: the K class names, of all sets.

    Returns:
        A table in %, the mean (policy dataset) on top; a class absent from a set has no number.

    Raises:
        ValueError: no set, no map or no stride, an id without a class, a stride below 1.
    """
    if not sets or not strides or not all(map(len, sets.values())):
        raise ValueError("there is nothing to tabulate; give at least a set, a map and a stride")
    columns = []
    for masks in sets.values():
        maps = [torch.from_numpy(label_map(mask, len(classes))) for mask in masks]
        for stride in strides:
            matrix = oracle_matrix(maps, stride, len(classes))
            columns.append([matrix.miou(), *matrix.iou().tolist()])
    values = 100 * np.array(columns).T
    names = ["mean IoU", *(text.figure(name, most=40) for name in classes)]
    wide, tall = 1.7 + 0.62 * len(columns) + room(names), 0.7 + 0.25 * len(names)
    figure = sized(wide, tall, layout="constrained")
    axes = figure.subplots(1, len(sets), squeeze=False, sharey=True)[0]
    for part, (axis, name) in enumerate(zip(axes, sets, strict=True)):
        shown = values[:, part * len(strides) : (part + 1) * len(strides)]
        axis.imshow(shown, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        axis.axhline(0.5, color="white", linewidth=3)
        axis.set_xticks(range(len(strides)), [f"stride {stride}" for stride in strides])
        axis.set_yticks(range(len(names)), names)
        axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axis.spines[:].set_visible(False)
        axis.set_title(text.figure(name))
        for (row, column), value in np.ndenumerate(shown):
            number = "–" if np.isnan(value) else f"{value:.1f}"
            weight = "bold" if row == 0 else "normal"
            colour = "white" if value > 60 else INK
            axis.text(
                column, row, number, ha="center", va="center", color=colour, weight=weight
            )  # fmt: skip
    return figure
