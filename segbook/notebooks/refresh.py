"""Execute notebooks in place with their default parameters, as they are committed.

Beside them, in ``widgets/``, is written what their widgets hold: a committed notebook has none, and
the site of the book (`make docs`) shows them moving.

python -m segbook.notebooks.refresh notebooks/*.ipynb
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat

from segbook.notebooks.executor import CellFailedError, SegbookEngine
from segbook.notebooks.kernel import Kernel
from segbook.runs.folder import write_atomic


def refresh(path: Path) -> float:
    """Execute a notebook and save it with its outputs; its run folders are thrown away.

    Returns:
        Seconds.

    Raises:
        CellFailedError: a cell raised an exception; the notebook on disk shows it.
    """
    notebook = nbformat.read(path, as_version=4)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as runs:
        here = path.parent.resolve()
        kernel = Kernel({"SEGBOOK_RUNS": runs}, folder=here, imports=[here])
        SegbookEngine.execute_notebook(
            notebook,
            "python3",
            save_path=path,
            kernel=kernel,
            live=lambda found: write_widgets(found, path),
        )
    return time.monotonic() - began


def widgets_of(path: Path) -> Path:
    """Where the state of a notebook's widgets lies."""
    return path.parent / "widgets" / f"{path.stem}.json"


def write_widgets(found: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the widgets of a notebook, one a line, so that a difference shows which changed."""
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in found)
    widgets_of(path).parent.mkdir(exist_ok=True)
    write_atomic(widgets_of(path), f"[\n{lines}\n]\n")


def main(paths: list[str]) -> int:
    """Refresh each notebook; the exit code is the number of those that failed."""
    failed = 0
    for path in map(Path, paths):
        try:
            seconds = refresh(path)
            print(f"{path}: {seconds:.0f} s, {path.stat().st_size / 1024:.0f} KiB", flush=True)
        except CellFailedError as error:
            failed += 1
            print(f"{path}: {error}", *error.traceback[-15:], sep="\n", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
