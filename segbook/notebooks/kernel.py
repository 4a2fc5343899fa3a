"""The process that executes a notebook's cells: which Python, where, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import traitlets
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

from segbook.runs.folder import TOKEN_VARIABLE
from segbook.runs.process_family import Guard, kill_family

VARIABLES = {
    "SEGBOOK_HEADLESS": "1",
    "TQDM_DISABLE": "1",  # a saved bar stands at 0 % for ever; prints are progress here
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}
LOG_LINES = 12
"""Of the log of a kernel that did not start, kept in the error."""


class ThisPython(KernelSpecManager):
    """One kernel: the Python that runs the command, whatever kernels are installed.

    Attributes:
        imports: folders whose modules can be imported, behind all that is installed.
    """

    imports = traitlets.List(traitlets.Unicode())

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The same for every name."""
        process = Path(__file__).with_name("kernel_process.py")
        command = [sys.executable, "-P", str(process), json.dumps(self.imports)]
        command += ["-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3 (ipykernel)", language="python")


class Kernel:
    """What a run knows of its kernel process, and how it ends it.

    Args:
        environment: variables of the process, beyond those of this one.
        folder: the folder it works in; None for the current one.
        imports: folders whose modules can be imported, behind all that is installed.
        log: an open file for what the process writes past Jupyter: a crash's last words.

    Attributes:
        pid: the process, which leads a group of its own; 0 while there is none.
        ready: whether it has begun to answer.
        stop_reason: tells why the run was asked to stop, if it was.
    """

    def __init__(
        self,
        environment: dict[str, str] | None = None,
        *,
        folder: Path | None = None,
        imports: Sequence[Path] = (),
        log: IO[Any] | None = None,
    ) -> None:
        self.environment = {**VARIABLES, **(environment or {})}
        self.folder, self.log, self.pid = folder, log, 0
        self.imports = [str(folder) for folder in imports]
        self.ready, self._log_start = False, 0
        self.stop_reason: Callable[[], str | None] = lambda: None
        self._token = self.environment.get(TOKEN_VARIABLE, "")
        self._guard: Guard | None = None

    def options(self) -> dict[str, Any]:
        """The process's environment, folder and streams, as ``start_kernel`` takes them."""
        # An empty entry is the working directory; a relative one means another in another folder.
        paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, paths)),
            **self.environment,
        }
        options: dict[str, Any] = {"env": environment}
        if self.folder:
            options["cwd"] = str(self.folder)
        if self.log:
            self._log_start = os.fstat(self.log.fileno()).st_size
            options |= {"stdout": self.log, "stderr": self.log}
        return options

    def log_tail(self) -> list[str]:
        """The last lines that the process wrote past Jupyter, where it has a log."""
        if not self.log:
            return []
        size = os.fstat(self.log.fileno()).st_size
        start = max(self._log_start, size - 65536)
        text = os.pread(self.log.fileno(), size - start, start).decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-LOG_LINES:]

    def started(self, pid: int, scratch: str) -> None:
        """Take note of the process, and have it guarded, with the folder that is its own."""
        self.pid = pid
        if self._token:
            self._guard = Guard(self._token, pid, scratch)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the running cell."""
        if self.pid:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """End the process and whatever it started, at once."""
        if self.pid and self._token:
            kill_family(self._token, self.pid)
        elif self.pid:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)

    def ended(self) -> None:
        """Kill what the process left behind and dismiss the guard."""
        self.kill()
        self.pid = 0
        if self._guard:
            self._guard.dismiss()
            self._guard = None
