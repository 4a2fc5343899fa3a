"""Steps timed in turn, so that a neighbour on the machine disturbs all alike.

Ratios are taken within a round, in which each has made one step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
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
            began = clock()
            steppers[name]()
            if number >= 0:
                turns[name].append(clock() - began)
            tick()
    return turns
