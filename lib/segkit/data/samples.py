"""One batch from its places in the stream, and what cannot be read on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from segkit import random_state


class Pairs(Protocol):
    """What a data set is to a loader: a length and pairs of image and mask by index."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image and mask number ``index``."""
        ...


Made = tuple[tuple[Tensor, Tensor] | None, list["BadSample"]]
"""A batch, None where nothing could be read, and the samples that could not be read."""


class BadSample(NamedTuple):
    """A sample that could not be read.

    Attributes:
        index: its number in the data set.
        stem: its name there; empty where the data set has no names.
        position: where in the stream of samples it was to be, counted from 0.
        error: what was wrong with it; names the file.
    """

    index: int
    stem: str
    position: int
    error: str

    def __str__(self) -> str:
        """What happened, in one line."""
        name = spell(self.index, self.stem)
        return f"{name} cannot be read, another takes its place: {self.error}"


def spell(index: int, stem: str) -> str:
    """A sample, as a message names it."""
    return f"sample {index} ({stem})" if stem else f"sample {index}"


class BatchMaker:
    """Makes a batch from tokens (index, position), each sample under its own random numbers."""

    def __init__(self, dataset: Pairs, seed: int, bad_samples: int) -> None:
        self.dataset, self.seed, self.bad_samples = dataset, seed, bad_samples

    def __call__(
        self, tokens: list[tuple[int, int]], begin: Callable[[int], None] | None = None
    ) -> Made:
        """The batch, None where nothing could be read, and the samples that could not be read.

        Args:
            tokens: (index, position) of each sample.
            begin: of a worker, is told each index before it is read.
        """
        bad: dict[int, BadSample] = {}
        samples = []
        for index, position in tokens:
            sample = self._sample(index, position, bad, begin)
            if sample is None:
                return None, [*bad.values()]
            samples.append(sample)
        return stack(samples, shared=begin is not None), [*bad.values()]

    def _sample(
        self,
        index: int,
        position: int,
        bad: dict[int, BadSample],
        begin: Callable[[int], None] | None,
    ) -> tuple[Tensor, Tensor] | None:
        # The stand-in follows from the position alone: a resumed run, or one with other workers,
        # takes the same.
        length = len(self.dataset)
        first = mix("stand-in", self.seed, position) % length
        for candidate in chain([index], range(first, length), range(first)):
            if candidate in bad:
                continue
            if begin is not None:
                begin(candidate)
            try:
                with random_state.isolated(mix("sample", self.seed, position)):
                    return self.dataset[candidate]
            except (ValueError, OSError) as error:
                if begin is None and not self.bad_samples:
                    raise
                bad[candidate] = BadSample(candidate, self._stem(candidate), position, str(error))
            if len(bad) > self.bad_samples:
                break
        return None

    def _stem(self, index: int) -> str:
        return str(self.dataset.stem(index)) if hasattr(self.dataset, "stem") else ""

    def name(self, index: int) -> str:
        """How an error names a sample."""
        return f"{spell(index, self._stem(index))} of {self.dataset!r}"


def mix(what: str, seed: int, number: int) -> int:
    """Mix into 63 bits: neighbouring seeds and numbers share nothing."""
    digest = hashlib.blake2b(f"{what} {seed} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def stack(samples: list[tuple[Tensor, Tensor]], *, shared: bool = False) -> tuple[Tensor, Tensor]:
    """Join samples to a batch.

    Args:
        samples: images and labels, each of one shape.
        shared: whether into memory that other processes see: a batch that is sent to one would be
            copied there afterwards.

    Raises:
        ValueError: images of different shapes.
    """
    sizes = sorted({tuple(part.shape) for part, _ in samples})
    if len(sizes) > 1:
        raise ValueError(
            f"images of different shapes in one batch: {', '.join(map(str, sizes))}; crop them to "
            "one size (segkit.transforms.train), or take batch_size=1"
        )
    parts = zip(*samples, strict=True)
    images, labels = (torch.stack(part, out=_shared(part) if shared else None) for part in parts)
    return images, labels


def _shared(part: tuple[Tensor, ...]) -> Tensor:
    return part[0].new_empty((len(part), *part[0].shape)).share_memory_()
