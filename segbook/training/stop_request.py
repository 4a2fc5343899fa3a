"""How several processes that train together stop after the same step, when one of them is asked."""

from __future__ import annotations

from pathlib import Path

from segbook.runs.folder import write_atomic

FOLDER_VARIABLE = "SEGBOOK_PROCESSES"
"""In a process's environment, the folder that all of them share."""


class StopRequest:
    """A request to stop, in a folder of this machine that all processes see.

    Args:
        path: the folder; it exists.
        first: whether this is the first of the training's processes.
    """

    def __init__(self, path: str | Path, *, first: bool = False) -> None:
        self.path, self._first, self._steps = Path(path), first, 0
        self._stepping, self._asked = self.path / "stepping", self.path / "asked"
        self._last, self._stopped = self.path / "last_step", self.path / "stopped"

    def ask(self) -> bool:
        """Ask the processes to stop; False where they make no steps yet and would not notice."""
        if self._stepping.exists():
            self._asked.touch()
        return self._asked.exists()

    def due(self) -> bool:
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
    def followed(self) -> bool:
        """Whether the processes stopped as they were asked to."""
        return self._stopped.exists()
