"""Running a notebook headlessly, in a run folder of its own.

    run.json          also: notebook, parameters, cwd, time_limit, attempts, reason, error
    source.ipynb      the notebook as it was, with this run's parameters: what `resume` executes
    notebook.ipynb    the executed notebook, saved every few seconds; notebook.html its report
    notebook.1.ipynb  what the first attempt left, where the run was resumed

``error`` holds "name", "message", and where a cell raised it "cell" (counted from 1 in
``notebook.ipynb``) and the last "traceback" lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segbook.notebooks import parameters
from segbook.notebooks.tee import Tee
from segbook.runs.attempt import TRACEBACK_LINES, attempt
from segbook.runs.folder import DISK_FULL, FAILED, SOURCE, RunFolder, sha256, write_atomic
from segbook.runs.provenance import environment
from segbook.runs.stopping import Stopper

KERNEL_VARIABLES = {
    "SEGBOOK_HEADLESS": "1",
    "TQDM_DISABLE": "1",  # a saved bar stands at 0 % for ever; prints are progress here
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}


def create(
    notebook: Path,
    *,
    texts: Sequence[str] = (),
    file: Path | None = None,
    name: str | None = None,
    time_limit: float | None = None,
    root: Path | None = None,
) -> RunFolder:
    """Make the run folder of a notebook run; nothing is executed.

    Args:
        notebook: the ``.ipynb`` file; it is never changed.
        texts: ``name=value`` parameters as typed; they win over the file's.
        file: a YAML file of parameters.
        name: the run's name; default the notebook's.
        time_limit: seconds for each attempt; None for no limit.
        root: the folder of runs; default `segbook.runs.folder.runs_root`.

    Raises:
        ValueError: no such notebook, or a parameter that it does not take.
    """
    import nbformat

    content = _read_notebook(notebook)
    declared = parameters.declared(content.cells)
    given = parameters.values(declared, texts=texts, file=file)
    parameters.inject(content.cells, given, new_cell=nbformat.v4.new_code_cell)
    source = nbformat.writes(content) + "\n"
    known = {parameter.name: parameter.default for parameter in declared.values()}
    folder = RunFolder.create(
        name or notebook.stem,
        root=root,
        kind="notebook",
        notebook=str(notebook.resolve()),
        parameters=_recordable(known | given),
        overrides=_recordable(given),
        cwd=os.getcwd(),
        time_limit=time_limit,
        source_sha256=sha256(source),
        **environment(),
    )
    write_atomic(folder.path / SOURCE, source)
    return folder


def execute(folder: RunFolder, *, html: bool = True) -> dict[str, Any]:
    """Run a notebook run's cells, from the first on; a training in it finds its checkpoint.

    Args:
        folder: made by `create`; its earlier attempt, if there was one, is kept.
        html: whether the report is written.

    Returns:
        ``run.json`` at the end; "status" is "finished", "failed" or "stopped".

    Raises:
        RunBusyError: another process runs it.
        ValueError: the folder from which it was started is gone, or ``source.ipynb`` is another.
    """
    from segbook.notebooks.kernel import Kernel

    with folder.own() as variables, Tee(folder) as tee:
        described = folder.read()
        if absent := [key for key in ("cwd", "notebook") if not described.get(key)]:
            raise ValueError(f"run.json of {folder.name} does not say its {', '.join(absent)}")
        source, cwd = folder.source(), Path(described["cwd"])
        if not cwd.is_dir():
            raise ValueError(f"the run was started in {cwd}, which is gone; make that folder again")
        kernel = Kernel(
            {**variables, **KERNEL_VARIABLES, "PYTHONPATH": _python_path(described)},
            folder=cwd,
            log=tee.log,
        )
        stopper = Stopper(kernel.interrupt, kernel.kill, limit=described.get("time_limit"))
        kernel.stop_reason = lambda: stopper.reason
        with stopper.watch():
            with attempt(folder, stopper) as outcome:
                if (folder.path / "notebook.ipynb").exists():  # of the attempt before
                    number = folder.read()["attempts"] - 1
                    os.replace(
                        folder.path / "notebook.ipynb", folder.path / f"notebook.{number}.ipynb"
                    )
                outcome |= _execute(folder, source, kernel, tee)
            if html:
                _report(folder, Path(described["notebook"]).parent, tee)
        return folder.read()


def _execute(folder: RunFolder, source: str, kernel: Any, tee: Tee) -> dict[str, Any]:
    """Execute a notebook's text; the fields of ``run.json`` about what a cell did wrong."""
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillExecutionError

    from segbook.notebooks.executor import CellFailedError, SegbookEngine

    papermill_engines.register("segbook", SegbookEngine)  # a checkout has no entry points
    try:
        papermill.execute_notebook(
            nbformat.reads(source, as_version=4),
            None,  # the engine saves, and atomically
            engine_name="segbook",
            progress_bar=False,
            save_path=folder.path / "notebook.ipynb",
            kernel=kernel,
            show=tee.write,
            warn=tee.line,
        )
    except CellFailedError as error:
        return {"status": FAILED, "error": _cell_error(error)}
    except DeadKernelError as error:
        return {"status": FAILED, "error": {"name": "DeadKernelError", "message": str(error)}}
    except PapermillExecutionError:
        pass  # papermill looks for errors once more, and finds those of ``raises-exception`` cells
    return {}


def _cell_error(error: Any) -> dict[str, Any]:
    message = error.message
    if error.name == "OSError" and any(f"[Errno {number}]" in message for number in DISK_FULL):
        message = f"the disk is full: {message}"
    return {
        "name": error.name,
        "message": message,
        "cell": error.cell,
        "execution_count": error.execution_count,
        "traceback": error.traceback[-TRACEBACK_LINES:],
    }


def _report(folder: RunFolder, beside: Path, tee: Tee) -> None:
    """Write the HTML report; a run does not fail for want of it."""
    from segbook.notebooks.html import write_html

    try:
        write_html(folder.path / "notebook.ipynb", folder.path / "notebook.html", beside=beside)
    except Exception as error:
        tee.line(f"no HTML report: {type(error).__name__}: {error}")


def _read_notebook(path: Path) -> Any:
    import nbformat

    if not path.is_file():
        there = ", ".join(sorted(p.name for p in path.parent.glob("*.ipynb"))) or "none"
        raise ValueError(f"there is no notebook {path}; notebooks in that folder: {there}")
    try:
        content = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat's own errors, JSON's, and KeyErrors of odd content
        raise ValueError(f"{path} is no notebook: {error}") from None
    language = content.metadata.get("kernelspec", {}).get("language", "python")
    if language.lower() != "python":
        raise ValueError(f"{path} is a notebook in {language}; only Python's can be run")
    return content


def _recordable(values: dict[str, Any]) -> dict[str, Any]:
    """Values as ``run.json`` keeps them for the reader; what JSON does not know by its text."""
    return json.loads(json.dumps(values, default=repr, skipkeys=True))


def _python_path(described: dict[str, Any]) -> str:
    """The kernel's PYTHONPATH: ours, made absolute, and the notebook's folder as in JupyterLab."""
    entries = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    absolute = [os.path.abspath(entry) for entry in entries]
    return os.pathsep.join([*absolute, str(Path(described["notebook"]).parent)])
