"""Steps timed in turn, so that a neighbour on the machine disturbs all alike.

Ratios are taken within a round, in which each has made one step.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

Stepper = Callable[[], float]
"""Makes one training step and returns its loss."""
WARM_UP = 2
"""Steps of each that are not counted."""


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


class Turns(dict[str, list[float]]):
    """Seconds by name, one number a round."""

    def seconds(self, name: str) -> float:
        """The median of a name."""
        return statistics.median(self[name])

    def ratio(self, name: str, base: str) -> Spread:
        """How many times faster ``name`` is than ``base``, round by round."""
        ratios = [other / own for own, other in zip(self[name], self[base], strict=True)]
        if len(ratios) == 1:
            return Spread(ratios[0], ratios[0], ratios[0])
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return Spread(median, low, high)


class Apart:
    """A stepper in a process of its own, as a user's script would run it.

    What one way does to its process, such as how it handles memory, is then its own affair.

    Args:
        build: makes the stepper, in the new process. It is forked: torch must not have computed in
            this one with several threads.
    """

    def __init__(self, build: Callable[[], Stepper]) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(build, other_end, self._pipe), daemon=True
        )
        self._process.start()
        other_end.close()

    def __call__(self) -> float:
        """Make a step; its loss."""
        return self.timed(time.process_time)[0]

    def timed(self, clock: Callable[[], float]) -> tuple[float, float]:
        """Make a step: its loss, and its seconds by a clock of that process.

        Raises:
            ValueError: the process has failed, and why.
        """
        try:
            self._pipe.send(clock)
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
            self._pipe.send(None)
        self._pipe.close()
        self._process.join()


def _serve(build: Callable[[], Stepper], pipe: Connection, parents_end: Connection) -> None:
    """Make a step for each clock that comes through the pipe; None ends it, or the parent's end."""
    parents_end.close()  # inherited: while it is open here, nobody notices that the parent is gone
    step = None
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while (clock := pipe.recv()) is not None:
            try:
                step = step or build()
                pipe.send(_timed(step, clock))
            except Exception as error:
                pipe.send(f"{type(error).__name__}: {error}")


def _timed(step: Stepper, clock: Callable[[], float]) -> tuple[float, float]:
    if isinstance(step, Apart):
        return step.timed(clock)
    began = clock()
    loss = step()
    return loss, clock() - began


def take_turns(
    steppers: Mapping[str, Stepper],
    rounds: int,
    *,
    clock: Callable[[], float] = time.process_time,
    tick: Callable[[], Any] = lambda: None,
) -> Turns:
    """Time steps in turn, after `WARM_UP` of each that are not counted.

    Args:
        steppers: by name.
        rounds: how many steps of each are timed.
        clock: seconds.
        tick: is called after each step.
    """
    turns = Turns({name: [] for name in steppers})
    for number in range(-WARM_UP, rounds):
        order = list(steppers) if number % 2 == 0 else list(steppers)[::-1]  # nobody is always last
        for name in order:
            _, seconds = _timed(steppers[name], clock)
            if number >= 0:
                turns[name].append(seconds)
            tick()
    return turns
