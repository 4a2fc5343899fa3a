"""How the benchmarks time: one after the other in turn, so that neighbours disturb all alike.

Ratios are taken within a round, in which each has been called once: a machine changes while it is
measured, and a ratio of neighbours in time does not.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple, TypeVar

Work = Callable[[], Any]
Key = TypeVar("Key", bound=Hashable)
Clock = Literal["wall", "cpu"]
Row = dict[str, Any]


class Sample(NamedTuple):
    """What one call took.

    Attributes:
        wall: seconds that passed; on a GPU those between two events on it.
        cpu: seconds of all threads, and of processes that were waited for; None on a GPU.
    """

    wall: float
    cpu: float | None

    def seconds(self, clock: Clock) -> float:
        """Those of a clock; of the wall where there is no other."""
        return self.wall if clock == "wall" or self.cpu is None else self.cpu


class Spread(NamedTuple):
    """How many times faster one way is than another.

    Attributes:
        median: over the rounds.
        low: a quarter of the rounds are below it.
        high: a quarter of the rounds are above it.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:5.2f}x ({self.low:.2f}-{self.high:.2f})"


def on_cpu(work: Work) -> Sample:
    """Time one call."""
    if isinstance(work, Apart):
        return work.call()[1]
    wall, cpu = time.perf_counter(), _cpu_seconds()
    work()
    return Sample(time.perf_counter() - wall, _cpu_seconds() - cpu)


def on_gpu(work: Work) -> Sample:
    """Time what one call does on the current GPU."""
    import torch

    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    began.record()
    work()
    ended.record()
    torch.cuda.synchronize()
    return Sample(began.elapsed_time(ended) / 1e3, None)


def _cpu_seconds() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def take_turns(
    works: Mapping[Key, Work], rounds: int, *, timer: Callable[[Work], Sample] = on_cpu
) -> dict[Key, list[Sample]]:
    """Warm each up, by two calls or more until half a second is over; then call them in turn.

    Args:
        works: functions by name.
        rounds: how many calls of each are timed.
        timer: times one call.

    Returns:
        ``rounds`` samples of each; those of a round are neighbours in time.
    """
    from tqdm import tqdm

    for work in works.values():
        seconds = [timer(work).wall, timer(work).wall]
        while sum(seconds) < 0.5:
            seconds.append(timer(work).wall)
    samples: dict[Key, list[Sample]] = {name: [] for name in works}
    quiet = not sys.stderr.isatty()
    for number in tqdm(range(rounds), unit="round", leave=False, disable=quiet):
        for name in list(works)[:: 1 if number % 2 == 0 else -1]:  # nobody is always last
            samples[name].append(timer(works[name]))
    return samples


def median(samples: Sequence[Sample], clock: Clock) -> float:
    """The median of the seconds."""
    return statistics.median(sample.seconds(clock) for sample in samples)


def ratio(slow: Sequence[Sample], fast: Sequence[Sample], clock: Clock) -> Spread:
    """How many times faster the second is, round by round."""
    ratios = [a.seconds(clock) / b.seconds(clock) for a, b in zip(slow, fast, strict=True)]
    ratios *= 2 if len(ratios) == 1 else 1  # quantiles() wants two numbers or more
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Spread(middle, low, high)


def compared(what: str, ours: Sequence[Sample], base: Sequence[Sample], clock: Clock) -> Row:
    """A row: median seconds of "ours" and of the "base", and the "ratio", a `Spread` as a dict."""
    return {
        "what": what,
        "ours": median(ours, clock),
        "base": median(base, clock),
        "ratio": ratio(base, ours, clock)._asdict(),
    }


class Apart:
    """A function in a process of its own, as a user's script would run it.

    What one way does to its process, such as how it handles memory, is then its own affair.

    Args:
        build: makes the function, in the new process. It is forked: torch must not have computed
            in this one with several threads.
    """

    def __init__(self, build: Callable[[], Work]) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(build, other_end, self._pipe), daemon=True
        )
        self._process.start()
        other_end.close()

    def __call__(self) -> Any:
        """Call the function there, and return what it returns."""
        return self.call()[0]

    def call(self) -> tuple[Any, Sample]:
        """Call the function there: what it returns, and what that took.

        Raises:
            ValueError: the process has failed, and why.
        """
        try:
            self._pipe.send(True)
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            answer = f"its process has ended with exit code {self._process.exitcode}"
        if isinstance(answer, str):
            raise ValueError(f"a step cannot be timed: {answer}")
        return answer

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):  # it may have ended by itself
            self._pipe.send(False)
        self._pipe.close()
        self._process.join()


def _serve(build: Callable[[], Work], pipe: Connection, parents_end: Connection) -> None:
    """Call the function at each True that comes through the pipe, until the other end closes."""
    parents_end.close()  # inherited: while it is open here, nobody notices that the parent is gone
    work, results = None, []
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while pipe.recv():
            try:
                work = work or build()
                sample = on_cpu(lambda work=work: results.append(work()))
                pipe.send((results.pop(), sample))
            except Exception as error:
                pipe.send(f"{type(error).__name__}: {error}")
