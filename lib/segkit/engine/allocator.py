"""Memory that one step frees and the next one asks for again.

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
from collections.abc import Callable, Iterator

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # malloc.h
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
# glibc raises two of its limits with use. To set one ends that: they go to where it would end.
_USUAL = {_MMAP_MAX: 65536, _TRIM_THRESHOLD: 64 << 20, _MMAP_THRESHOLD: 32 << 20}
_OWN_CHOICE = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")

_WORTH_IT = 32 << 20
"""Bytes that it must have grown by: to walk a heap of many pieces can take a second."""

_users = 0  # loops that want it now


@contextlib.contextmanager
def kept_memory(device: torch.device | str = "cpu") -> Iterator[None]:
    """Keep what is freed inside for what is asked for next; at the end the kernel gets it back.

        with kept_memory():
            for image in images:
                labels = predict(network, image)

    It holds for the whole process, which stays as large as it was at its largest, and until the
    last of several has ended. Images of changing sizes may take more room than without, as what
    is kept has other sizes than what is asked for. `segkit.engine.train` and
    `segkit.engine.evaluate` do it themselves.

    Args:
        device: where the network computes. Elsewhere than on a CPU, without glibc, and where its
            variables (``MALLOC_TRIM_THRESHOLD_`` ...) are set, nothing changes.
    """
    global _users
    if torch.device(device).type != "cpu" or _glibc() is None:
        yield
        return
    before = _held()
    _users += 1
    _apply()
    try:
        yield
    finally:
        _users -= 1
        _apply()
        if _held() > before + _WORTH_IT:
            _give_back(kept=False)


def _apply() -> None:
    set_option, _ = _glibc()
    for option, value in (_KEEP if _users else _USUAL).items():
        set_option(option, value)


def _held() -> int:
    """Bytes that the process has in memory; 0 where that cannot be read: a loop must not end so."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _give_back(*, kept: bool) -> None:
    """Hand free memory to the kernel, if there are users (kept) or if there are none."""
    _, trim = _glibc()
    if bool(_users) == kept:
        trim(0)


@functools.cache
def _glibc() -> tuple[Callable[[int, int], int], Callable[[int], int]] | None:
    """Its mallopt and malloc_trim, where they are there and not used by someone else."""
    if sys.platform != "linux" or any(name in os.environ for name in _OWN_CHOICE):
        return None
    try:
        process = ctypes.CDLL(None)
        found = process.mallopt, process.malloc_trim
    except (OSError, AttributeError):  # another C library
        return None
    # A forked process would hold on to all pages that this one keeps, which then has to copy them.
    os.register_at_fork(before=functools.partial(_give_back, kept=True))
    return found
