"""A run over time: loss, learning rate and validation scores from its metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from segbook import text
from segbook.figures.style import BLUE, GREEN, GREY, PURPLE, VERMILION, YELLOW, sized, styled

Series = tuple[NDArray, NDArray]
NAMED = 12
"""So many lines of a panel are named in its legend."""
LARGEST = 1e100
"""Where numbers end that matplotlib can multiply."""


def series(metrics: Iterable[Mapping[str, Any]]) -> dict[str, Series]:
    """Steps and values by name, in the order of the steps.

    A run that was resumed has written some steps twice: the later record counts. A mapping inside a
    record (the parts of the loss) gives one series for each of its names.
    """
    values: dict[str, dict[int, float]] = {}
    for record in metrics:
        if "step" not in record:
            raise ValueError(f"a record has no 'step', only {sorted(record)}; give metrics.jsonl")
        step = record["step"]
        if not isinstance(step, int):
            raise ValueError(f"a record's step is {step!r}, not a whole number; give metrics.jsonl")
        inner = [item for item in record.items() if isinstance(item[1], Mapping)]
        flat = list(record.items()) + [
            (f"{outer}.{name}", value) for outer, parts in inner for name, value in parts.items()
        ]
        for name, value in flat:
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
                # What is too large to draw is not drawn, as what is infinite.
                drawable = not abs(value) >= LARGEST
                values.setdefault(name, {})[step] = float(value) if drawable else math.inf
    return {
        name: (np.array(sorted(by_step)), np.array([by_step[step] for step in sorted(by_step)]))
        for name, by_step in values.items()
    }


def running_mean(values: NDArray, window: int) -> NDArray:
    """The mean of the ``window`` values around each, fewer at the ends; nan values are left out."""
    finite = np.isfinite(values)
    here = slice(window // 2, window // 2 + len(values))
    total = np.convolve(np.where(finite, values, 0.0), np.ones(window))[here]
    count = np.convolve(finite, np.ones(window))[here]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def legend(axes: Axes, **options: Any) -> None:
    """Name the lines of a panel, the first of many."""
    handles, _ = axes.get_legend_handles_labels()
    if rest := len(handles[NAMED:]):
        handles[NAMED:] = [Line2D([], [], linestyle="none", label=f"and {rest} more")]
    axes.legend(handles=handles, **options)


def draw_loss(axes: Axes, found: Mapping[str, Series], names: Sequence[str], smooth: int) -> None:
    """The loss as it was, its running mean over it, and validation losses as points."""
    others = iter([VERMILION, GREEN, PURPLE, YELLOW])
    top = 0.0
    for name in names:
        steps, values = found[name]
        label = text.figure(name.removeprefix("parts."), most=24)
        if name == "loss":
            axes.plot(steps, values, color=BLUE, alpha=0.3, linewidth=0.7)
            mean = running_mean(values, smooth)
            label = f"loss, mean of {smooth} records" if smooth > 1 else "loss"
            axes.plot(steps, mean, color=BLUE, label=label)
        elif name.startswith("parts."):
            mean = running_mean(values, smooth)
            axes.plot(steps, mean, color=next(others, GREY), linewidth=1, label=label)
        else:
            mean = values
            colour = next(others, GREY)
            axes.plot(steps, values, "o--", markersize=3.5, linewidth=1, color=colour, label=label)
        if np.isfinite(mean).any():
            top = max(top, float(np.nanmax(mean)))
    axes.set(title="training loss", xlabel="step", ylim=(0, 1.15 * top if top > 0 else None))
    legend(axes)


def draw_scores(axes: Axes, found: Mapping[str, Series], names: Sequence[str], policy: str) -> None:
    """Validation scores as points, the best mIoU ringed and named."""
    for name in names:
        steps, values = found[name]
        label = text.figure(name, most=24)
        (line,) = axes.plot(steps, values, marker="o", markersize=4, label=label)
        if "miou" in name and np.isfinite(values).any():
            best = int(np.nanargmax(values))
            colour = line.get_color()
            axes.plot(steps[best], values[best], "o", markersize=10, mfc="none", mec=colour)
            line.set_label(f"{label}: best {values[best]:.3f} at step {steps[best]}")
    axes.set(title=f"scores (mIoU policy: {text.figure(policy)})", xlabel="step", ylim=(0, None))
    legend(axes, loc="lower right")


@styled
def curves(
    metrics: Iterable[Mapping[str, Any]], *, smooth: int | None = None, policy: str = "dataset"
) -> Figure:
    """Loss, learning rate and validation scores over the steps of a run.

    Args:
        metrics: the records of ``metrics.jsonl``, each with ``"step"`` and some of ``"loss"``,
            ``"parts"`` (the loss by part), ``"lr"``, ``"val_miou"`` and other ``"val_..."`` or
            ``"test_..."`` scores in 0..1. Names that are not known here are left out.
        smooth: how many records the running mean of the loss is taken over; the raw loss stays
            behind it. 1 smooths nothing; None takes an eighth of the records, at most 20.
        policy: the mIoU policy that the scores were computed with, for the title.

    Returns:
        A figure with one panel for each kind of number that the records have.

    Raises:
        ValueError: no record, a record without a step, nothing to draw, ``smooth`` below 1.
    """
    found = series(metrics)
    if smooth is None:
        smooth = max(1, min(20, len(found.get("loss", ((), ()))[0]) // 8))
    if smooth < 1:
        raise ValueError(f"smooth is {smooth}; give the number of records to average, from 1 up")
    losses = [name for name in found if name.endswith("loss") or name.startswith("parts.")]
    scores = [n for n in found if n.startswith(("val_", "test_")) and not n.endswith("loss")]
    rates = [name for name in found if name == "lr"]
    panels = [name for name, kind in (("loss", losses), ("score", scores), ("lr", rates)) if kind]
    if not panels:
        raise ValueError(
            f"nothing to draw in these records (numbers found: {sorted(found) or 'none'}); "
            "they need 'loss', 'lr' or a score such as 'val_miou'"
        )
    ratios = [2 if name == "lr" else 3 for name in panels]
    figure = sized(1.35 * sum(ratios) + 0.4, 3.2, layout="constrained")
    grid = figure.subplots(1, len(panels), width_ratios=ratios, squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        axes.grid(axis="y")
        if panel == "loss":
            draw_loss(axes, found, losses, smooth)
        elif panel == "score":
            draw_scores(axes, found, scores, policy)
        else:
            axes.plot(*found["lr"], color=GREY)
            axes.set(title="learning rate", xlabel="step", ylim=(0, None))
        axes.set_xlim(left=0)
    return figure
