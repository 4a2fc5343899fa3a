"""Rare classes drawn more often: a class, then an image that has it, then a crop that shows it."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segkit.data.samples import mix

TEMPERATURE = 0.01
"""Of the classes' probabilities. Hoyer et al., DAFormer, 2022, implementation details."""


class RareClassSampling:
    """Which class, if any, a sample of the stream is to show; and the data set that shows it.

    Class c of the share f of the labelled pixels is drawn with a probability in proportion to
    exp((1 - f) / T), then one of the images that have it. It follows from the seed and the place in
    the stream alone, so that a run is resumed exactly.

    Args:
        dataset: pairs by index, with ``num_classes``, ``raw`` and ``with_transform``; every mask is
            read once.
        share: of the samples that are drawn by class, 0..1; the others are those of the epochs.
        seed: any whole number.

    Raises:
        ValueError: a share outside 0..1, or no labelled pixel.

    Source: Hoyer et al., "DAFormer: Improving Network Architectures and Training Strategies for
    Domain-Adaptive Semantic Segmentation", CVPR 2022, "Rare Class Sampling (RCS)".
    """

    def __init__(self, dataset: Any, *, share: float, seed: int) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share={share!r}: give a number in 0..1")
        self.share, self.seed, self.length = share, seed, len(dataset)
        pixels = torch.zeros(dataset.num_classes, dtype=torch.int64)
        self.images: list[list[int]] = [[] for _ in range(dataset.num_classes)]
        for index in range(len(dataset)):
            try:
                _, mask = dataset.raw(index)
            except (ValueError, OSError):  # the doctor names it, the loader leaves it out
                continue
            counts = torch.bincount(mask.flatten().int(), minlength=256)[: len(pixels)]
            pixels += counts
            for label in counts.nonzero().flatten().tolist():
                self.images[label].append(index)
        if not pixels.any():
            raise ValueError(f"{dataset!r} has no labelled pixel: no class can be drawn")
        scores = (1 - pixels / pixels.sum()) / TEMPERATURE
        scores[pixels == 0] = -torch.inf
        self.probability: Tensor = scores.double().softmax(0)
        self._until = [*itertools.accumulate(self.probability.tolist())]

    def __call__(self, index: int, position: int) -> int:
        """The token of a sample: ``index`` as it is, or of an image and its class.

        Args:
            index: of the sample that the epoch has there.
            position: in the stream of samples, from 0.
        """
        if _uniform("by class", self.seed, position) >= self.share:
            return index
        drawn = _uniform("class", self.seed, position) * self._until[-1]
        label = min(bisect.bisect_right(self._until, drawn), len(self._until) - 1)
        having = self.images[label]
        image = having[mix("image", self.seed, position) % len(having)]
        return image + self.length * (label + 1)


class Focused:
    """A data set whose tokens may name a class that a crop is to show.

    Args:
        dataset: pairs by index, with ``with_transform``.
        transform_of: the transform that shows a class; of None that of any crop.
    """

    def __init__(self, dataset: Any, transform_of: Callable[[int | None], Any]) -> None:
        self.whole = dataset.with_transform(_as_read)  # one cache, also in a worker
        self.transforms = [transform_of(k) for k in (None, *range(dataset.num_classes))]

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, token: int) -> Any:
        shows, index = divmod(token, len(self.whole))
        return self.transforms[shows](*self.whole[index])

    def stem(self, token: int) -> str:
        """Return the name of the pair that a token names."""
        return self.whole.stem(token % len(self.whole))


def _as_read(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return image, mask


def _uniform(what: str, seed: int, position: int) -> float:
    """A number in [0, 1) that follows from its place in the stream."""
    return mix(what, seed, position) / 2**63
