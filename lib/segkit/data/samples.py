"""One batch from its places in the stream, and what cannot be read on the way."""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from segkit import random_state
from segkit.files import shown


class Pairs(Protocol):
    """What a data set is to a loader: a length and pairs of image and mask by index."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        ...

    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]:
        """Return image and mask number ``index``."""
        ...


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

    @property
    def name(self) -> str:
        """The sample, as a message names it."""
        return f"sample {self.index}" + (f" ({shown(self.stem)})" if self.stem else "")

    def __str__(self) -> str:
        """What happened, in one line."""
        return f"{self.name} cannot be read, another takes its place: {self.error}"


Tokens = list[tuple[int, int]]
"""(index, position) of each sample of a batch."""

Made = tuple[tuple[Tensor, Tensor] | None, list[BadSample]]
"""A batch, None where nothing could be read, and the samples that could not be read."""


class BatchMaker:
    """Makes a batch from tokens, each sample under its own random numbers."""

    def __init__(self, dataset: Pairs, seed: int, bad_samples: int) -> None:
        self.dataset, self.seed, self.bad_samples = dataset, seed, bad_samples

    def __call__(self, tokens: Tokens, at: Any = None) -> Made:
        """Make a batch; in a worker ``at.value`` is set to each index before it is read."""
        bad: dict[int, BadSample] = {}
        samples = []
        for index, position in tokens:
            sample = self._sample(index, position, bad, at)
            if sample is None:
                return None, [*bad.values()]
            samples.append(sample)
        return stack(samples, shared=at is not None), [*bad.values()]

    def _sample(
        self, index: int, position: int, bad: dict[int, BadSample], at: Any
    ) -> tuple[Tensor, Tensor] | None:
        # The stand-in follows from the position alone: a resumed run, or one with other workers,
        # takes the same.
        length = len(self.dataset)
        first = mix("stand-in", self.seed, position) % length
        for candidate in chain([index], range(first, length), range(first)):
            number = candidate % length  # a token may also name a class to show
            if number in bad:
                continue
            if at is not None:
                at.value = candidate
            try:
                with random_state.isolated(mix("sample", self.seed, position)):
                    return self.dataset[candidate]
            except (ValueError, OSError) as error:
                if at is None and not self.bad_samples:
                    raise
                bad[number] = self._bad(candidate, position, str(error))
            if len(bad) > self.bad_samples:
                break
        return None

    def _bad(self, index: int, position: int = 0, error: str = "") -> BadSample:
        stem = getattr(self.dataset, "stem", None)
        name = str(stem(index)) if stem else ""
        return BadSample(index % len(self.dataset), name, position, error)

    def name(self, index: int) -> str:
        """How an error names a sample."""
        return f"{self._bad(index).name} of {self.dataset!r}"


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
