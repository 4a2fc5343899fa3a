"""Chance for the synthetic streets: cheap random numbers, and tiles of noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeVar

import numpy as np

Colour = Sequence[float]  # red, green, blue, each 0..1
T = TypeVar("T")

_TILE = 256


@cache
def noise_tile(octaves: int = 5) -> np.ndarray:
    """Periodic cloud-like noise of shape (256, 256), float32, its values uniform over 0..1.

    Args:
        octaves: how many scales are summed, from coarse to fine; 1..7.
    """
    rng = np.random.default_rng(20)
    total = np.zeros((_TILE, _TILE))
    for octave in range(octaves):
        cells = 4 << octave
        layer = rng.random((cells, cells)).repeat(_TILE // cells, 0).repeat(_TILE // cells, 1)
        for axis in (0, 1):  # two box blurs of one cell: a smooth, still periodic interpolation
            for _ in range(2):
                layer = sum(np.roll(layer, k, axis) for k in range(_TILE // cells))
                layer = layer * (cells / _TILE)
        total += layer / (1 << octave)
    order = np.argsort(total, axis=None, kind="stable")
    uniform = np.empty(total.size, np.float32)
    uniform[order] = np.arange(total.size) / (total.size - 1)
    return uniform.reshape(total.shape)


@cache
def grain_tile() -> np.ndarray:
    """White noise of shape (256, 256, 3), float32, mean 0 and variance 1: the sensor's grain."""
    grain = np.random.default_rng(21).random((3, _TILE, _TILE, 3)).sum(0) - 1.5
    return (grain * 2).astype(np.float32)


class Dice:
    """Random numbers for composing a scene: cheap scalars, drawn in blocks from one generator.

    Args:
        rng: where the numbers come from.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._numbers = self._stream(rng)

    @staticmethod
    def _stream(rng: np.random.Generator) -> Iterator[float]:
        while True:
            yield from rng.random(256).tolist()

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number of [low, high)."""
        return low + (high - low) * next(self._numbers)

    def chance(self, probability: float) -> bool:
        """True with this probability, 0..1."""
        return next(self._numbers) < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, each as likely."""
        return options[int(next(self._numbers) * len(options))]

    def sign(self) -> int:
        """-1 or 1."""
        return -1 if next(self._numbers) < 0.5 else 1

    def vary(self, colour: Colour, amount: float = 0.1) -> tuple[float, float, float]:
        """The colour made lighter or darker by up to ``amount``, its hue moved a third as far."""
        gain, tint = 1 + self.uniform(-amount, amount), amount / 3
        red, green, blue = colour
        return (
            gain * red + self.uniform(-tint, tint),
            gain * green + self.uniform(-tint, tint),
            gain * blue + self.uniform(-tint, tint),
        )
