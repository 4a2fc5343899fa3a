"""Running a notebook headlessly, in a run folder of its own.

    run.json          also: notebook, parameters, cwd, time_limit, attempts, reason, error, warnings
    source.ipynb      the notebook as it was, with this run's parameters: what `resume` executes
    notebook.ipynb    the executed notebook, saved every few seconds; notebook.html its report
    notebook.1.ipynb  what the first attempt left, where the run was resumed

``error`` holds "name", "message", and where a cell raised it "cell" (counted from 1 in
``notebook.ipynb``) and the last "traceback" lines. ``warnings`` holds the lines about what went
wrong without ending the run, above all about outputs that were lost.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from segbook.notebooks import parameters
from segbook.notebooks.tee import Tee
from segbook.runs.attempt import TRACEBACK_LINES, attempt
from segbook.runs.folder import DISK_FULL, FAILED, SOURCE, RunFolder, sha256, write_atomic
from segbook.runs.provenance import environment
from segbook.runs.stopping import Stopper
from segbook.text import one_line, shell

MAX_WARNINGS = 20
"""Different lines of them that ``run.json`` keeps; the log has all."""


def create(
    notebook: Path,
    *,
    texts: Sequence[str] = (),
    file: Path | None = None,
    name: str | None = None,
    cwd: Path | None = None,
    time_limit: float | None = None,
    root: Path | None = None,
    show: Callable[[str], None] = print,
) -> RunFolder:
    """Make the run folder of a notebook run; nothing is executed.

    Args:
        notebook: the ``.ipynb`` file; it is never changed.
        texts: ``name=value`` parameters as typed; they win over the file's.
        file: a YAML file of parameters.
        name: the run's name; default the notebook's.
        cwd: the folder in which it runs, from which its relative paths count; default the current.
        time_limit: seconds for each attempt; None for no limit.
        root: the folder of runs; default `segbook.runs.folder.runs_root`.
        show: is told which parameters the notebook keeps from an earlier run.

    Raises:
        ValueError: no such notebook or folder, or a parameter that it does not take.
    """
    import nbformat

    content = read_notebook(notebook)
    if cwd and not cwd.is_dir():
        raise ValueError(f"there is no folder {one_line(cwd)} to run the notebook in")
    declared = parameters.declared(content.cells)
    given = parameters.values(declared, texts=texts, file=file)
    kept = parameters.injected(content.cells, declared)
    if kept := {key: value for key, value in kept.items() if key not in given}:
        values = ", ".join(f"{key}={value!r}" for key, value in kept.items())
        show(f"the notebook keeps the parameters of its last run: {one_line(values)}")
    given = kept | given
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
        cwd=str((cwd or Path()).resolve()),
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
            {**variables, "SEGBOOK_RUNS": str(folder.path.parent)},
            folder=cwd,
            imports=[Path(described["notebook"]).parent, cwd],
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
                outcome["warnings"] = []
                outcome |= _execute(folder, source, kernel, tee, outcome["warnings"])
            if html:
                _report(folder, Path(described["notebook"]).parent, tee)
        return folder.read()


def _execute(
    folder: RunFolder, source: str, kernel: Any, tee: Tee, said: list[str]
) -> dict[str, Any]:
    """Execute a notebook's text; the fields of ``run.json`` about how its cells ended it."""
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillExecutionError

    from segbook.notebooks.executor import CellFailedError, SegbookEngine

    outcome: dict[str, Any] = {}
    content = nbformat.reads(source, as_version=4)

    def warn(line: str) -> None:
        tee.line(line)
        if len(said) < MAX_WARNINGS and line not in said:
            said.append(line)

    def exited(place: int) -> None:
        left = sum(cell.cell_type == "code" for cell in content.cells[place:])
        outcome["reason"] = f"sys.exit() in cell {place}; code cells that were not run: {left}"

    papermill_engines.register("segbook", SegbookEngine)  # a checkout has no entry points
    try:
        papermill.execute_notebook(
            content,
            None,  # the engine saves, and atomically
            engine_name="segbook",
            progress_bar=False,
            save_path=folder.path / "notebook.ipynb",
            kernel=kernel,
            show=tee.write,
            warn=warn,
            exited=exited,
        )
    except CellFailedError as error:
        return {"status": FAILED, "error": _cell_error(error, folder.read())}
    except DeadKernelError as error:
        described = {"name": "DeadKernelError", "message": str(error)}
        if not kernel.ready:
            described["traceback"] = kernel.log_tail()
        return {"status": FAILED, "error": described}
    except PapermillExecutionError:
        pass  # papermill looks for errors once more, and finds those of ``raises-exception`` cells
    return outcome


