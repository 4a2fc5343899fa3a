"""Batches of a data set: batch k is always the same batch, however training got there."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data


class Pairs(Protocol):
    """What a data set is to a loader: a length and pairs of image and mask by index."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image and mask number ``index``."""
        ...


def batches(
    dataset: Pairs,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    stop: int | None = None,
    workers: int = 0,
    context: str | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled batches for training, without end or up to batch ``stop``.

    Batch k depends on the data set, ``batch_size``, ``seed`` and k, on nothing else: the data set
    is read epoch after epoch, each in its own order, as one stream of positions that is cut into
    batches, and every sample is transformed under random numbers seeded by its position. So a run
    is resumed with ``start=k``, with any number of workers. Batches run on across the border of
    two epochs: all are full, and each epoch takes every sample once, also where ``batch_size``
    does not divide the data set or exceeds it.

    Inside a sample the global generators of torch (CPU), numpy and ``random`` are seeded; the
    caller's are left as they were. Workers are processes with one thread each, ended when the
    iterator is closed, collected or exhausted. With images cached in memory no workers are the
    fastest on a CPU; each worker would fill a cache of its own.

    Args:
        dataset: pairs (image, mask) by index; all of a batch must have one size.
        batch_size: samples in a batch, 1 or more.
        seed: any whole number.
        start: number of the first batch.
        stop: number of the batch before which to end; None for never.
        workers: processes that prepare batches; 0 for this one.
        context: how they start: "fork", "spawn", "forkserver"; None for the platform's way.

    Yields:
        Images (B, 3, h, w) and labels (B, h, w) with the dtypes of the data set's transform.

    Raises:
        ValueError: an empty data set, a number out of range, or images of two sizes in a batch.
        RuntimeError: a worker was killed (memory, usually); the message names its process.
    """
    if not len(dataset):
        raise ValueError(f"{dataset!r} is empty: there is nothing to train on")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ValueError(f"seed={seed!r}: give a whole number")
    _check_count("batch_size", batch_size, 1)
    _check_count("start", start, 0)
    if stop is not None:
        _check_count("stop", stop, start)
    _check_count("workers", workers, 0)
    loader = torch_data.DataLoader(
        _Seeded(dataset, seed),
        batch_sampler=_Stream(len(dataset), batch_size, seed, start, stop),
        collate_fn=_stack,
        num_workers=workers,
        multiprocessing_context=context if workers else None,
        generator=torch.Generator(),  # else the loader would draw from the caller's
    )
    return _closing(loader)


def sequential(
    dataset: Pairs, batch_size: int, *, workers: int = 0, context: str | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a data set once, in its order, for evaluation.

    Neighbours of one size share a batch; where the size changes, and at the end, a batch is
    smaller. A random transform gives the same pictures on every pass; the caller's random
    generators are left as they were.

    Args:
        dataset: pairs (image, mask) by index; an empty one yields nothing.
        batch_size: most samples in a batch, 1 or more.
        workers: processes that prepare samples; 0 for this one.
        context: how they start: "fork", "spawn", "forkserver"; None for the platform's way.

    Yields:
        Images (B, 3, h, w) and labels (B, h, w), B from 1 to ``batch_size``.

    Raises:
        ValueError: a number out of range.
        RuntimeError: a worker was killed (memory, usually); the message names its process.
    """
    _check_count("batch_size", batch_size, 1)
    _check_count("workers", workers, 0)
    loader = torch_data.DataLoader(
        _Seeded(dataset, 0),
        batch_size=None,
        sampler=[(index, index) for index in range(len(dataset))],
        collate_fn=_alone,
        num_workers=workers,
        multiprocessing_context=context if workers else None,
        generator=torch.Generator(),
    )
    return _grouped(_closing(loader), batch_size)


def _grouped(
    samples: Iterator[tuple[Tensor, Tensor]], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    group: list[tuple[Tensor, Tensor]] = []
    try:
        for sample in samples:
            if group and (len(group) == batch_size or sample[0].shape != group[0][0].shape):
                yield _stack(group)
                group = []
            group.append(sample)
        if group:
            yield _stack(group)
    finally:
        samples.close()


def _closing(loader: torch_data.DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
    iterator = iter(loader)
    try:
        yield from iterator
    finally:
        # Collecting the iterator would end its workers as well, but a traceback may keep it alive.
        if loader.num_workers:
            iterator._shutdown_workers()


class _Stream:
    """Batches of (index, position): the epochs' permutations, one after the other."""

    def __init__(
        self, length: int, batch_size: int, seed: int, start: int, stop: int | None
    ) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.numbers = range(start, stop) if stop is not None else count(start)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, []
        for number in self.numbers:
            tokens = []
            for position in range(number * self.batch_size, (number + 1) * self.batch_size):
                if position // self.length != epoch:
                    epoch = position // self.length
                    order = self._order(epoch)
                tokens.append((order[position % self.length], position))
            yield tokens

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(_hash("epoch", self.seed, epoch))
        return torch.randperm(self.length, generator=generator).tolist()


class _Seeded(torch_data.Dataset):
    """A data set by (index, position), each sample under its own random numbers."""

    def __init__(self, dataset: Pairs, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, token: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, position = token
        with _random_numbers(_hash("sample", self.seed, position)):
            return self.dataset[index]


@contextmanager
def _random_numbers(seed: int) -> Iterator[None]:
    """Seed the global generators of torch (CPU), numpy and ``random``, and put them back after."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (transforms use it)
    torch_state = torch.get_rng_state()
    # Not torch.manual_seed: it would seed the accelerators too, and those are not put back.
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy)  # noqa: NPY002
        random.setstate(python)


def _hash(what: str, seed: int, number: int) -> int:
    """Mix into 63 bits: neighbouring seeds and numbers share nothing."""
    digest = hashlib.blake2b(f"{what} {seed} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _stack(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    sizes = sorted({tuple(part.shape) for part, _ in samples})
    if len(sizes) > 1:
        raise ValueError(
            f"images of different shapes in one batch: {', '.join(map(str, sizes))}; crop them to "
            "one size (segkit.transforms.train), or take batch_size=1"
        )
    images, labels = torch_data.default_collate(samples)
    return images, labels


def _alone(sample: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return sample


def _check_count(name: str, value: Any, lowest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{name}={value!r}: give a whole number, {lowest} or more")
