"""Executes a notebook: a papermill engine that does not hang, saves as it goes, and can be stopped.

Differs from papermill's own engine: writing into an ``Output`` widget cannot deadlock it (nbclient
issue 312), a save is atomic and comes every few seconds also while a cell is silent, a full disk
does not end a run, the output is seen while it is made, and the notebook that remains holds no
timings and no widget state, so that two runs of it differ in what they computed only.

    papermill --engine segbook in.ipynb out.ipynb       # or: segbook run in.ipynb
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbclient.output_widget import OutputWidget
from nbclient.util import run_sync

from segbook.notebooks.kernel import Kernel, ThisPython
from segbook.runs.folder import write_atomic
from segbook.runs.stopping import RunStopped

AUTOSAVE = 5.0
"""Seconds between two saves of a running notebook."""


class CellFailedError(Exception):
    """A cell raised an exception.

    Attributes:
        cell: its place in the notebook, counted from 1.
        execution_count: the number that the notebook shows beside it.
        name: of the exception's class.
        message: of the exception.
        traceback: lines, without colours.
    """

    def __init__(self, cell: nbformat.NotebookNode, place: int, name: str, message: str) -> None:
        super().__init__(f"{name} in cell {place}: {message}")
        self.cell, self.execution_count, self.name, self.message = (
            place, cell.execution_count, name, message,
        )  # fmt: skip
        traces = [o.traceback for o in cell.outputs if o.output_type == "error"]
        coloured = "\n".join(traces[-1]) if traces else ""
        self.traceback = re.sub(r"\x1b\[[0-9;]*m", "", coloured).splitlines()


class SilentOutputWidget(OutputWidget):
    """Keeps what is written into an Output widget without telling the kernel.

    Telling it sends on the shell socket while nbclient waits there for the cell's reply; the
    wake-up is lost and both wait for ever.
    """

    def sync_state(self) -> None:
        """Send nothing."""


class Client(NotebookClient):
    """Executes a notebook's cells, mirrors their output and saves on the way.

    Args:
        nb: the notebook, changed in place.
        path: where it is saved; None does not save.
        kernel: the run's hold on the kernel process.
        show: is told each piece of text that a cell writes.
        warn: is told, a line at a time, what went wrong without ending the run.
    """

    def __init__(
        self,
        nb: nbformat.NotebookNode,
        *,
        path: Path | None,
        kernel: Kernel,
        show: Callable[[str], None],
        warn: Callable[[str], None],
        **options: Any,
    ) -> None:
        quiet = logging.getLogger("segbook.engine")
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        super().__init__(nb, log=quiet, record_timing=False, coalesce_streams=True, **options)
        self.extra_arguments = ["--IPKernelApp.log_level=ERROR"]  # else it warns at each start
        self.path, self.kernel, self.show, self.warn = path, kernel, show, warn
        self.widget_registry = {"@jupyter-widgets/output": {"OutputModel": SilentOutputWidget}}
        self.km = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisPython())
        self.unsaved = False
        self.failure: OSError | None = None

    def run(self) -> None:
        """Execute all cells, or those up to a ``sys.exit()``.

        Raises:
            CellFailedError: a cell raised an exception; it is in the notebook, too.
            RunStopped: the run was asked to stop.
            DeadKernelError: the kernel died; the message says how.
            OSError: the notebook could not be saved at the end.
        """
        try:
            run_sync(self._run)()
        except (CellFailedError, DeadKernelError):
            self._refuse_if_stopped()
            raise
        finally:
            self.kernel.ended()
            self.save()
        if self.failure:
            raise self.failure

    async def _run(self) -> None:
        self._refuse_if_stopped()
        self.save()
        await self.async_start_new_kernel(**self.kernel.options())
        self.kernel.started(self._provisioner.pid)
        try:
            await self.async_start_new_kernel_client()
        except RuntimeError as error:
            raise DeadKernelError(f"the kernel did not start: {error}") from error
        try:
            for index, cell in enumerate(self.nb.cells):
                self._refuse_if_stopped()
                if cell.cell_type == "code" and not await self._run_cell(cell, index):
                    break
        finally:
            await self._async_cleanup_kernel()

    @property
    def _provisioner(self) -> Any:
        assert self.km is not None  # made with this client
        return self.km.provisioner  # that of a local process, which has a pid

    async def _run_cell(self, cell: nbformat.NotebookNode, index: int) -> bool:
        saver = asyncio.ensure_future(self._save_now_and_then())
        try:
            await self.async_execute_cell(cell, index)
            return True
        except CellExecutionError as error:
            if error.ename == "SystemExit" and error.evalue in ("", "0", "None"):
                self.warn(f"the notebook ended itself in cell {index + 1} (sys.exit)")
                return False
            raise CellFailedError(cell, index + 1, error.ename, error.evalue) from None
        except DeadKernelError:
            raise DeadKernelError(await self._last_words(index)) from None
        finally:
            saver.cancel()
            self.save()

    def _refuse_if_stopped(self) -> None:
        if reason := self.kernel.stop_reason():
            raise RunStopped(reason)

    async def _last_words(self, cell_index: int) -> str:
        code = await self._provisioner.poll()
        how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        words = {
            -signal.SIGKILL: ": out of memory?",
            -signal.SIGSEGV: ": a crash in compiled code",
            -signal.SIGBUS: ": is the shared memory (/dev/shm) too small?",
        }
        return f"the kernel {how} in cell {cell_index + 1}{words.get(code or 0, '')}"

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(AUTOSAVE)
            if self.unsaved:
                began = time.monotonic()
                self.save()
                await asyncio.sleep(10 * (time.monotonic() - began))

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Mirror a cell's text; the rest is nbclient's."""
        self.unsaved = True
        if msg["msg_type"] == "stream":
            self.show(msg["content"]["text"])
        return super().process_message(msg, cell, cell_index)

    def save(self) -> None:
        """Save the notebook; where that fails, say so once and go on: the run is worth more."""
        if not self.path:
            return
        try:
            write_atomic(self.path, nbformat.writes(self.nb) + "\n")
            self.unsaved, self.failure = False, None
        except OSError as error:
            if not self.failure:
                self.warn(f"cannot save {error.filename}: {error.strerror}; the run goes on")
            self.failure = error


