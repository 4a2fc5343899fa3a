"""One attempt at a run, a notebook's or a training's: from taking its folder to its last word."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator
from typing import Any

from segbook.runs.folder import DISK_FULL, FAILED, FINISHED, RUNNING, STOPPED, RunFolder
from segbook.runs.stopping import RunStopped, Stopper

TRACEBACK_LINES = 12


@contextlib.contextmanager
def attempt(folder: RunFolder, stopper: Stopper) -> Iterator[dict[str, Any]]:
    """Own a run, and write into ``run.json`` that it runs, and then how it ended.

    What is raised inside is an outcome, too: a request to stop stops the run, an exception fails
    it. Neither leaves the context.

    Args:
        folder: of the run.
        stopper: that is watching for requests to stop it.

    Yields:
        The outcome, fields of ``run.json``: "status" is "finished" unless the body says otherwise.

    Raises:
        RunBusyError: another process runs it.
        OSError: the disk is full before it has begun.
    """
    with folder.own():
        described = folder.read()
        number = (described.get("attempts") or 0) + 1
        outcome: dict[str, Any] = {"status": FINISHED}
        began = time.monotonic()
        folder.update(status=RUNNING, attempts=number, reason=None, error=None)
        folder.log(f"attempt {number} begins")
        try:
            yield outcome
        except (KeyboardInterrupt, RunStopped) as request:
            reason = str(request) or stopper.reason or "stopped by Ctrl-C"
            outcome |= {"status": STOPPED, "reason": reason}
        except Exception as error:
            outcome |= {"status": FAILED, "error": format_error(error, folder)}
            with contextlib.suppress(OSError):  # a full disk is being reported already
                for line in traceback.format_exc().splitlines():
                    folder.log(line)
        stopper.ended()
        seconds = (described.get("seconds_total") or 0.0) + time.monotonic() - began
        folder.update(**outcome, seconds_total=round(seconds, 1))
        with contextlib.suppress(OSError):
            folder.log(f"attempt {number} {outcome['status']}")


def format_error(error: BaseException, folder: RunFolder | None = None) -> dict[str, Any]:
    """An exception as ``run.json`` keeps it: "name", "message", and a puzzle's "traceback".

    Args:
        error: the exception.
        folder: of the run that it ended, whose checkpoint is named where there is one.
    """
    message = str(error)
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        message = f"{error.strerror or error}{where}"
        if error.errno in DISK_FULL:
            message = f"the disk is full: {error.filename or error}"
    if type(error).__name__ == "PeerLostError" and folder and folder.read().get("step"):
        message += ". The last checkpoint is whole"
    described: dict[str, Any] = {"name": type(error).__name__, "message": message}
    # These say what to do; others are puzzles.
    explained = isinstance(error, ValueError | OSError | ArithmeticError | MemoryError)
    if not explained and type(error).__name__ != "LoaderError":  # whose module would import torch
        described["traceback"] = traceback.format_exc().splitlines()[-TRACEBACK_LINES:]
    return described
