"""Learning-rate schedules: pure functions from a step to a factor of the initial learning rate.

A schedule has no state, so a resumed run needs only the number of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

Schedule = Callable[[int], float]
"""Maps a step's index, 0-based, to the factor of the initial learning rate, in 0..1."""


class Warmup(NamedTuple):
    """How the first steps rise to the rate that the schedule has behind them.

    Attributes:
        steps: how many they are, fewer than the training's.
        ramp: "linear", or "exponential", where each step has the same ratio to the one before.
        start: factor at the first step, in 0..1, above 0 for an exponential ramp; the full rate is
            then that of the step after the last of these. None rises 1 / steps, 2 / steps, ..., 1.
        decay_from: "start" lets the decay run through the warm-up and multiplies the two (mmcv up
            to 1.x), so that the full rate is never reached; "warmup" begins to decay after it, from
            the full rate, over the steps that are left (PaddleSeg, mmengine, the authors of STDC).
    """

    steps: int
    ramp: Literal["linear", "exponential"] = "linear"
    start: float | None = None
    decay_from: Literal["start", "warmup"] = "start"

    def __call__(self, step: int) -> float:
        """The factor of a step, 1 after the warm-up."""
        if step >= self.steps:
            return 1.0
        if self.start is None:
            return (step + 1) / self.steps
        if self.ramp == "exponential":
            return self.start ** (1 - step / self.steps)
        return self.start + (1 - self.start) * step / self.steps


def _with_warmup(decay: Callable[[int, int], float], steps: int, warmup: int | Warmup) -> Schedule:
    """A schedule of ``decay(step, length)``, which is 1 at step 0."""
    ramp = warmup if isinstance(warmup, Warmup) else Warmup(warmup)
    if steps < 1:
        raise ValueError(f"a schedule needs at least one step, got steps={steps}")
    if not 0 <= ramp.steps < steps:
        raise ValueError(
            f"warm-up must be shorter than the training: {ramp.steps} of {steps} steps"
        )
    if ramp.ramp not in ("linear", "exponential") or ramp.decay_from not in ("start", "warmup"):
        raise ValueError(
            f"a warm-up's ramp is 'linear' or 'exponential' and decay_from 'start' or 'warmup'; "
            f"got {ramp.ramp!r} and {ramp.decay_from!r}"
        )
    if not 0 <= (ramp.start or 0) <= 1 or (ramp.ramp == "exponential" and not ramp.start):
        raise ValueError(
            f"a warm-up starts at a factor in 0..1, an exponential one above 0, such as 0.001 (a "
            f"recipe's warmup_start); got {ramp.start}"
        )
    begin = ramp.steps if ramp.decay_from == "warmup" else 0

    def factor(step: int) -> float:
        return ramp(step) * decay(max(0, min(step, steps) - begin), steps - begin)

    return factor


def poly(
    steps: int, *, power: float = 0.9, warmup: int | Warmup = 0, floor: float = 0.0
) -> Schedule:
    """(1 - step / steps) ** power, with a warm-up before or under it.

    Args:
        steps: length of the training, in optimizer steps.
        power: 0.9 in DeepLab and nearly everywhere since.
        warmup: steps of linear warm-up, which the decay runs through, or a `Warmup`.
        floor: smallest factor after the warm-up, in 0..1.

    Raises:
        ValueError: no step, a warm-up as long as the training, or one that cannot be.

    Source: Chen et al., "DeepLab", PAMI 2018, section 4.1.2 (the "poly" policy).
    """

    def decay(step: int, length: int) -> float:
        return max(floor, (1 - step / length) ** power)

    return _with_warmup(decay, steps, warmup)


def cosine(steps: int, *, warmup: int | Warmup = 0, floor: float = 0.0) -> Schedule:
    """Half a cosine from 1 to ``floor``; arguments as of `poly`.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, without restarts.
    """

    def decay(step: int, length: int) -> float:
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / length))

    return _with_warmup(decay, steps, warmup)


def constant(steps: int, *, warmup: int | Warmup = 0) -> Schedule:
    """1 after the warm-up; arguments as of `poly`."""
    return _with_warmup(lambda step, length: 1.0, steps, warmup)
