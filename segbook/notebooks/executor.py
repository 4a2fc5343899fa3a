"""Executes a notebook: a papermill engine that does not hang, saves as it goes, and can be stopped.

Differs from papermill's own engine: all that the kernel writes is kept, however much and whenever
it comes; writing into an ``Output`` widget cannot deadlock it (nbclient issue 312); a save is
atomic and comes every few seconds also while a cell is silent; a full disk does not end a run; the
output is seen while it is made; and the notebook that remains holds no timings and no widgets, so
that two runs of it differ in what they computed only and no reader of it needs a kernel.

    papermill --engine segbook in.ipynb out.ipynb       # or: segbook run in.ipynb
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, CellExecutionError, DeadKernelError
from nbclient.output_widget import OutputWidget
from nbclient.util import ensure_async, run_sync

from segbook.notebooks import views
from segbook.notebooks.kernel import Kernel, ThisPython
from segbook.runs.folder import write_atomic
from segbook.runs.stopping import GRACE, RunStopped
from segbook.text import one_line

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

    def output(self, outs: Any, msg: Any, display_id: str | None, cell_index: int) -> None:
        """Keep an output, and know it again when it is changed."""
        super().output(outs, msg, display_id, cell_index)
        if display_id:
            self.executor.displays.setdefault(display_id, []).append(self.outputs[-1])


class Warnings(logging.Handler):
    """Hands what a lower layer logs on, a line at a time."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self.warn = warn

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one record on, unless it is raised as an exception as well."""
        line = one_line(record.getMessage())
        if not line.startswith(("Error occurred while starting", "Kernel died while")):
            self.warn(line)


class Client(NotebookClient):
    """Executes a notebook's cells, mirrors their output and saves on the way.

    Args:
        nb: the notebook, changed in place.
        path: where it is saved; None does not save.
        kernel: the run's hold on the kernel process.
        show: is told each piece of text that a cell writes.
        warn: is told, a line at a time, what went wrong without ending the run.
        exited: is told the place of the cell, counted from 1, that ended the notebook by a
            ``sys.exit()`` without an error.

    Attributes:
        displays: what was shown under a display id and may be changed by any cell.
        live: the book's own widgets when the run has ended, see `segbook.notebooks.views.live`.
    """

    def __init__(
        self,
        nb: nbformat.NotebookNode,
        *,
        path: Path | None,
        kernel: Kernel,
        show: Callable[[str], None],
        warn: Callable[[str], None],
        exited: Callable[[int], None],
        **options: Any,
    ) -> None:
        log = logging.Logger("segbook.engine", logging.WARNING)
        log.addHandler(Warnings(warn))
        super().__init__(nb, log=log, record_timing=False, **options)
        self.iopub_timeout = sys.maxsize  # a cell's output ends with its idle message
        self.extra_arguments = ["--IPKernelApp.log_level=ERROR"]  # else it warns at each start
        self.path, self.kernel, self.show, self.warn = path, kernel, show, warn
        self.exited = exited
        self.widget_registry = {"@jupyter-widgets/output": {"OutputModel": SilentOutputWidget}}
        # Jupyter's own folder for it lies in a home that may not be there.
        self._files = tempfile.TemporaryDirectory(prefix="segbook-kernel-")
        self.km = AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=ThisPython(imports=kernel.imports),
            connection_file=str(Path(self._files.name) / "connection.json"),
            log=log,
        )
        self.displays: dict[str, list[nbformat.NotebookNode]] = {}
        self.live: list[dict[str, Any]] = []
        self._executed: dict[str, tuple[nbformat.NotebookNode, int]] = {}  # by message id
        self._clear_next: dict[int, bool] = {}  # by cell
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
            self._files.cleanup()
            self.live = views.live(self.nb.cells, self.widget_state, self.widget_buffers)
            self.nb.cells = self._saved_cells()
            self.save()
        if self.failure:
            raise self.failure

    async def _run(self) -> None:
        self._refuse_if_stopped()
        self.save()
        await self.async_start_new_kernel(**self.kernel.options())
        self.kernel.started(self._provisioner.pid, self._files.name)
        try:
            await self.async_start_new_kernel_client()
        except RuntimeError as error:
            last = "".join(f": {line.strip()}" for line in self.kernel.log_tail()[-1:])
            raise DeadKernelError(f"the kernel did not start: {error}{last}") from error
        self.kernel.ready = True
        try:
            for index, cell in enumerate(self.nb.cells):
                self._refuse_if_stopped()
                if cell.cell_type == "code" and not await self._run_cell(cell, index):
                    break
        finally:
            if not self.kernel.stop_reason():
                await self._end_kernel()
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
            if error.ename == "SystemExit" and error.evalue in ("", "0", "None", "False"):
                self.exited(index + 1)
                return False
            raise CellFailedError(cell, index + 1, error.ename, error.evalue) from None
        except DeadKernelError:
            while await self._receive(timeout=0.2):  # what it wrote before it died
                pass
            raise DeadKernelError(await self._last_words(index)) from None
        finally:
            saver.cancel()
            cell.outputs = coalesce(cell.outputs)
            self.save()

    async def _end_kernel(self) -> None:
        """Let the kernel end as a Python program does, which waits for its threads."""
        assert self.km is not None
        began = time.monotonic()
        with contextlib.suppress(RuntimeError):  # it is dead
            await ensure_async(self.km.request_shutdown())
        while await ensure_async(self.km.is_alive()):
            if time.monotonic() - began > GRACE:
                self.warn(
                    f"the kernel did not end within {GRACE:.0f} s of its last cell, as when a "
                    "thread of the notebook goes on; what it was still to write is lost"
                )
                return
            await self._receive(timeout=0.1)
        while await self._receive(timeout=0.1):
            pass

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

    async def _async_poll_output_msg(
        self, parent_msg_id: str, cell: nbformat.NotebookNode, cell_index: int
    ) -> None:
        """Receive until a cell's idle message; what threads of earlier cells write is theirs."""
        self._executed[parent_msg_id] = cell, cell_index
        while await self._receive(timeout=None) != parent_msg_id:
            pass

    async def _receive(self, *, timeout: float | None) -> str | bool:
        """Receive one output; False if none comes, the id of a cell that has ended, else True."""
        assert self.kc is not None
        try:
            message = await self.kc.iopub_channel.get_msg(timeout=timeout)
        except Empty:
            return False
        parent = message["parent_header"].get("msg_id")
        if parent in self._executed:
            try:
                self.process_message(message, *self._executed[parent])
            except CellExecutionComplete:
                return parent
        return True

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Mirror a cell's text; the rest is nbclient's."""
        self.unsaved = True
        if msg["msg_type"] == "stream":
            self.show(msg["content"]["text"])
        self.clear_before_next_output = self._clear_next.get(cell_index, False)
        try:
            return super().process_message(msg, cell, cell_index)
        finally:
            self._clear_next[cell_index] = self.clear_before_next_output

    def output(self, outs: Any, msg: Any, display_id: str | None, cell_index: int) -> Any:
        """Keep an output, and know it again when it is changed.

        nbclient knows it by its place, which is another when streams are merged.
        """
        hooked = self.output_hook_stack[msg["parent_header"].get("msg_id")]
        output = super().output(outs, msg, display_id if hooked else None, cell_index)
        if output and display_id:
            self.displays.setdefault(display_id, []).append(output)
        return output

    def _update_display_id(self, display_id: str, msg: Any) -> None:
        for output in self.displays.get(display_id, ()):
            output["data"] = nbformat.from_dict(msg["content"]["data"])
            output["metadata"] = nbformat.from_dict(msg["content"]["metadata"])

    def _saved_cells(self) -> list[nbformat.NotebookNode]:
        """The cells as they are saved: streams in one piece, no widget that needs a kernel."""
        widgets = {
            comm: widget.outputs
            for comm, widget in self.comm_objects.items()
            if isinstance(widget, OutputWidget)
        }
        cells = []
        for cell in self.nb.cells:
            if cell.cell_type == "code":
                cell = copy.copy(cell)
                cell.outputs = views.still(coalesce(cell.outputs), self.widget_state, widgets)
            cells.append(cell)
        return cells

    def save(self) -> None:
        """Save the notebook; where that fails, say so once and go on: the run is worth more."""
        if not self.path:
            return
        saved = copy.copy(self.nb)
        saved.cells = self._saved_cells()
        try:
            write_atomic(self.path, nbformat.writes(saved) + "\n")
            self.unsaved, self.failure = False, None
        except OSError as error:
            if not self.failure:
                self.warn(f"cannot save {error.filename}: {error.strerror}; the run goes on")
            self.failure = error


def coalesce(outputs: Sequence[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    r"""Outputs with their streams merged, stdout before stderr; each ``\r`` takes its line back.

    In the order of nbclient, whose expression for ``\r`` takes hours over a line of megabytes.
    """
    texts: dict[str, list[str]] = {}
    merged: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type != "stream":
            merged.append(output)
        elif output.name in texts:
            texts[output.name].append(output.text)
        else:
            texts[output.name] = [output.text]
            merged.append(copy.copy(output))
    for i, output in enumerate(merged):
        if output.output_type == "stream":
            output.text = _overwritten("".join(texts[output.name]))
            if output.name == "stdout" and i and merged[i - 1].get("name") == "stderr":
                merged[i - 1 : i + 1] = [output, merged[i - 1]]
    return merged


def _overwritten(text: str) -> str:
    if "\r" not in text:
        return text
    lines = text.split("\n")
    for i, line in enumerate(lines):
        shown = line.rstrip("\r")
        lines[i] = shown.rpartition("\r")[2] + line[len(shown) :]
    return "\n".join(lines)


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
        exited: Callable[[int], None] | None = None,
        live: Callable[[list[dict[str, Any]]], None] | None = None,
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
            exited: is told the place of a cell that ended the notebook by a ``sys.exit()``.
            live: is told the book's own widgets at the end, see `segbook.notebooks.views.live`.
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
        warn = warn or (lambda line: print(line, file=sys.stderr))
        client = Client(
            nb,
            path=path,
            kernel=kernel or Kernel(),
            show=show or (lambda text: print(text, end="") if log_output else None),
            warn=warn,
            exited=exited or (lambda cell: warn(f"sys.exit() in cell {cell} ended the notebook")),
            startup_timeout=start_timeout,
            timeout=execution_timeout,
        )
        client.run()
        if live:
            live(client.live)
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
