"""A line that tells how far it is, and a pool that stops at the first failure."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Progress:
    """A line on stderr that is written over; silent where stderr is a file, as in a batch job.

    Args:
        label: what is being done, for example ``"download"``.
        total: amount at the end; None where it is not known.
        unit: what is counted: ``"files"``, or ``"MB"`` for bytes.
    """

    def __init__(self, label: str, total: int | None = None, unit: str = "files") -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self._shown, self._again = 0, sys.stderr.isatty(), 0.0

    def move_to(self, done: int, total: int | None = None) -> None:
        """Show `done` of `total`; `done` may go back, as it does when a download starts again."""
        self.done, self.total = done, self.total if total is None else total
        if self._shown and time.monotonic() >= self._again:
            self._again = time.monotonic() + 0.2
            self._write("\r")

    def _write(self, end: str) -> None:
        scale = 1e6 if self.unit == "MB" else 1
        of = f" of {self.total / scale:,.0f}" if self.total is not None else ""
        line = f"{self.label}: {self.done / scale:,.0f}{of} {self.unit}"
        print(f"{line:<60}", end=end, file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._shown:
            self._write("\n")


def in_parallel(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    label: str,
    threads: int | None = None,
) -> list[Result]:
    """Call `work` on every item in threads; whatever it raises ends the whole call.

    Threads are enough: decoding, hashing and waiting for a server all release Python's lock.

    Args:
        work: called with one item.
        items: what to work on; may be empty.
        label: what is being done, for people.
        threads: number of threads; None is one a core, at most eight.

    Returns:
        The results in the order of `items`.
    """
    items, results = list(items), []
    threads = threads or min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool, Progress(label, len(items)) as bar:
        for result in pool.map(work, items):  # a failure cancels what has not begun
            results.append(result)
            bar.move_to(len(results))
    return results
