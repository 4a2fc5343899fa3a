"""What the parts of a training cost on this machine, and from that the time of the whole.

A run is steps, one reading of the data into the cache, validations and checkpoints. Each is timed a
few times and multiplied by how often the recipe asks for it. The interval takes for every part that
the machine stays as fast as in the fastest tenth of the measured steps, or as slow as in their
slowest tenth: neighbours on a machine come and go for hours, so that their effect does not average
out as chance does. It is therefore wider than the error of a mean.
"""

from __future__ import annotations

import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segbook.builders.batches import eval_batches
from segbook.builders.data import build_augmentation
from segbook.builders.model import channels_of
from segbook.recipes.recipe import Recipe
from segbook.runs.folder import RunFolder
from segbook.training.state import TrainingState, save
from segkit import data, engine
from segkit.data.subset import Subset
from segkit.engine import distributed
from segkit.engine.checkpoint import LAST

STEPS, FEWEST = 20, 5
"""Steps that a forecast is made from; a run too short for the fewest makes none."""
WARM_UP = 3
"""Steps before those: the first ones choose kernels and fill pools of memory."""
BUSY = 0.85
"""Share of the wall time that a loop computes on an idle machine; below it others get the rest."""


@dataclass(frozen=True)
class Costs:
    """What was measured; times in seconds.

    Attributes:
        steps: a step of each phase, its images being in the cache.
        reading: reading all images of training for the first time, those cached already left out.
        first_validation: whose images are read.
        validation: each later one.
        save: writing a checkpoint.
        save_best: writing the best weights.
        checkpoint_bytes: of one checkpoint.
        best_bytes: of the best weights.
        fast: the fastest tenth of the steps as a factor of their mean.
        slow: the slowest tenth.
    """

    steps: tuple[float, ...]
    reading: float
    first_validation: float
    validation: float
    save: float
    save_best: float
    checkpoint_bytes: int
    best_bytes: int
    fast: float
    slow: float

    def remaining(self, recipe: Recipe, start: int) -> dict[str, float]:
        """Seconds of what a run has still to do after ``start`` steps, part by part."""
        begins = [begin for begin, *_ in recipe.schedule_of_crops()]
        ends = [*begins[1:], recipe.steps]
        counts = [max(0, e - max(b, start)) for b, e in zip(begins, ends, strict=True)]
        validations = times(recipe.evaluate_every or recipe.steps, start, recipe.steps)
        saves = times(recipe.save_every, start, recipe.steps)
        return {
            "training": sum(n * cost for n, cost in zip(counts, self.steps, strict=True)),
            "reading the data": self.reading if start < recipe.steps else 0.0,
            "validation": min(validations, 1) * (self.first_validation + self.save_best)
            + max(validations - 1, 0) * (self.validation + self.save_best),
            "checkpoints": saves * self.save,
        }

    @property
    def disk(self) -> int:
        """Bytes of the checkpoints that a run leaves: last, previous and best."""
        return 2 * self.checkpoint_bytes + self.best_bytes


