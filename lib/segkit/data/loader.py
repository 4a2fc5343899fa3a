"""Batches of a data set: batch k is always the same batch, however training got there."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

import torch
from torch import Tensor

from segkit.data.samples import BadSample, BatchMaker, Made, Pairs, mix, spell, stack
from segkit.data.workers import LoaderError, in_processes

__all__ = ["BadSample", "LoaderError", "Pairs", "batches", "sequential"]


def batches(
    dataset: Pairs,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    stop: int | None = None,
    workers: int = 0,
    context: str | None = None,
    timeout: float = 0,
    rank: int = 0,
    ranks: int = 1,
    on_bad: Callable[[BadSample], None] | None = None,
    bad_samples: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled batches for training, without end or up to batch ``stop``.

    Batch k depends on the data set, ``batch_size``, ``seed`` and k, on nothing else: the data set
    is read epoch after epoch, each in its own order, as one stream of positions that is cut into
    batches, and every sample is transformed under random numbers seeded by its position. So a run
    is resumed with ``start=k``, with any number of workers. Batches run on across the border of
    two epochs: all are full, and each epoch takes every sample once, also where ``batch_size``
    does not divide the data set or exceeds it.

    Several training processes share each batch: the parts of ranks 0, 1, ... one after the other
    are the batch that one process would get.

    A sample whose files cannot be read is replaced by another, chosen by its position, and told;
    at most ``bad_samples`` different ones (each rank counts its own). Only ValueError and OSError
    count as unreadable; other exceptions are mistakes in code and are raised.

    Inside a sample the global generators of torch (CPU), numpy and ``random`` are seeded; the
    caller's are left as they were. Workers are processes with one thread each, ended when the
    iterator is closed, collected or exhausted. With images cached in memory no workers are the
    fastest on a CPU; each worker would fill a cache of its own.

    Args:
        dataset: pairs (image, mask) by index; all of a batch must have one size. Where it has
            ``stem(index)``, errors name samples by it.
        batch_size: samples in a batch, 1 or more, those of all ranks together.
        seed: any whole number.
        start: number of the first batch.
        stop: number of the batch before which to end; None for never.
        workers: processes that prepare batches; 0 for this one.
        context: how they start: "fork", "spawn", "forkserver"; None for the platform's way.
        timeout: seconds that a batch may take a worker; 0 waits for ever.
        rank: which part of each batch, from 0.
        ranks: number of training processes; divides ``batch_size``.
        on_bad: is told of each replaced sample once, in this process; None warns.
        bad_samples: how many different samples may be unreadable.

    Yields:
        Images (B, 3, h, w) and labels (B, h, w), B = batch_size / ranks, with the dtypes of the
        data set's transform.

    Raises:
        ValueError: an empty data set, a number out of range, images of two sizes in a batch, or
            more unreadable samples than ``bad_samples``.
        LoaderError: a worker died, hung or failed; the message names the sample.
    """
    if not len(dataset):
        raise ValueError(f"{dataset!r} is empty: there is nothing to train on")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ValueError(f"seed={seed!r}: give a whole number")
    _check_count("batch_size", batch_size, 1)
    _check_count("start", start, 0)
    if stop is not None:
        _check_count("stop", stop, start)
    _check_count("bad_samples", bad_samples, 0)
    _check_ranks(rank, ranks)
    if batch_size % ranks:
        below = batch_size // ranks * ranks
        raise ValueError(
            f"batch_size={batch_size} is that of all {ranks} processes together and must be a "
            f"multiple of {ranks}: take {f'{below} or ' * bool(below)}{below + ranks}"
        )
    _check_workers(workers, timeout)
    stream = _Stream(len(dataset), batch_size, seed, start, stop, rank, ranks)
    made = _made(BatchMaker(dataset, seed, bad_samples), stream, workers, context, timeout)
    return _told(made, bad_samples, on_bad)


