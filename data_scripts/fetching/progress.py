"""A line that tells how far it is, and a pool that stops at the first failure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def progress(
    label: str, unit: str = "files", scale: float = 1
) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function that shows `done` of `total` (None: not known), both divided by `scale`.

    It writes one line on stderr over and over; nothing where that is a file, as in a batch job.
    """
    shown = sys.stderr.isatty()

    def show(done: int, total: int | None) -> None:
        of = "" if total is None else f" of {total / scale:,.0f}"
        if shown:
            line = f"{label}: {done / scale:,.0f}{of} {unit}"
            print(f"\r{line:<60}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown:
            print(file=sys.stderr)


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], *, label: str
) -> list[Result]:
    """Call `work` on every item and return the results in their order; the first failure ends it.

    Threads are enough: decoding and hashing release Python's lock.
    """
    results = []
    with ThreadPoolExecutor() as pool, progress(label) as show:
        for result in pool.map(work, items):  # a failure cancels what has not begun
            results.append(result)
            show(len(results), len(items))
    return results
