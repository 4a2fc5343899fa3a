"""Memory: what one step frees and the next one asks for again, and what to do where it ends.

glibc hands large blocks back to the kernel as soon as they are free, so that a network on a CPU
pays in each step for every page of the same gigabyte anew: a tenth of a U-Net's training step, and
more of a prediction (docs/trust.md).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Iterator

import torch
from torch import Tensor

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h
_OWN_CHOICE = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")


@functools.cache
def keep_memory() -> bool:
    """Let this process keep what it frees for what it asks for next, from now to its end.

    To be called once, where a process that trains or predicts on a CPU begins. It stays as large
    as it was at its largest; images of changing sizes may take more room than without.

    Returns:
        Whether it does: not without glibc, nor where its variables (``MALLOC_TRIM_THRESHOLD_`` ...)
        are set.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OWN_CHOICE):
        return False
    try:
        process = ctypes.CDLL(None)
        set_option, trim = process.mallopt, process.malloc_trim
    except (OSError, AttributeError):  # another C library
        return False
    set_option(_MMAP_MAX, 0)
    set_option(_TRIM_THRESHOLD, -1)
    # A forked process would hold on to free pages, which this one then has to copy.
    os.register_at_fork(before=functools.partial(trim, 0))
    return True


class OutOfMemoryError(MemoryError):
    """A step did not fit into memory; the message says what to lower."""


@contextlib.contextmanager
def explain_out_of_memory(step: int, images: Tensor) -> Iterator[None]:
    """Name what to lower where memory ends; a CPU's allocator has no error class of its own."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        ours = isinstance(error, MemoryError | torch.OutOfMemoryError)
        # oneDNN's words, which may have another reason where memory has no limit.
        failed = "could not create a primitive" in str(error) and _memory_is_limited()
        if not (ours or failed) and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(
            f"memory ended in step {step} on a batch of shape {tuple(images.shape)}: lower "
            "batch_size and raise accumulate by the same factor (the step stays the same), take a "
            f"smaller crop, or precision='bfloat16'. ({str(error).partition(chr(10))[0]:.200})"
        ) from error


def _memory_is_limited() -> bool:
    """Whether this process may not have all the memory that it asks for (``ulimit -v``)."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return False
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return any(limit != resource.RLIM_INFINITY for limit in limits)
