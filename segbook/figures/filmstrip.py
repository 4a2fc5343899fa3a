"""A training as a strip of pictures: what the network said of one photograph, step after step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from segbook import text
from segbook.figures.history import running_mean
from segbook.figures.overlays import check_pixels, legend_patches, longest, show
from segbook.figures.pictures import Colour, check_classes, label_map, label_picture, picture
from segbook.figures.style import BLUE, GREY, VERMILION, panel, sized, styled
from segkit.metrics import ConfusionMatrix

FRAMES = 6
"""Pictures of predictions in a strip."""


def image_miou(prediction: ArrayLike, truth: ArrayLike, num_classes: int) -> float:
    """The mIoU of one image, (H, W) each, over the classes in either map; nan without labels."""
    counts = ConfusionMatrix(num_classes)
    counts.update(*(torch.from_numpy(np.array(ids, np.int64))[None] for ids in (prediction, truth)))
    return counts.miou()


def spread(steps: Sequence[int], count: int) -> list[int]:
    """Places of so many ascending steps, the first and the last among them, by even ratios."""
    away = np.log(np.maximum(steps, 1))
    wanted = np.linspace(away[0], away[-1], count)
    return np.unique(np.abs(away[:, None] - wanted).argmin(0)).tolist()


@styled
def filmstrip(
    image: ArrayLike,
    truth: ArrayLike,
    predictions: Sequence[ArrayLike],
    steps: Sequence[int],
    classes: Sequence[str],
    palette: Sequence[Colour],
    *,
    losses: Sequence[tuple[int, float]] = (),
    miou: Sequence[tuple[int, float]] = (),
    policy: str = "dataset",
    title: str = "",
) -> Figure:
    """A photograph, its truth, six predictions from first to last, and the curves below them.

    Args:
        image: see `segbook.figures.picture`.
        truth: class ids, shape (H, W), 255 for void.
        predictions: class ids, shape (H, W), after each of the steps.
        steps: ascending; of more than six, six are drawn, the first and the last among them.
        classes: the K class names.
        palette: K colours, RGB in 0..255.
        losses: (step, loss) of the training.
        miou: (step, mIoU in 0..1) of the validation set.
        policy: of ``miou``.
        title: above the strip.

    Returns:
        A figure. Each prediction's title has its own mIoU on this photograph, in per cent, over the
        classes that are in the truth or in the prediction.

    Raises:
        ValueError: no prediction, not one step each, sizes that differ, an id without a class.
    """
    check_classes(classes, palette)
    if not steps or len(predictions) != len(steps):
        raise ValueError(f"{len(predictions)} predictions and {len(steps)} steps; give one each")
    seen = picture(image)
    ids = label_map(truth, len(classes), size=seen.shape[:2], what="truth")
    check_pixels(ids)
    chosen = spread(steps, FRAMES)
    frames = [
        label_map(predictions[i], len(classes), size=seen.shape[:2], what="prediction")
        for i in chosen
    ]
    pictures = [(seen, "photograph"), (label_picture(ids, palette, hatch=True), "truth")]
    for i, frame in zip(chosen, frames, strict=True):
        found = 100 * image_miou(frame, ids, len(classes))
        pictures.append((label_picture(frame, palette), f"step {steps[i]}: mIoU {found:.1f}"))
    patches = legend_patches([ids, *frames], classes, palette)
    of_legend = min(len(patches), max(1, 150 // (longest(patches) + 8)))
    rows = -(-len(pictures) // 4)
    curves = bool(losses or miou)
    each = 9.6 / 4 * panel(ids.shape) + 0.25
    below = 0.22 * -(-len(patches) // of_legend)
    height = rows * each + 0.25 * bool(title) + below + 2.0 * curves
    figure = sized(9.6, height)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    ratios = [each] * rows + [1.9] * curves
    grid = figure.add_gridspec(rows + curves, 4, height_ratios=ratios)
    for place in range(4 * rows):
        axes = figure.add_subplot(grid[divmod(place, 4)])
        if place < len(pictures):
            show(axes, *pictures[place])
        else:
            axes.set_axis_off()
    if curves:
        _draw_curves(figure, grid[rows, :], losses, miou, policy, [steps[i] for i in chosen])
    if title:
        figure.suptitle(text.figure(title), x=0.005, ha="left")
    figure.legend(handles=patches, loc="outside lower center", ncols=of_legend)
    return figure


def _draw_curves(
    figure: Figure,
    place: Any,
    losses: Sequence[tuple[int, float]],
    miou: Sequence[tuple[int, float]],
    policy: str,
    marked: Sequence[int],
) -> None:
    """Loss and mIoU over the steps, on a logarithmic axis; dotted where the pictures are."""
    axes = figure.add_subplot(place)
    for step in marked:
        axes.axvline(step, color=GREY, linewidth=0.8, linestyle=":")
    if losses:
        steps, values = np.array(losses).T
        axes.plot(steps, values, color=BLUE, alpha=0.3, linewidth=0.7)
        width = max(1, min(20, len(values) // 8))
        whole = slice(width // 2, None)  # before, the mean is of what comes later
        axes.plot(steps[whole], running_mean(values, width)[whole], color=BLUE)
        axes.set_ylabel("training loss (bold: mean)", color=BLUE)
    axes.set(xscale="log", xlabel="step", ylim=(0, None))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    if miou:
        other = axes.twinx()
        steps, values = np.array(miou).T
        other.plot(steps, 100 * values, "o-", color=VERMILION, markersize=4)
        other.set(ylim=(0, 110 * max(values.max(), 0.01)))
        other.set_ylabel(f"validation mIoU, %\n({text.figure(policy)})", color=VERMILION)
        other.spines["right"].set_visible(True)
