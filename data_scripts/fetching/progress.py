"""A progress bar, and a pool that stops at the first failure."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Progress:
    """A bar on stderr: tqdm's where tqdm is installed, otherwise one line every two seconds.

    Args:
        label: what is being done, for example ``"download"``.
        total: amount at the end; None where it is not known.
        unit: ``"B"`` for bytes, otherwise a word such as ``"files"``.
    """

    def __init__(self, label: str, total: int | None = None, unit: str = "files") -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._last_line = 0.0
        self._bar = None
        if importlib.util.find_spec("tqdm") is not None:
            from tqdm import tqdm

            # disable=None: tqdm stays silent where stderr is a file, as in a batch job's log.
            self._bar = tqdm(
                desc=label, total=total, unit=unit, unit_scale=unit == "B", disable=None
            )

    def move_to(self, done: int, total: int | None = None) -> None:
        """Show `done` of `total`; `done` may go back, as it does when a download starts again."""
        step, self.done = done - self.done, done
        self.total = total if total is not None else self.total
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.update(step)
        elif sys.stderr.isatty() and time.monotonic() - self._last_line > 2:
            self._last_line = time.monotonic()
            of = "" if self.total is None else f" of {self.total:,}"
            print(f"{self.label}: {done:,}{of} {self.unit}", file=sys.stderr)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()


def in_parallel(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    label: str,
    threads: int | None = None,
) -> list[Result]:
    """Call `work` on every item in threads, with a bar.

    Threads are enough: decoding, hashing and waiting for a server all release Python's lock.

    Args:
        work: called with one item; whatever it raises ends the whole call.
        items: what to work on; may be empty.
        label: name of the bar.
        threads: number of threads; None is one a core, at most eight.

    Returns:
        The results in the order of `items`; an empty list for no items.
    """
    items = list(items)
    pool = ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1))
    try:
        futures = [pool.submit(work, item) for item in items]
        with Progress(label, len(items)) as bar:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                bar.move_to(done)
        return [future.result() for future in futures]
    finally:
        # Without cancel_futures an error would be shown only after all the other items were done.
        pool.shutdown(wait=True, cancel_futures=True)
