"""What a run says: to the terminal and to its ``log.txt``, and it survives the loss of either."""

from __future__ import annotations

import contextlib
import os
import sys
from types import TracebackType

from segbook.runs.files import regular
from segbook.runs.folder import RunFolder


class Tee:
    """Writes to the terminal and to a run's log. Neither a closed pipe nor a full disk raises.

    Args:
        folder: the run.

    Attributes:
        log: the open log file, unbuffered, for child processes to write into; it can be read.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.log = open(folder.path / "log.txt", "a+b", buffering=0, opener=regular)

    def __enter__(self) -> Tee:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.log.close()

    def write(self, text: str) -> None:
        """Write a piece of text as it is."""
        with contextlib.suppress(OSError):
            self.log.write(text.encode(errors="replace"))
        encoding = (
            getattr(sys.stdout, "encoding", None) or "utf-8"
        )  # a terminal may know ASCII only
        try:
            sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
            sys.stdout.flush()
        except (OSError, ValueError):  # `segbook run ... | head`, or a terminal that was closed
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, sys.stdout.fileno())
                os.close(null)

    def line(self, text: str) -> None:
        """Write a line."""
        self.write(text + "\n")