def sequential(
    dataset: Pairs,
    batch_size: int,
    *,
    workers: int = 0,
    context: str | None = None,
    timeout: float = 0,
    rank: int = 0,
    ranks: int = 1,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a data set once, in its order, for evaluation.

    Neighbours of one size share a batch; where the size changes, and at the end, a batch is
    smaller. A random transform gives the same pictures on every pass; the caller's random
    generators are left as they were. Nothing is left out: a sample that cannot be read is an
    error.

    Args:
        dataset: pairs (image, mask) by index; an empty one yields nothing.
        batch_size: most samples in a batch of this process, 1 or more.
        workers: processes that prepare samples; 0 for this one.
        context: how they start: "fork", "spawn", "forkserver"; None for the platform's way.
        timeout: seconds that a sample may take a worker; 0 waits for ever.
        rank: take the samples rank, rank + ranks, rank + 2 ranks, ... only.
        ranks: number of processes that share the data set; together they see each sample once.

    Yields:
        Images (B, 3, h, w) and labels (B, h, w), B from 1 to ``batch_size``.

    Raises:
        ValueError: a number out of range, or a sample that cannot be read.
        LoaderError: a worker died, hung or failed; the message names the sample.
    """
    _check_count("batch_size", batch_size, 1)
    _check_ranks(rank, ranks)
    _check_workers(workers, timeout)
    tasks = ([(index, index)] for index in range(rank, len(dataset), ranks))
    made = _made(BatchMaker(dataset, 0, 0), tasks, workers, context, timeout)
    return _grouped(_told(made, 0, None), batch_size)


def _grouped(
    samples: Iterator[tuple[Tensor, Tensor]], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Join batches of one sample."""
    group: list[tuple[Tensor, Tensor]] = []
    try:
        for images, labels in samples:
            if group and (len(group) == batch_size or images.shape[1:] != group[0][0].shape):
                yield stack(group)
                group = []
            group.append((images[0], labels[0]))
        if group:
            yield stack(group)
    finally:
        samples.close()


def _made(
    batch: BatchMaker,
    tasks: Iterable[list[tuple[int, int]]],
    workers: int,
    context: str | None,
    timeout: float,
) -> Iterator[Made]:
    if not workers:
        return (batch(tokens) for tokens in tasks)
    return in_processes(
        batch, tasks, workers=workers, context=context, timeout=timeout, name=batch.name
    )


def _told(
    made: Iterator[Made], limit: int, on_bad: Callable[[BadSample], None] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches, with each unreadable sample told once, until there are too many."""
    known: dict[int, BadSample] = {}
    try:
        for batch, found in made:
            for sample in found:
                if sample.index in known:
                    continue
                known[sample.index] = sample
                if len(known) > limit:
                    raise ValueError(_too_many([*known.values()], limit))
                if on_bad is None:
                    warnings.warn(str(sample), stacklevel=2)
                else:
                    on_bad(sample)
            if batch is None:
                raise ValueError(f"no sample of the data set can be read: {sample.error}")
            yield batch
    finally:
        made.close()


def _too_many(bad: list[BadSample], limit: int) -> str:
    last = bad[-1]
    if not limit:
        return f"{spell(last.index, last.stem)} cannot be read: {last.error}"
    names = ", ".join(sample.stem or str(sample.index) for sample in bad)
    return (
        f"{len(bad)} samples cannot be read ({names}), bad_samples={limit} may be left out. The "
        f"last: {last.error}. Mend these files or take them out of the data set"
    )


class _Stream:
    """Batches of (index, position): the epochs' permutations, one after the other."""

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        start: int,
        stop: int | None,
        rank: int,
        ranks: int,
    ) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.numbers = range(start, stop) if stop is not None else count(start)
        part = batch_size // ranks
        self.part = range(rank * part, (rank + 1) * part)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, []
        for number in self.numbers:
            tokens = []
            for place in self.part:
                position = number * self.batch_size + place
                if position // self.length != epoch:
                    epoch = position // self.length
                    order = self._order(epoch)
                tokens.append((order[position % self.length], position))
            yield tokens

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(mix("epoch", self.seed, epoch))
        return torch.randperm(self.length, generator=generator).tolist()


def _check_count(name: str, value: Any, lowest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{name}={value!r}: give a whole number, {lowest} or more")


def _check_ranks(rank: int, ranks: int) -> None:
    _check_count("ranks", ranks, 1)
    _check_count("rank", rank, 0)
    if rank >= ranks:
        raise ValueError(f"rank={rank}: the ranks of {ranks} processes are 0 to {ranks - 1}")


def _check_workers(workers: int, timeout: float) -> None:
    _check_count("workers", workers, 0)
    if not 0 <= timeout < math.inf:
        raise ValueError(f"timeout={timeout!r}: give seconds, 0 to wait for ever")
