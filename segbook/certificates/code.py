"""Which files a network is written in, and a hash that changes when what they compute may."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import segkit
from segkit.backbones import BACKBONES
from segkit.builder import own_backbone

ROOT = Path(segkit.__file__).parent
PARTS = ("models", "backbones", "nn")
"""The packages that a network is made of; losses and weights do not change what it computes."""
IGNORED = ("annotation", "returns", "kind", "type_comment", "ctx")
"""Fields of a syntax tree that do not change what is computed."""


def files(builder: Callable[..., Any]) -> list[Path]:
    """The files that a builder's network is made of: its own, and all of `PARTS` they import."""
    found: dict[Path, None] = {ROOT / "outputs.py": None}  # whose order of stages all rely on
    waiting = [Path(inspect.getsourcefile(builder) or "")]
    if backbone := own_backbone(builder):
        waiting.append(Path(inspect.getsourcefile(BACKBONES[backbone]) or ""))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = None
            waiting += imported(path)
    return sorted(found)


def imported(path: Path) -> list[Path]:
    """The files of `PARTS` that a file imports with ``from segkit… import …``."""
    paths = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        package, *rest = (node.module or "").split(".")
        if package != "segkit" or not rest or (part := rest.pop(0)) not in PARTS:
            continue
        base = ROOT.joinpath(part, *rest)
        names = [base / f"{alias.name}.py" for alias in node.names]
        candidates = [base.with_suffix(".py"), *names]
        if base.is_dir():  # names that a package hands on: the files that they are defined in
            candidates.append(base / "__init__.py")
            candidates += _defining(base, {alias.name for alias in node.names})
        every = ROOT / "backbones" / "catalog.py"  # knows all backbones; a network has one
        paths += [each for each in candidates if each.is_file() and each != every]
    return paths


def _defining(package: Path, names: set[str]) -> list[Path]:
    wanted = []
    for node in ast.parse((package / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and names & {alias.name for alias in node.names}:
            wanted.append(ROOT.joinpath(*(node.module or "").split(".")[1:]).with_suffix(".py"))
    return wanted


def code_hash(builder: Callable[..., Any]) -> str:
    """Sixteen hexadecimal digits over the code of a builder's network.

    Comments, docstrings, annotations, formatting and the paper's facts do not count. Where a file
    holds several networks, a change to one counts for all of them.
    """
    digest = hashlib.sha256()
    for path in files(builder):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tree.body = [node for node in tree.body if not _is_data(node)]
        if path.name == "__init__.py":  # what it hands on counts where it is defined
            tree.body = [node for node in tree.body if not isinstance(node, ast.ImportFrom)]
        digest.update(f"{path.relative_to(ROOT).as_posix()}\n{_canonical(tree)}\n".encode())
    return digest.hexdigest()[:16]


def _canonical(node: Any) -> str:
    """A syntax tree as text, the same in every Python: without positions, docstrings, defaults."""
    if isinstance(node, list):
        return "[" + ",".join(_canonical(child) for child in node) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        if isinstance(value, list) and name == "body":
            value = [child for child in value if not _is_docstring(child)]
        if value is None or value == [] or name in IGNORED:
            continue
        fields.append(f"{name}={_canonical(value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _is_data(node: ast.AST) -> bool:
    names = {getattr(target, "id", "") for target in getattr(node, "targets", ())}
    return bool(names & {"__all__", "PAPER"})


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
