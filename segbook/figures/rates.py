"""Learning rates over the steps of a training, of several schedules beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from segbook import text
from segbook.figures.style import styled


@styled
def learning_rates(rates: Mapping[str, Sequence[float]]) -> Figure:
    """Schedules as lines, the first one broad and pale, so that others on it are seen to match.

    Args:
        rates: by name, the learning rate of each step.

    Raises:
        ValueError: no schedule, or one without a step.
    """
    if not rates or not all(map(len, rates.values())):
        raise ValueError(f"nothing to draw: {dict(rates)}; give each schedule a rate for each step")
    figure = Figure(figsize=(6.2, 2.8), layout="constrained")
    axes = figure.subplots()
    for number, (name, values) in enumerate(rates.items()):
        (line,) = axes.plot(
            values, label=f"{text.figure(name, most=24)}: highest {max(values):.4g}"
        )
        line.set(**({"linewidth": 1.4} if number else {"linewidth": 6, "alpha": 0.35}))
    axes.set(title="learning rate", xlabel="step", ylim=(0, None))
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    axes.legend()
    return figure
