"""A run's forecast of its own cost, from its own first steps, and how far off that was.

The loop of a run has four lines for it:

forecast = Forecast(state, folder, log)
for step in stream:
    ...
    forecast.add(step)               # says its line once
    with forecast.elsewhere():
        yield step                   # what is done there is not the training's time
forecast.finish()
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from segbook.runs.folder import RunFolder
from segbook.runs.listing import format_bytes
from segbook.runs.stopping import format_duration
from segbook.training import costs
from segbook.training.costs import WARM_UP, measured_of
from segbook.training.state import TrainingState
from segkit.engine import Step


class Forecast:
    """A run's forecast of itself: training, validations and checkpoints of this attempt.

    Steps of an earlier attempt, maybe on another machine, are not counted.

    Args:
        state: about to make its first step, or resumed.
        folder: of the run.
        show: is told the forecast, in a line.
    """

    def __init__(
        self, state: TrainingState, folder: RunFolder, show: Callable[[str], None]
    ) -> None:
        self.state, self.folder, self.show, self.start = state, folder, show, state.step
        self.began, self.away, self.cpu = time.perf_counter(), 0.0, 0.0
        left = state.recipe.steps - state.step
        self.wanted = measured_of(left)
        self.steps: list[Step] = []
        self.forecast: dict[str, Any] = {}
        self.parts: dict[str, float] = {}
        self.busy = ""
        if left:
            folder.update(forecast=None)  # what an earlier attempt foresaw did not happen

    @property
    def seconds(self) -> float:
        """Wall time of this attempt, without what was done elsewhere."""
        return time.perf_counter() - self.began - self.away

    @contextlib.contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Leave out the time that passes in this context."""
        left = time.perf_counter()
        try:
            yield
        finally:
            self.away += time.perf_counter() - left

    def add(self, step: Step) -> None:
        """Take note of one of the run's steps; the last one that is needed makes the forecast."""
        if self.forecast or not self.wanted:
            return
        if step.index - self.start == WARM_UP:
            self.cpu = self.state.cpu_seconds
        elif step.index - self.start > WARM_UP:
            self.steps.append(step)
        if len(self.steps) == self.wanted:
            self._make()

    def _make(self) -> None:
        state, recipe = self.state, self.state.recipe
        now = self.start + WARM_UP + self.wanted
        measured = costs.measure_costs(state, self.folder, self.steps)
        elapsed, self.parts = self.seconds, measured.remaining(recipe, now)
        rest = sum(self.parts.values())
        read = self.wanted * recipe.batch_size * recipe.accumulate
        self.forecast = {
            "seconds": round(elapsed + rest, 1),
            "low": round(elapsed + rest * measured.fast, 1),
            "high": round(elapsed + rest * measured.slow, 1),
            "from_step": self.start,
            "memory": costs.peak_memory(state, read),
            "disk": measured.disk,
        }
        self.folder.update(forecast=self.forecast)
        wall = sum(s.seconds - (s.waited if recipe.workers else 0) for s in self.steps)
        self.busy = costs.busy_remark(state, state.cpu_seconds - self.cpu, wall)
        self.show(
            f"forecast: {format_forecast(self.forecast)}" + f"; {self.busy}" * bool(self.busy)
        )

    def finish(self) -> None:
        """Record what it took, next to what was forecast."""
        if self.forecast:
            actual = self.seconds
            error = self.forecast["seconds"] / actual - 1
            self.forecast |= {"actual": round(actual, 1), "error": round(error, 4)}
            self.folder.update(forecast=self.forecast)


def format_forecast(forecast: dict[str, Any]) -> str:
    """``about 24 min 10 s (20 min 02 s to 29 min 00 s), 1.9 GB of memory, 130 MB of ...``."""
    low, middle, high = (format_duration(forecast[key]) for key in ("low", "seconds", "high"))
    return (
        f"about {middle} ({low} to {high}), {format_bytes(forecast['memory'])} of memory, "
        f"{format_bytes(forecast['disk'])} of checkpoints"
    )
