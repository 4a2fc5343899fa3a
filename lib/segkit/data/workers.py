"""Processes that prepare samples, and the errors for those that die or hang."""

from __future__ import annotations

import contextlib
import errno
import itertools
import multiprocessing
import multiprocessing.util
import os
import signal
import traceback
from collections.abc import Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from segkit.data.samples import BatchMaker, Made, Tokens

AHEAD = 2
"""Tasks that each process is given in advance."""

_PARENT_CHECK = 5.0
"""Seconds between two looks of an idle process at whether its parent still lives."""

_CURES = {
    "SIGKILL": "usually the machine's memory was used up: take fewer workers, smaller images or "
    "batches, or a data set with cache=False",
    "SIGBUS": "usually the shared memory (/dev/shm) is full: take fewer workers or smaller "
    "batches, or give a container more (docker run --shm-size=8g)",
}
"""What to do about the ways in which a process dies."""


class LoaderError(RuntimeError):
    """A loader process died, hangs or failed; the message names the sample it was at."""


def in_processes(
    maker: BatchMaker, tasks: Iterable[Tokens], *, workers: int, context: str | None, timeout: float
) -> Generator[Made, None, None]:
    """Yield ``maker(task)`` of each task, in order, made by processes with one thread each.

    ``torch.utils.data.DataLoader`` knows which process died, but not at which sample, and raises
    it wherever the caller happens to be; a process that hangs it cannot tell from a slow one.

    Args:
        maker: makes one task's batch.
        tasks: what is to be made; each process gets every ``workers``-th.
        workers: number of processes, 1 or more.
        context: how they start: "fork", "spawn", "forkserver"; None for the platform's way.
        timeout: seconds to wait for one result; 0 waits for ever.

    Raises:
        LoaderError: a process died, did not answer in time, or ``maker`` failed.
        ValueError: that of ``maker``.
    """
    how = multiprocessing.get_context(context)
    # Processes that send tensors make sockets. In the parent's folder, which it removes at its end:
    # theirs would stay, as they are killed.
    multiprocessing.util.get_temp_dir()
    team: list[_Worker] = []
    try:
        for _ in range(workers):
            team.append(_Worker(how, maker))
        remaining = iter(tasks)
        first = itertools.islice(remaining, AHEAD * workers)
        for worker, task in zip(itertools.cycle(team), first, strict=False):
            worker.submit(task)
        for worker in itertools.cycle(team):
            if not worker.pending:
                return
            result = worker.result(timeout)
            for task in itertools.islice(remaining, 1):
                worker.submit(task)
            yield result
    finally:
        for worker in team:
            worker.kill()


class _Worker:
    """One process, seen from the one that started it."""

    def __init__(self, how: Any, maker: BatchMaker) -> None:
        self.maker, self.pending = maker, 0
        self.at = how.RawValue("q", -1)  # index of the sample that it works on
        self.pipe, theirs = how.Pipe()
        self.process = how.Process(target=_work, args=(maker, theirs, self.at), daemon=True)
        with _safe_path():
            self.process.start()
        theirs.close()

    def submit(self, task: Tokens) -> None:
        """Add a task to the process's queue."""
        with contextlib.suppress(OSError):  # it is dead: `result` says so when its turn comes
            self.pipe.send(task)
        self.pending += 1

    def result(self, timeout: float) -> Made:
        """Wait for the oldest task's result."""
        ready = wait([self.pipe, self.process.sentinel], timeout or None)
        if not ready:
            raise LoaderError(
                f"loader process {self.process.pid} has not finished a batch within {timeout:g} s "
                f"and hangs at {self._place()}: look whether the disk or the network drive answers "
                "and whether that file opens; raise the timeout (worker_timeout of a recipe) if it "
                "is only slow, 0 waits for ever"
            )
        try:
            if self.pipe not in ready:
                raise EOFError
            result, failure = self.pipe.recv()  # what a dead process has sent can still be there
        except (EOFError, OSError, RuntimeError) as error:
            full = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
            if full or isinstance(error, RuntimeError):  # torch's word for a descriptor that is not
                raise LoaderError(
                    f"a batch could not be received ({error}): usually no file descriptor is left; "
                    "copy the batches that you keep (.clone()), or raise `ulimit -n`"
                ) from None
            raise LoaderError(self._death()) from None
        if failure is not None:
            raise failure
        self.pending -= 1
        return result

    def kill(self) -> None:
        """End the process at once; it holds nothing that would be lost."""
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()

    def _place(self) -> str:
        index = self.at.value
        return self.maker.name(index) if index >= 0 else "no sample (between two batches)"

    def _death(self) -> str:
        self.process.join(1.0)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        end = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        cure = _CURES.get(end, "open that file by itself, and take it out if it does it again")
        return f"loader process {self.process.pid} died ({end}) at {self._place()}: {cure}"


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Have a Python that is started import nothing from the working directory.

    One that spawns would, before it has this process's ``sys.path``: a ``struct.py`` that lies
    beside the data.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def _work(maker: BatchMaker, pipe: Connection, at: Any) -> None:
    """The process: results for tasks, until it is killed or its parent is gone."""
    # Ctrl-C reaches the whole group; the parent decides. Its handlers are not this process's.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    parent = os.getppid()
    while True:
        while not pipe.poll(_PARENT_CHECK):
            if os.getppid() != parent:
                return
        try:
            task = pipe.recv()
            try:
                pipe.send((maker(task, at), None))
            except ValueError as error:  # says itself what is wrong
                pipe.send((None, ValueError(str(error))))
            except Exception:
                name = maker.name(at.value)
                failure = f"{name} failed in a loader process:\n{traceback.format_exc()}"
                pipe.send((None, LoaderError(failure)))
            at.value = -1
        except (EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
            return
