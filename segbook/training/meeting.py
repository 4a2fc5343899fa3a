"""What the processes of a training tell each other by files: to stop, and why one of them ends."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from segbook.runs.folder import write_atomic

MEETING_VARIABLE = "SEGBOOK_MEETING"
"""In a process's environment, the folder of its meeting."""


class Meeting:
    """A folder of this machine that all processes of a training see, and the one that waits.

    Args:
        path: the folder; it exists.
        first: whether this is the first of the training's processes.
    """

    def __init__(self, path: str | Path, *, first: bool = False) -> None:
        self.path, self._first, self._steps = Path(path), first, 0
        self.store = self.path / "store"
        self._stepping, self._asked = self.path / "stepping", self.path / "asked"
        self._last, self._stopped = self.path / "last_step", self.path / "stopped"
        self._error = self.path / "error.json"

    def ask(self) -> bool:
        """Ask the processes to stop; False where they make no steps yet and so hear nothing."""
        if self._stepping.exists():
            self._asked.touch()
        return self._asked.exists()

    def stop(self) -> bool:
        """Whether to stop now; each process asks after each step, and all stop after the same.

        The first one sees the request after a step, and settles on the next. No process ends that
        one before the first has begun it, for they average their gradients: all know in time.
        """
        self._steps += 1
        if self._first:
            if self._steps == 1:
                self._stepping.touch()
            if self._asked.exists() and not self._last.exists():
                write_atomic(self._last, str(self._steps + 1))
        if not self._last.exists() or int(self._last.read_text()) != self._steps:
            return False
        self._stopped.touch()
        return True

    @property
    def stopped(self) -> bool:
        """Whether the processes stopped as they were asked to."""
        return self._stopped.exists()

    def tell(self, error: dict[str, Any]) -> None:
        """Say, whole, why this process ends. Only the first one's word counts: it knows."""
        words = self.path / f"error-{os.getpid()}.json"
        words.write_text(json.dumps(error), encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(words, self._error)
        words.unlink()

    def told(self) -> dict[str, Any] | None:
        """Why the first process ended; None where none told."""
        with contextlib.suppress(FileNotFoundError):
            return json.loads(self._error.read_text(encoding="utf-8"))
        return None
