"""The global random number generators of Python, numpy and torch as one.

Data sets, transforms and losses of third parties draw from any of them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed(number: int, *, cuda: bool = True) -> None:
    """Seed all generators.

    Args:
        number: 0 or more, below 2**63; numpy and torch's CPU take the last 32 bits.
        cuda: whether those of GPUs are seeded too.
    """
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 the global one is what others draw from
    (torch.manual_seed if cuda else torch.default_generator.manual_seed)(number)


def state(*, cuda: bool = True) -> dict[str, Any]:
    """Where all generators, or all but those of GPUs, stand: a tree that a checkpoint can hold."""
    numbers: Any = np.random.get_state()  # noqa: NPY002
    name, keys, *rest = numbers
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if cuda and torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
    }


def restore(state: Any) -> None:
    """Put all generators where they stood; GPUs that are not there any more are left out.

    Raises:
        ValueError: it is none of `state`'s.
    """
    try:
        torch.set_rng_state(state["torch"])
        for device, numbers in enumerate(state["cuda"]):
            if device < torch.cuda.device_count():
                torch.cuda.set_rng_state(numbers, device)
        random.setstate(state["python"])
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, np.asarray(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    except (ValueError, TypeError, KeyError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"it holds no state of random numbers ({type(error).__name__}: {error!s:.80})"
        ) from error


@contextmanager
def preserved(*, cuda: bool = True) -> Iterator[None]:
    """Put all generators back afterwards, whatever was drawn or seeded inside.

    Args:
        cuda: whether those of GPUs are put back too.
    """
    before = state(cuda=cuda)
    try:
        yield
    finally:
        restore(before)


@contextmanager
def isolated(number: int) -> Iterator[None]:
    """Seed the generators of this process's CPU inside, and put them back afterwards."""
    with preserved(cuda=False):
        seed(number, cuda=False)
        yield


def digest() -> str:
    """SHA-256 of `state`: the same where all generators stand at the same place."""
    now = state()
    whole = hashlib.sha256(repr((now["python"], now["numpy"])).encode())
    for numbers in (now["torch"], *now["cuda"]):
        whole.update(numbers.numpy())
    return whole.hexdigest()
