"""`segbook forecast RECIPE`: a recipe's cost, measured in a temporary folder before it is paid."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from segbook.builders.batches import train_batches
from segbook.builders.loss import build_loss
from segbook.recipes.recipe import Recipe
from segbook.runs.folder import RunFolder, runs_root
from segbook.training import costs
from segbook.training.costs import FEWEST, STEPS, WARM_UP
from segbook.training.state import TrainingState, build
from segkit import engine

HIGH_LOAD = 0.5
"""Processes a core that want to run, from which a machine counts as busy."""


@dataclass(frozen=True)
class Phase:
    """The steps of one phase; times in seconds.

    Attributes:
        crop: (height, width) in pixels.
        seconds: a step's wall time with its data, median.
        low: the fastest tenth.
        high: the slowest tenth.
        cpu_seconds: a step's processor time, mean.
        waiting: share of the step that went into waiting for data, images being read meanwhile.
        same_batch: a step's wall time with the same batch again, median.
    """

    crop: tuple[int, int]
    seconds: float
    low: float
    high: float
    cpu_seconds: float
    waiting: float
    same_batch: float


@dataclass(frozen=True)
class Report:
    """The cost of a recipe on this machine.

    Attributes:
        phases: what was measured of the steps.
        parts: seconds by part of the run, from building it to its test.
        seconds: of all.
        low: if the machine stays as fast as in the fastest tenth of the steps.
        high: if it stays as slow as in the slowest tenth.
        memory: bytes of this process, or of the GPU, at most.
        disk: bytes of the checkpoints it leaves.
        writing: bytes more while one is written.
        busy: a word where others use the machine, else empty.
    """

    phases: tuple[Phase, ...]
    parts: dict[str, float]
    seconds: float
    low: float
    high: float
    memory: int
    disk: int
    writing: int
    busy: str


def measure(
    recipe: Recipe, *, steps: int = STEPS, begin: Callable[[str], None] = lambda text: None
) -> Report:
    """Measure a recipe on this machine, in a temporary folder; nothing is left behind.

    Memory is the most that this process ever had: a fresh one gives the recipe's own.

    Args:
        recipe: what would be trained.
        steps: steps measured in each phase with its loader, and again on one batch.
        begin: called with what is measured next.

    Raises:
        ValueError: fewer than 5 steps, or a recipe that cannot be built.
    """
    if steps < FEWEST:
        raise ValueError(f"steps={steps}: a forecast takes {FEWEST} steps or more")
    busy = _load_remark()
    root = runs_root()  # where the checkpoints would go: that disk's speed counts
    with tempfile.TemporaryDirectory(
        prefix=".forecast-", dir=root if root.is_dir() else None
    ) as scratch:
        begin("building")
        began = time.perf_counter()
        folder = RunFolder.create(recipe.name, root=scratch, kind="train")
        state = build(recipe, folder)
        loss = build_loss(recipe, state.model, state.class_counts())
        building = time.perf_counter() - began
        phases, computing, ratios, waited = [], [], [], 0.0
        for _, crop, scale in recipe.schedule_of_crops():
            begin(f"steps of {crop[0]}x{crop[1]}")
            phase, seen = _measure_phase(state, loss, crop, scale, steps)
            phases.append(phase)
            computing.append(costs.trimmed_mean([s.seconds - s.waited for s in seen]))
            waited = max(waited, costs.trimmed_mean([s.waited for s in seen]))
            mean = costs.trimmed_mean([s.seconds for s in seen])
            ratios += [s.seconds / mean for s in seen]
        begin("validation and a checkpoint")
        measured = costs.measure_costs(state, folder, computing, waited, costs.tenths(ratios))
        parts = {"building": building, **measured.remaining(recipe, 0)}
        if "test" in state.sets:
            start, fresh, _ = costs.measure_evaluation(state, "test")
            parts["test"] = start + fresh * len(state.sets["test"])
        read = len(phases) * (WARM_UP + steps) * recipe.batch_size * recipe.accumulate
        memory = costs.peak_memory(state, read)
        cpu = sum(phase.cpu_seconds for phase in phases)
        wall = sum(p.seconds * (1 - p.waiting * (recipe.workers > 0)) for p in phases)
        busy = costs.busy_remark(state, cpu, wall) or busy
    total = sum(parts.values())
    return Report(
        phases=tuple(phases),
        parts=parts,
        seconds=total,
        low=total * measured.fast,
        high=total * measured.slow,
        memory=memory,
        disk=measured.disk(recipe),
        writing=measured.checkpoint_bytes,
        busy=busy,
    )


def _measure_phase(
    state: TrainingState,
    loss: Callable[..., Any],
    crop: tuple[int, int],
    scale: tuple[float, float],
    steps: int,
) -> tuple[Phase, list[engine.Step]]:
    recipe = state.recipe
    phase_alone = dataclasses.replace(recipe, phases=(), crop=crop, scale=scale)
    stream = train_batches(phase_alone, state.sets["train"])
    newest: list[tuple[Tensor, Tensor]] = []

    def remembered() -> Iterator[tuple[Tensor, Tensor]]:
        with contextlib.closing(stream):
            for batch in stream:
                newest[:] = [batch]
                yield batch

    seen, cpu = _time_steps(state, loss, remembered(), steps)
    same, _ = _time_steps(state, loss, itertools.repeat(newest[0]), steps)
    seconds = [step.seconds for step in seen]
    median = statistics.median(seconds)
    fast, slow = costs.tenths(seconds)
    mean = costs.trimmed_mean(seconds)
    phase = Phase(
        crop=crop,
        seconds=median,
        low=fast * mean,
        high=slow * mean,
        cpu_seconds=cpu / steps,
        waiting=sum(step.waited for step in seen) / sum(seconds),
        same_batch=statistics.median(step.seconds for step in same),
    )
    return phase, seen


def _time_steps(
    state: TrainingState, loss: Callable[..., Any], batches: Iterator, steps: int
) -> tuple[list[engine.Step], float]:
    """Make some steps after a warm-up; their CPU seconds, too."""
    stream = engine.train(
        state.model,
        batches,
        loss=loss,
        optimizer=state.optimizer,
        schedule=lambda index: 1e-3,  # a step takes as long, and no loss can diverge
        steps=WARM_UP + steps,
        accumulate=state.recipe.accumulate,
        clip=state.recipe.clip,
        ema=state.ema,
        precision=state.settings.precision,
        scaler=state.scaler,
        channels_last=state.settings.channels_last,
    )
    for _ in range(WARM_UP):
        next(stream)
    began = time.process_time()
    seen = list(stream)
    return seen, time.process_time() - began


def _load_remark() -> str:
    """A word where the machine was busy in the minute before; else empty."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return f"the machine was busy before: load {load:.1f} a core" if load > HIGH_LOAD else ""
