"""What the benchmarks share: functions timed in turn, and the ratios of their times.

In turn, because a machine changes while it is measured, and a ratio of neighbours in time does not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Ratio:
    """One line of the table.

    Attributes:
        name: what is compared.
        ours: CPU seconds of ours, median.
        theirs: CPU seconds of the other, median.
        ratio: theirs / ours, median over the pairs: how many times faster ours is.
        wanted: smallest ratio that we promise.
        pairs: how many pairs were timed.
    """

    name: str
    ours: float
    theirs: float
    ratio: float
    wanted: float
    pairs: int

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        return self.ratio >= self.wanted

    def __str__(self) -> str:
        mark = "ok" if self.kept else "MISSED"
        return (
            f"{self.name:58s} {1e3 * self.ours:9.1f} {1e3 * self.theirs:9.1f} "
            f"{self.ratio:7.2f}x  >= {self.wanted:4.2f}x  {mark}"
        )


def compare(
    name: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    *,
    wanted: float,
    pairs: int,
    clock: Callable[[], float] = time.process_time,
) -> Ratio:
    """Time two functions in turn, after one warm-up each."""
    ours(), theirs()
    seconds: list[tuple[float, float]] = []
    for _ in range(pairs):
        began = clock()
        ours()
        middle = clock()
        theirs()
        seconds.append((middle - began, clock() - middle))
    return Ratio(
        name,
        statistics.median(a for a, _ in seconds),
        statistics.median(b for _, b in seconds),
        statistics.median(b / a for a, b in seconds),
        wanted,
        pairs,
    )


class Sample(NamedTuple):
    """What one call took.

    Attributes:
        wall: seconds that passed; on a GPU those between two events on it.
        cpu: seconds of all threads of this process; None on a GPU.
    """

    wall: float
    cpu: float | None


class Timing(NamedTuple):
    """What several calls took.

    Attributes:
        wall: seconds, median.
        p5: the 5th percentile of the wall seconds.
        p95: the 95th percentile of the wall seconds.
        cpu: seconds of all threads, median; None on a GPU.
        runs: how many calls.
        busy: whether the threads got less than nine tenths of the processors they asked for.
    """

    wall: float
    p5: float
    p95: float
    cpu: float | None
    runs: int
    busy: bool


def sampler(device: str) -> Callable[[Callable[[], Any]], Sample]:
    """What times one call on a device: "cpu" or "cuda"."""
    if device != "cuda":

        def on_cpu(work: Callable[[], Any]) -> Sample:
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            return Sample(time.perf_counter() - wall, time.process_time() - cpu)

        return on_cpu

    import torch

    def on_gpu(work: Callable[[], Any]) -> Sample:
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        began.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        return Sample(began.elapsed_time(ended) / 1e3, None)

    return on_gpu


def warm_up(work: Callable[[], Any], sample: Callable[..., Sample], *, most: float = 10.0) -> int:
    """Call until a call is no longer faster than every call before it, by a twentieth or more.

    Returns how many calls that took: at least three and half a second, unless `most` seconds are
    over before.
    """
    seconds: list[float] = []
    while sum(seconds) < most:
        seconds.append(sample(work).wall)
        warm = len(seconds) >= 3 and sum(seconds) >= 0.5
        if warm and seconds[-1] > 0.95 * min(seconds[:-1]):
            break
    return len(seconds)


def in_turn(
    works: Mapping[str, Callable[[], Any]],
    *,
    runs: int,
    sample: Callable[[Callable[[], Any]], Sample],
    progress: Callable[[], Any] = lambda: None,
) -> dict[str, list[Sample]]:
    """Warm all functions up, then call them A B C A B C.

    Args:
        works: the functions, by name.
        runs: rounds.
        sample: times one call (`sampler`).
        progress: is called after each warm-up and each call: (runs + 1) * len(works) times.

    Returns:
        ``runs`` samples of each function; those of a round are neighbours in time.
    """
    for work in works.values():
        warm_up(work, sample)
        progress()
    samples: dict[str, list[Sample]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            samples[name].append(sample(work))
            progress()
    return samples


def summarise(samples: Sequence[Sample], *, threads: int) -> Timing:
    """Median and spread; busy where CPU seconds < 0.9 x wall seconds x threads."""
    walls = sorted(sample.wall for sample in samples)
    cpus = [sample.cpu for sample in samples if sample.cpu is not None]
    last = len(walls) - 1
    return Timing(
        statistics.median(walls),
        walls[round(0.05 * last)],
        walls[round(0.95 * last)],
        statistics.median(cpus) if cpus else None,
        len(walls),
        bool(cpus) and sum(cpus) < 0.9 * sum(walls) * threads,
    )


def paired_ratio(slow: Sequence[Sample], fast: Sequence[Sample]) -> tuple[float, float | None]:
    """How many times faster the second is: median over the pairs of the wall, and of the CPU."""
    pairs = list(zip(slow, fast, strict=True))
    cpus = [a.cpu / b.cpu for a, b in pairs if a.cpu is not None and b.cpu]
    wall = statistics.median(a.wall / b.wall for a, b in pairs)
    return wall, statistics.median(cpus) if cpus else None
