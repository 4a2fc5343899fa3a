"""Copies of chapters for students: without solutions and outputs, with all that they link to.

    OUT/notebooks/09_pp_liteseg.ipynb      OUT/docs/runs/…      a link leads to the same place

What stands between ``### BEGIN SOLUTION`` and ``### END SOLUTION``, nbgrader's lines, goes too.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat

from segbook.course.exercises import tags
from segbook.course.sealed import seal
from segbook.notebooks.run import read_notebook
from segbook.text import one_line

REGION = re.compile(r"^([ \t]*)### BEGIN SOLUTION.*?### END SOLUTION[^\n]*$", re.M | re.S)
LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)|\b(?:src|href)\s*=\s*["']([^"']+)""")
MOST = 20_000_000
"""Bytes of one linked file or folder that are copied: pages and pictures, and no data set."""


def strip(
    out: Path,
    notebooks: Sequence[Path] = (),
    *,
    force: bool = False,
    show: Callable[[str], None] = print,
) -> list[Path]:
    """Write copies of notebooks for students.

    Args:
        out: a new or empty folder; the copies lie in it as the notebooks beside their neighbours.
        notebooks: default all of ``./notebooks``.
        force: whether it may hold files, which are overwritten.
        show: is told of links to what is not copied.

    Returns:
        The copies.

    Raises:
        ValueError: no such notebook, the folder is not empty, or the copy would be the original.
    """
    sources = [path.resolve() for path in notebooks or sorted(Path("notebooks").glob("*.ipynb"))]
    if not sources:
        raise ValueError(
            "there are no notebooks in ./notebooks; say which: segbook course strip OUT NOTEBOOK"
        )
    targets = [out / path.parent.name / path.name for path in sources]
    if len(set(targets)) < len(targets):
        raise ValueError("two of the notebooks would have one copy; strip them to two folders")
    contents = [read_notebook(path) for path in sources]  # a bad one is refused first
    if out.exists() and not out.is_dir():
        raise ValueError(f"{one_line(out)} is no folder")
    if out.exists() and any(out.iterdir()) and not force:
        raise ValueError(f"{one_line(out)} is not empty; give another folder, or --force")
    for source, target in zip(sources, targets, strict=True):
        if target.resolve() == source:
            raise ValueError(f"{one_line(target)} is the original; give another folder")
    for source, target, content in zip(sources, targets, contents, strict=True):
        for linked in sorted(set(_links(content, source.parent))):
            if linked.suffix == ".ipynb":
                if linked not in sources:
                    show(f"{source.name} links to {linked.name}, which is not among the copies")
            elif _size(linked) > MOST:
                show(f"{source.name} names {linked.name}, which is large and not copied")
            else:
                _copy(linked, out / linked.relative_to(source.parent.parent))
        _strip(content)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(nbformat.writes(content) + "\n", encoding="utf-8")
    return targets


def _strip(content: Any) -> None:
    """Take the solutions out of a notebook that `read_notebook` has read, in place."""
    for cell in content.cells:
        if cell.cell_type == "code" and "solution" in tags(cell):
            cell.source = seal(cell.source)
        else:
            cell.source = REGION.sub(r"\1...", cell.source)


def _links(content: Any, folder: Path) -> Iterator[Path]:
    """The files and folders that a notebook names, beside it or beside its folder."""
    names: list[str] = []
    for cell in content.cells:
        if cell.cell_type == "markdown":
            names += [unquote(a or b).partition("#")[0] for a, b in LINK.findall(cell.source)]
        elif cell.cell_type == "code":
            try:
                nodes = list(ast.walk(ast.parse(cell.source)))
            except SyntaxError:
                continue  # a magic
            names += [
                n.value for n in nodes if isinstance(n, ast.Constant) and type(n.value) is str
            ]
    for name in names:
        try:
            path = (folder / name).resolve()
            there = bool(name) and path.exists()
        except (OSError, ValueError):  # no path at all
            continue
        if there and path.is_relative_to(folder.parent) and not folder.is_relative_to(path):
            yield path


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _copy(path: Path, target: Path) -> None:
    if target.resolve() == path:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, dirs_exist_ok=True)
    else:
        shutil.copy(path, target)