def _cell_error(error: Any, described: dict[str, Any]) -> dict[str, Any]:
    message = error.message
    if error.name == "OSError" and any(f"[Errno {number}]" in message for number in DISK_FULL):
        message = f"the disk is full: {message}"
    beside, cwd = Path(described["notebook"]).parent, Path(described["cwd"])
    if name := _missing_file(message, cwd, beside):
        message += (
            f". {one_line(name)} lies beside the notebook, which runs in {one_line(cwd)}: "
            f"start it again by segbook run, with {shell('--cwd', beside)}"
        )
    return {
        "name": error.name,
        "message": message,
        "cell": error.cell,
        "execution_count": error.execution_count,
        "traceback": error.traceback[-TRACEBACK_LINES:],
    }


def _missing_file(message: str, cwd: Path, beside: Path) -> str | None:
    """A relative path that a message names, which is not in one folder and is in the other."""
    quoted = [a or b for a, b in re.findall(r"'([^'\n]+)'|\"([^\"\n]+)\"", message)]
    words = [word.strip("'\"`,;:()[]<>").removesuffix(".") for word in message.split()]
    for name in [*quoted, *(word for word in words if "." in word or "/" in word)]:
        try:
            if not (cwd / name).exists() and (beside / name).exists():
                return name
        except (OSError, ValueError):  # a name too long, a NUL
            continue
    return None


def _report(folder: RunFolder, beside: Path, tee: Tee) -> None:
    """Write the HTML report; a run does not fail for want of it."""
    from segbook.notebooks.html import write_html

    try:
        write_html(folder.path / "notebook.ipynb", folder.path / "notebook.html", beside=beside)
    except Exception as error:
        tee.line(f"no HTML report: {type(error).__name__}: {error}")


def read_notebook(path: Path) -> Any:
    """Read a notebook that somebody has: of an older format, damaged a little; without outputs.

    Raises:
        ValueError: no such file, no notebook, or one in another language than Python.
    """
    import nbformat
    from nbformat.validator import normalize

    from segbook.notebooks.executor import tidy

    name = one_line(path)
    if not path.exists():
        there = ", ".join(sorted(p.name for p in path.parent.glob("*.ipynb"))) or "none"
        raise ValueError(
            f"there is no notebook {name}; notebooks in that folder: {one_line(there)}"
        )
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise ValueError(f"{name} is {what}; give a notebook, a file that ends in .ipynb")
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin with a byte-order mark
        if not text.strip():
            raise ValueError("the file is empty")
        content = nbformat.convert(nbformat.reader.reads(text), 4)
        language = _language(content.metadata)
        tidy(content)
        for cell in content.cells:
            if not re.fullmatch(r"[\w-]{1,64}", str(cell.get("id", "")), re.ASCII):
                cell.pop("id", None)
        with warnings.catch_warnings(action="ignore"):  # it says which ids it makes
            content = nbformat.from_dict(normalize(content)[1])
        nbformat.validate(content, relax_add_props=True)
    except OSError as error:
        raise ValueError(f"cannot read {name}: {error.strerror}") from None
    except Exception as error:  # nbformat's own errors, JSON's, and KeyErrors of odd content
        raise ValueError(f"{name} is no notebook: {_first_sentence(error)}") from None
    if language.lower() not in ("python", "ipython"):
        raise ValueError(f"{name} is a notebook in {language}; only Python's can be run")
    return content


def _language(metadata: Any) -> str:
    """The language of a notebook's cells, from whichever of its odd metadata says so."""
    spec, info = ({**part} if isinstance(part, dict) else {} for part in (
        metadata.get("kernelspec"), metadata.get("language_info"),
    ))  # fmt: skip
    # A kernelspec may leave its language out; R's and Julia's are known by their names.
    named = {"ir": "R", "julia": "Julia"}.get(re.split(r"[-\d]", str(spec.get("name")))[0])
    for language in (spec.get("language"), info.get("name"), named):
        if language and isinstance(language, str):
            return one_line(language)
    return "python"


def _first_sentence(error: Exception) -> str:
    text = one_line((str(error).strip() or type(error).__name__).splitlines()[0])
    return text if len(text) <= 200 else text[:199] + "…"


def _recordable(values: dict[str, Any]) -> dict[str, Any]:
    """Values as ``run.json`` keeps them for the reader; what JSON does not know by its text."""
    return json.loads(json.dumps(values, default=repr, skipkeys=True))