class SegbookEngine:
    """The engine, as papermill calls it (entry point group ``papermill.engine``).

    It derives from nothing of papermill, which loads it while it is itself being imported.
    """

    @classmethod
    def execute_notebook(
        cls,
        nb: nbformat.NotebookNode,
        kernel_name: str,
        output_path: str | None = None,
        *,
        save_path: Path | None = None,
        kernel: Kernel | None = None,
        show: Callable[[str], None] | None = None,
        warn: Callable[[str], None] | None = None,
        log_output: bool = False,
        start_timeout: int = 120,
        execution_timeout: int | None = None,
        **ignored: Any,
    ) -> nbformat.NotebookNode:
        """Execute a notebook.

        Args:
            nb: the notebook, changed in place.
            kernel_name: not used; the kernel is this Python.
            output_path: where papermill wants it saved.
            save_path: where a run wants it saved, instead.
            kernel: the run's hold on the kernel process.
            show: is told each piece of text that a cell writes.
            warn: is told what went wrong without ending the run.
            log_output: whether that is standard output, where ``show`` is not given.
            start_timeout: seconds that the kernel may take to start.
            execution_timeout: seconds that one cell may take; None for no limit.
            **ignored: papermill's further options.

        Returns:
            The notebook.

        Raises:
            CellFailedError: a cell raised an exception.
            DeadKernelError: the kernel died.
            OSError: the notebook could not be saved.
        """
        tidy(nb)
        path = save_path or (Path(output_path) if output_path else None)
        Client(
            nb,
            path=path,
            kernel=kernel or Kernel(),
            show=show or (lambda text: print(text, end="") if log_output else None),
            warn=warn or (lambda line: print(line, file=sys.stderr)),
            startup_timeout=start_timeout,
            timeout=execution_timeout,
        ).run()
        return nb

    @classmethod
    def nb_kernel_name(cls, nb: nbformat.NotebookNode, name: str | None = None) -> str:
        """The kernel papermill should name."""
        return name or "python3"

    @classmethod
    def nb_language(cls, nb: nbformat.NotebookNode, language: str | None = None) -> str:
        """The language papermill writes parameters in."""
        return language or "python"


def tidy(nb: nbformat.NotebookNode) -> None:
    """Take outputs and what differs from machine to machine out of a notebook, in place."""
    nb.metadata = nbformat.NotebookNode(
        {key: value for key, value in nb.metadata.items() if key not in ("papermill", "widgets")},
    )
    nb.metadata.kernelspec = {
        "display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3",
    }  # fmt: skip
    nb.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}
    for cell in nb.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