def measured_of(steps: int) -> int:
    """How many of a training's steps its forecast is made from, after `WARM_UP`; 0: it has none."""
    wanted = min(STEPS, steps // 4)
    return wanted if wanted >= FEWEST else 0


def times(every: int, start: int, steps: int) -> int:
    """How often something happens that happens every so many steps and after the last."""
    return steps // every - start // every + (steps % every != 0) * (start < steps)


def trimmed_mean(values: Sequence[float]) -> float:
    """The mean without the fastest and the slowest tenth: one hiccup says little of the rest."""
    cut = len(values) // 10
    return statistics.fmean(sorted(values)[cut : len(values) - cut])


def tenths(seconds: Sequence[float]) -> tuple[float, float]:
    """The fastest and the slowest tenth as factors of the trimmed mean."""
    fast, slow = np.quantile(seconds, [0.1, 0.9]) / trimmed_mean(seconds)
    return min(float(fast), 1.0), max(float(slow), 1.0)


def measure_costs(state: TrainingState, folder: RunFolder, steps: Sequence[engine.Step]) -> Costs:
    """Measure what is not a step: reading, loading, validating a few images, one real checkpoint.

    The random number generators and the networks are left as they were.

    Args:
        state: of the training.
        folder: where its checkpoint is written.
        steps: of the present phase; those of another one are taken to cost as much more as
            evaluating its crop does.
    """
    recipe, plan = state.recipe, state.recipe.schedule_of_crops()
    current = max(k for k, (begins, *_) in enumerate(plan) if begins < steps[-1].index)
    sizes = measure_crops(state, [crop for _, crop, _ in plan]) if plan[1:] else [1.0]
    computing = trimmed_mean([step.seconds - step.waited for step in steps])
    waited = trimmed_mean([step.waited for step in steps])
    loads = recipe.batch_size * recipe.accumulate // distributed.world_size()
    passes = [_load_twice(state, crop, scale) for _, crop, scale in plan]
    reading = max(passes[0][0] - passes[0][1], 0.0)
    # Loader processes load while a step computes: what is waited for is what they cost.
    loading = [waited if recipe.workers else cached * loads for _, cached in passes]
    start, fresh, cached = measure_validation(state)
    began = time.perf_counter()
    save(state, folder)
    distributed.barrier()  # the first process wrote it
    saving = time.perf_counter() - began
    size = (folder.checkpoints / LAST).stat().st_size
    best = sum(t.numel() * t.element_size() for t in state.averaged.state_dict().values())
    images = len(state.sets["val"])
    fast, slow = tenths([step.seconds for step in steps])
    return Costs(
        steps=tuple(
            computing * crop / sizes[current] + load
            for crop, load in zip(sizes, loading, strict=True)
        ),
        reading=0.0 if recipe.workers else reading * len(state.sets["train"]),
        first_validation=start + images * fresh,
        validation=start + images * cached,
        save=saving,
        save_best=saving * best / size,
        checkpoint_bytes=size,
        best_bytes=best,
        fast=fast,
        slow=slow,
    )


def _load_twice(
    state: TrainingState, crop: tuple[int, ...], scale: tuple[float, float]
) -> tuple[float, float]:
    """Seconds of loading an image for a phase, where it may have to be read, and once more."""
    recipe = state.recipe
    augment = build_augmentation(recipe, crop, scale)
    count = max(1, 8 // recipe.batch_size)
    subset = Subset(state.sets["train"].with_transform(augment), count * recipe.batch_size)

    def load() -> float:
        stream = data.batches(
            subset, batch_size=recipe.batch_size, seed=recipe.seed, stop=count,
            bad_samples=recipe.bad_samples, on_bad=lambda sample: None,
        )  # fmt: skip
        return _pass(stream) / (count * recipe.batch_size)

    return load(), load()


def measure_validation(state: TrainingState) -> tuple[float, float, float]:
    """Evaluate a few whole images, at their size and in the recipe's batches.

    Returns:
        Seconds until loader processes have started, of an image that is read for the first time,
        and of one that is in the cache. Loader processes read every image every time.
    """
    recipe = state.recipe
    batch = recipe.eval_batch_size or recipe.batch_size
    subset = Subset(state.sets["val"], max(2 * batch, 4))
    reading = 0.0
    if not recipe.workers:
        fresh, cached = (_pass(subset.raw(index) for index in range(len(subset))) for _ in range(2))
        reading = max(fresh - cached, 0.0) / len(subset)

    def once() -> tuple[float, float]:
        starts: list[float] = []
        began = time.perf_counter()
        ended = _evaluate(state, _stamped(eval_batches(recipe, subset), starts))
        start = starts[0] - began if recipe.workers and starts else 0.0
        return start, (ended - began - start) / len(subset)

    once()  # warms up
    start, each = once()
    return start, each + reading, each


def measure_crops(state: TrainingState, crops: Sequence[tuple[int, ...]]) -> list[float]:
    """Seconds of evaluating a batch of each size: whole steps cost nearly in these ratios."""
    images = state.recipe.batch_size // distributed.world_size()
    channels = channels_of(state.recipe)

    def once(crop: tuple[int, ...]) -> float:
        batch = torch.zeros(images, channels, *crop), torch.zeros(images, *crop, dtype=torch.long)
        began = time.perf_counter()
        return _evaluate(state, [batch]) - began

    rounds = [[once(crop) for crop in crops] for _ in range(4)][1:]  # the first warms up
    return [statistics.median(seconds) for seconds in zip(*rounds, strict=True)]


def _evaluate(state: TrainingState, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Evaluate batches, and the time when that was done."""
    engine.evaluate(
        state.averaged,
        batches,
        num_classes=state.num_classes,
        precision=state.settings.precision,
        channels_last=state.settings.channels_last,
        window=state.recipe.windows,
    )
    if state.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _stamped(batches: Iterable[Any], stamps: list[float]) -> Iterator[Any]:
    for batch in batches:
        stamps.append(time.perf_counter())
        yield batch


def _pass(items: Iterable[Any]) -> float:
    began = time.perf_counter()
    for _ in items:
        pass
    return time.perf_counter() - began


def peak_memory(state: TrainingState, images_read: int) -> int:
    """Bytes that the run will take at most, on the GPU where it trains there.

    What the process took so far, with the training images that its cache does not hold yet.
    """
    if state.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    missing = 0
    if not state.recipe.workers and getattr(state.sets["train"], "cache", False):
        for split, subset in state.sets.items():
            pair = _pair_bytes(subset)
            read = images_read if split == "train" else 0
            missing += pair * max(0, len(subset) - read)
    return high_water() + missing


def _pair_bytes(subset: Any) -> int:
    """Bytes of the first pair that can be read."""
    for index in range(len(subset)):
        with contextlib.suppress(ValueError, OSError):  # the loader says what it leaves out
            return sum(part.nbytes for part in subset.raw(index))
    return 0


def high_water() -> int:
    """The most bytes of memory that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's figure is inherited from the process that started this one
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def busy_remark(state: TrainingState, cpu_seconds: float, seconds: float) -> str:
    """A word where steps got less of a processor than on an idle machine; else empty.

    Args:
        state: whose steps; one that trains on a GPU says nothing of the processor.
        cpu_seconds: processor time of the steps.
        seconds: wall time of the steps, without that in which loader processes were waited for.
    """
    share = cpu_seconds / seconds
    if share >= BUSY or state.device.type == "cuda":
        return ""
    return f"the machine or its disk is busy: steps computed for {100 * share:.0f} % of their time"
