"""Memory that one step frees and the next one asks for again.

glibc hands large blocks back to the kernel as soon as they are free, so that a network on a CPU
pays in each step for every page of the same gigabyte anew: a tenth of a U-Net's training step, and
more of a prediction (docs/trust.md).
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

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
