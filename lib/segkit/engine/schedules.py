"""Learning-rate schedules: pure functions from a step to a factor of the initial learning rate.

A schedule has no state, so a resumed run needs only the number of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]
"""Maps a step's index, 0-based, to the factor of the initial learning rate, in 0..1."""


def _with_warmup(decay: Schedule, steps: int, warmup: int) -> Schedule:
    if steps < 1:
        raise ValueError(f"a schedule needs at least one step, got steps={steps}")
    if not 0 <= warmup < steps:
        raise ValueError(f"warm-up must be shorter than the training: {warmup} of {steps} steps")

    def factor(step: int) -> float:
        ramp = (step + 1) / warmup if step < warmup else 1.0
        return ramp * decay(min(step, steps))

    return factor


def poly(steps: int, *, power: float = 0.9, warmup: int = 0, floor: float = 0.0) -> Schedule:
    """(1 - step / steps) ** power, times a linear ramp over the first ``warmup`` steps.

    Args:
        steps: length of the training, in optimizer steps.
        power: 0.9 in DeepLab and nearly everywhere since.
        warmup: steps of linear warm-up.
        floor: smallest factor after the warm-up, in 0..1.

    Raises:
        ValueError: no step, or a warm-up as long as the training.

    Source: Chen et al., "DeepLab", PAMI 2018, section 4.1.2 (the "poly" policy).
    """
    return _with_warmup(lambda step: max(floor, (1 - step / steps) ** power), steps, warmup)


def cosine(steps: int, *, warmup: int = 0, floor: float = 0.0) -> Schedule:
    """Half a cosine from 1 to ``floor``, times a linear ramp over the first ``warmup`` steps.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, without restarts.
    """

    def decay(step: int) -> float:
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / steps))

    return _with_warmup(decay, steps, warmup)


def constant(steps: int, *, warmup: int = 0) -> Schedule:
    """1, after a linear ramp over the first ``warmup`` steps."""
    return _with_warmup(lambda step: 1.0, steps, warmup)
