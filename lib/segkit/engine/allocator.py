"""Memory that one step frees and the next one asks for again.

glibc hands large blocks back to the kernel as soon as they are free, so that a network on a CPU
pays in each step for every page of the same gigabyte anew: a tenth of a U-Net's training step, and
more of a prediction (docs/trust.md).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable, Iterator

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h
_NEVER, _MOST_MAPS, _LARGEST_TOP = -1, 65536, 64 << 20  # the last: where glibc's own tuning ends

_users = 0  # loops that want it now


@contextlib.contextmanager
def kept_memory(device: torch.device | str = "cpu") -> Iterator[None]:
    """Keep what is freed inside for what is asked for next; at the end the kernel gets it back.

        with kept_memory():
            for image in images:
                labels = predict(network, image)

    It holds for the whole process, which stays as large as it was at its largest, and until the
    last of several has ended. `segkit.engine.train` and `segkit.engine.evaluate` do it themselves.

    Args:
        device: where the network computes. Elsewhere than on a CPU, and without glibc, nothing
            changes.
    """
    global _users
    glibc = _glibc() if torch.device(device).type == "cpu" else None
    if glibc is None:
        yield
        return
    set_option, trim = glibc
    _users += 1
    if _users == 1:
        set_option(_MMAP_MAX, 0)
        set_option(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        _users -= 1
        if not _users:
            set_option(_MMAP_MAX, _MOST_MAPS)
            set_option(_TRIM_THRESHOLD, _LARGEST_TOP)
            trim(0)


@functools.cache
def _glibc() -> tuple[Callable[[int, int], int], Callable[[int], int]] | None:
    """Its mallopt and malloc_trim, where there are both."""
    if sys.platform != "linux":
        return None
    try:
        process = ctypes.CDLL(None)
        return process.mallopt, process.malloc_trim
    except (OSError, AttributeError):  # another C library
        return None
