"""A run's forecast of its own cost, from its own first steps, and how far off that was.

The loop of a run has four lines for it:

forecast = Forecast(run)
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
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segbook.runs.folder import FINISHED, all_runs
from segbook.runs.listing import spell_bytes
from segbook.runs.stopping import spell_duration

if TYPE_CHECKING:
    from segbook.training.run import Run
    from segkit.engine import Step

STEPS, FEWEST = 20, 5
"""Steps that a forecast is made from; a run too short for the fewest makes none."""
WARM_UP = 3
"""Steps before those: the first ones choose kernels and fill pools of memory."""
WANTED = 0.15
"""The error that the median forecast should stay below."""


class Forecast:
    """A run's forecast of itself: training, validations and checkpoints of this attempt.

    Steps of an earlier attempt, maybe on another machine, are not counted. Only the present phase
    is measured: a step of another one is taken to cost as much more as evaluating its crop does.

    Args:
        run: about to make its first step, or resumed.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.start = run, run.step
        self.began, self.away, self.cpu = time.perf_counter(), 0.0, 0.0
        left = run.recipe.steps - run.step
        self.wanted = measured_of(left)
        self.steps: list[Step] = []
        self.said: dict[str, Any] = {}
        if left:
            run.folder.update(forecast=None)  # what an earlier attempt foresaw did not happen

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
        if self.said or not self.wanted:
            return
        if step.index - self.start == WARM_UP:
            self.cpu = self.run.cpu_seconds
        elif step.index - self.start > WARM_UP:
            self.steps.append(step)
        if len(self.steps) == self.wanted:
            self._say()

    def _say(self) -> None:
        from segbook.training import costs

        run, recipe = self.run, self.run.recipe
        now = self.start + WARM_UP + self.wanted
        plan = recipe.schedule_of_crops()
        current = max(k for k, (begins, *_) in enumerate(plan) if begins < now)
        sizes = costs.measure_crops(run, [crop for _, crop, _ in plan]) if plan[1:] else [1.0]
        computing = costs.trimmed_mean([step.seconds - step.waited for step in self.steps])
        waited = costs.trimmed_mean([step.waited for step in self.steps])
        measured = costs.measure_costs(
            run,
            [computing * size / sizes[current] for size in sizes],
            waited,
            costs.tenths([step.seconds for step in self.steps]),
        )
        elapsed, rest = self.seconds, sum(measured.remaining(recipe, now).values())
        read = self.wanted * recipe.batch_size * recipe.accumulate
        self.said = {
            "seconds": round(elapsed + rest, 1),
            "low": round(elapsed + rest * measured.fast, 1),
            "high": round(elapsed + rest * measured.slow, 1),
            "from_step": self.start,
            "memory": costs.peak_memory(run, read),
            "disk": measured.disk(recipe),
        }
        run.folder.update(forecast=self.said)
        wall = sum(s.seconds - (s.waited if recipe.workers else 0) for s in self.steps)
        busy = costs.spell_busy(run, run.cpu_seconds - self.cpu, wall)
        run._tell("forecast: " + spell(self.said) + (f"; {busy}" if busy else ""))

    def finish(self) -> None:
        """Record what it took, next to what was forecast."""
        if self.said:
            actual = self.seconds
            error = self.said["seconds"] / actual - 1
            self.said |= {"actual": round(actual, 1), "error": round(error, 4)}
            self.run.folder.update(forecast=self.said)


def measured_of(steps: int) -> int:
    """How many of a training's steps its forecast is made from, after `WARM_UP`; 0: it has none."""
    wanted = min(STEPS, steps // 4)
    return wanted if wanted >= FEWEST else 0


def spell(said: dict[str, Any]) -> str:
    """``about 24 min 10 s (20 min 02 s to 29 min 00 s), 1.9 GB of memory, 130 MB of ...``."""
    low, middle, high = (spell_duration(said[key]) for key in ("low", "seconds", "high"))
    return (
        f"about {middle} ({low} to {high}), {spell_bytes(said['memory'])} of memory, "
        f"{spell_bytes(said['disk'])} of checkpoints"
    )


class Accuracy(NamedTuple):
    """How well a finished run foresaw itself.

    Attributes:
        name: of the run folder.
        seconds: forecast.
        low: lower end of its interval.
        high: upper end.
        actual: what it took.
        error: forecast over actual, less 1.
    """

    name: str
    seconds: float
    low: float
    high: float
    actual: float
    error: float


def accuracies(root: Path | None = None) -> list[Accuracy]:
    """Forecast against truth of every finished run that made a forecast, the oldest first."""
    found = []
    for folder in all_runs(root=root):
        with contextlib.suppress(ValueError, KeyError):  # damaged: `segbook list` says so
            described = folder.read()
            said = described.get("forecast") or {}
            if described.get("status") == FINISHED and "actual" in said:
                numbers = [float(said[key]) for key in Accuracy._fields[1:]]
                found.append(Accuracy(folder.name, *numbers))
    return found
