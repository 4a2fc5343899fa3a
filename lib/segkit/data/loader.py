"""Batches of a data set: batch k is always the same batch, however training got there."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import count
from typing import Any

import torch
from torch import Tensor

from segkit.data.samples import BadSample, BatchMaker, Pairs, Tokens, mix, stack
from segkit.data.workers import LoaderError, in_processes

__all__ = ["BadSample", "LoaderError", "Pairs", "batches", "sequential"]

Batches = Generator[tuple[Tensor, Tensor], None, None]


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
    world_size: int = 1,
    on_bad: Callable[[BadSample], None] | None = None,
    bad_samples: int = 0,
    draw: Callable[[int, int], int] | None = None,
) -> Batches:
    """Yield shuffled batches for training, without end or up to batch ``stop``.

    Batch k depends on the data set, ``batch_size``, ``seed`` and k, on nothing else: the data set
    is read epoch after epoch, each in its own order, as one stream of positions that is cut into
    batches, and every sample is transformed under random numbers seeded by its position. So a run
    is resumed with ``start=k``, with any number of workers. Batches run on across the border of
    two epochs: all are full, and each epoch takes every sample once, also where ``batch_size``
    does not divide the data set or exceeds it.

    Several training processes share each batch: the parts of ranks 0, 1, ... one after the other
    are the batch that one process would get.

    A sample whose files cannot be read is reported and replaced by another, chosen by its position;
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
        world_size: number of training processes; divides ``batch_size``.
        on_bad: called with each replaced sample once, in this process; None warns.
        bad_samples: how many different samples may be unreadable.
        draw: what is read in the place of an epoch's sample, ``(index, position) -> index``, such
            as `segkit.data.rare_classes.RareClassSampling`; None for that sample.

    Yields:
        Images (B, C, h, w) and labels (B, h, w), B = batch_size / world_size, with the dtypes of
        the data set's transform.

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
    _check_rank(rank, world_size)
    if batch_size % world_size:
        below = batch_size // world_size * world_size
        raise ValueError(
            f"batch_size={batch_size} is that of all {world_size} processes together and must be a "
            f"multiple of {world_size}: take {f'{below} or ' * bool(below)}{below + world_size}"
        )
    _check_workers(workers, timeout)
    part = batch_size // world_size
    numbers = range(start, stop) if stop is not None else count(start)
    positions = (
        range(k * batch_size + rank * part, k * batch_size + (rank + 1) * part) for k in numbers
    )
    tasks = _tokens(positions, len(dataset), seed)
    if draw:
        tasks = ([(draw(index, at), at) for index, at in tokens] for tokens in tasks)
    maker = BatchMaker(dataset, seed, bad_samples)
    return _make(maker, tasks, on_bad, workers=workers, context=context, timeout=timeout)


def sequential(
    dataset: Pairs,
    batch_size: int,
    *,
    workers: int = 0,
    context: str | None = None,
    timeout: float = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Batches:
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
        rank: take every ``world_size``-th sample, from this one on.
        world_size: number of processes that share the data set; together they see each sample once.

    Yields:
        Images (B, C, h, w) and labels (B, h, w), B from 1 to ``batch_size``.

    Raises:
        ValueError: a number out of range, or a sample that cannot be read.
        LoaderError: a worker died, hung or failed; the message names the sample.
    """
    _check_count("batch_size", batch_size, 1)
    _check_rank(rank, world_size)
    _check_workers(workers, timeout)
    tasks = ([(index, index)] for index in range(rank, len(dataset), world_size))
    maker = BatchMaker(dataset, 0, 0)
    samples = _make(maker, tasks, None, workers=workers, context=context, timeout=timeout)
    return _grouped(samples, batch_size)


def _tokens(positions: Iterable[range], length: int, seed: int) -> Iterator[Tokens]:
    """Batches of (index, position): the epochs' permutations, one after the other."""
    epoch, order = -1, []
    for part in positions:
        tokens = []
        for position in part:
            if position // length != epoch:
                epoch = position // length
                generator = torch.Generator().manual_seed(mix("epoch", seed, epoch))
                order = torch.randperm(length, generator=generator).tolist()
            tokens.append((order[position % length], position))
        yield tokens


def _grouped(samples: Batches, batch_size: int) -> Batches:
    """Join batches of one sample."""
    group: list[tuple[Tensor, Tensor]] = []
    with contextlib.closing(samples):
        for images, labels in samples:
            if group and (len(group) == batch_size or images.shape[1:] != group[0][0].shape):
                yield stack(group)
                group = []
            group.append((images[0], labels[0]))
        if group:
            yield stack(group)


def _make(
    maker: BatchMaker,
    tasks: Iterable[Tokens],
    on_bad: Callable[[BadSample], None] | None,
    *,
    workers: int,
    **options: Any,
) -> Batches:
    """The batches; each unreadable sample is reported once, until there are too many."""
    known: dict[int, BadSample] = {}
    if workers:
        made = in_processes(maker, tasks, workers=workers, **options)
    else:
        made = (maker(tokens) for tokens in tasks)
    with contextlib.closing(made):
        for batch, found in made:
            for sample in found:
                if sample.index in known:
                    continue
                known[sample.index] = sample
                if len(known) > maker.bad_samples:
                    raise ValueError(_too_many([*known.values()], maker.bad_samples))
                if on_bad is None:
                    warnings.warn(str(sample), stacklevel=2)
                else:
                    on_bad(sample)
            if batch is None:
                raise ValueError(f"no sample of the data set can be read: {found[-1].error}")
            yield batch


def _too_many(bad: list[BadSample], limit: int) -> str:
    last = bad[-1]
    if not limit:
        return f"{last.name} cannot be read: {last.error}"
    names = ", ".join(sample.stem or str(sample.index) for sample in bad)
    return (
        f"{len(bad)} samples cannot be read ({names}), bad_samples={limit} may be left out. The "
        f"last: {last.error}. Mend these files or take them out of the data set"
    )


def _check_count(name: str, value: Any, lowest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{name}={value!r}: give a whole number, {lowest} or more")


def _check_rank(rank: int, world_size: int) -> None:
    _check_count("world_size", world_size, 1)
    _check_count("rank", rank, 0)
    if rank >= world_size:
        raise ValueError(
            f"rank={rank}: the ranks of {world_size} processes are 0 to {world_size - 1}"
        )


def _check_workers(workers: int, timeout: float) -> None:
    _check_count("workers", workers, 0)
    if not 0 <= timeout < math.inf:
        raise ValueError(f"timeout={timeout!r}: give seconds, 0 to wait for ever")
