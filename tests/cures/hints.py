"""What a message tells somebody to type, taken out of it and held against what there is."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from segbook import cli, schema
from segbook.recipes import Recipe

ROOT = Path(__file__).resolve().parents[2]
HOLE = "\N{WHITE SQUARE}"
"""Stands for what a message fills in, where it is read from the source."""

SET = re.compile(r"--set (\w+)=('[^']*'|[^\s,;:)`]*)")
COMMAND = re.compile(r"(?<![\w./-])segbook ((?:[a-z]+-)?[a-z]+)\b([^`\n]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
EXTRA = re.compile(r"segbook\[([\w,]+)\]")
MAKE = re.compile(r"`make ([\w-]+)")
DOTTED = re.compile(r"(?<![\w./-])((?:segkit|segbook)(?:\.[A-Za-z_]\w*)+)")
VARIABLE = re.compile(r"SEGBOOK_[A-Z_]+")
PLACEHOLDER = re.compile(r"[A-Z_.…]*|.*\b(H, W)\b.*")


def wrong(message: str) -> list[str]:
    """What of a message's hints cannot be followed."""
    found = []
    for field, quoted in SET.findall(message):
        value = quoted.strip("'").removesuffix(".")
        if field == "FIELD":
            continue
        if field not in schema.fields(Recipe):
            found.append(f"--set {field}: a recipe has no such field")
        elif HOLE not in value and not PLACEHOLDER.fullmatch(value):
            try:
                schema.from_text(value, schema.fields(Recipe)[field])
            except ValueError as error:
                found.append(f"--set {field}={value}: {error}")
    for name, rest in COMMAND.findall(message):
        if name in cli.main.commands:
            taken = options(cli.main.commands[name])
            found += [
                f"segbook {name} has no {option}"
                for option in OPTION.findall(rest.partition(". ")[0])
                if option not in taken
            ]
        elif name not in PROSE:
            found.append(f"there is no command segbook {name}")
    found += [f"no command has {o}" for o in OPTION.findall(message) if o not in known_options()]
    for names in EXTRA.findall(message):
        found += [f"there is no extra {n}" for n in names.split(",") if n not in extras()]
    found += [f"there is no make {name}" for name in MAKE.findall(message) if name not in targets()]
    found += [f"there is no {name}" for name in DOTTED.findall(message) if not exists(name)]
    found += [
        f"nothing reads {name}" for name in VARIABLE.findall(message) if name not in variables()
    ]
    return found


PROSE = {"import", "in"}
"""What may follow the program's name in a sentence."""
FORMATS = {"segkit.checkpoint", "segbook.engine"}
"""Names that stand in files."""
OTHERS = {"--shm-size", "--notest", "--nfc", "--log-dir", "--porcelain", "--untracked-files",
          "--engine", "--gpus-per-task", "--nnodes", "--rdzv-backend", "--rdzv-endpoint",
          "--rdzv-id"}  # fmt: skip
"""Options of docker, convmv, torchrun, srun, git and papermill."""


def options(command: click.Command) -> set[str]:
    """The options of a command, and of those below it."""
    found = {option for parameter in command.params for option in parameter.opts}
    for below in getattr(command, "commands", {}).values():
        found |= options(below)
    return found | {"--help"}


@functools.cache
def known_options() -> set[str]:
    """The options of all commands, of the scripts that fetch data, and of others that we name."""
    scripts = (ROOT / "data_scripts" / "fetching" / "command.py").read_text(encoding="utf-8")
    of_scripts = re.findall(r'"(--[\w-]+)"', scripts)
    return set().union(OTHERS, of_scripts, *map(options, cli.main.commands.values()))


def parse(command: str) -> dict[str, Any]:
    """Have click parse a command as it is printed; nothing is executed.

    Returns:
        The parameters that the command would be called with.

    Raises:
        click.UsageError: it is not one of ours.
    """
    program, *words = shlex.split(command)
    assert program == "segbook", command
    found: click.Command = cli.main
    while isinstance(found, click.Group) and words:
        with click.Context(found) as context:
            _, below, words = found.resolve_command(context, words)
            assert below is not None
            found = below
    return found.make_context(found.name, list(words)).params


@functools.cache
def extras() -> set[str]:
    """The extras of the distribution."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        return set(tomllib.load(file)["project"]["optional-dependencies"])


@functools.cache
def targets() -> set[str]:
    """What make makes."""
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))


@functools.cache
def variables() -> set[str]:
    """The environment variables that are read somewhere."""
    return {
        name
        for path in sources()
        for line in path.read_text(encoding="utf-8").splitlines()
        if "environ" in line or "_VARIABLE" in line or re.search(r'"SEGBOOK_\w+":', line)
        for name in VARIABLE.findall(line)
    }


@functools.cache
def exists(name: str) -> bool:
    """Whether a dotted name leads to something: a module, or what one holds, or its instances."""
    if name in FORMATS:
        return True
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            fields = {**getattr(found, "__annotations__", {}), **vars(found)}
            if part not in fields and not hasattr(found, part):
                return False
            found = fields.get(part, getattr(found, part, None))
        return True
    return False


def sources() -> list[Path]:
    """The files of the code base."""
    folders = (ROOT / "segbook", ROOT / "lib" / "segkit", ROOT / "data_scripts")
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every text of a file, what is filled in as a `HOLE`, with its line."""
    for node in _outer(ast.parse(path.read_text(encoding="utf-8"))):
        yield node.lineno, _text(node)


def _outer(node: ast.AST) -> Iterator[ast.expr]:
    """The texts that are part of no other text."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.JoinedStr):
            yield child
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child
        elif isinstance(child, ast.BinOp) and isinstance(child.op, ast.Add) and _is_text(child):
            yield child
        else:
            yield from _outer(child)


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return HOLE


def binds(call: str, function: Any) -> None:
    """Whether a function takes the arguments of a call, by their names and number.

    Raises:
        TypeError: it does not.
    """
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call)
    keywords = {word.arg: None for word in node.keywords if word.arg}
    inspect.signature(function).bind(*node.args, **keywords)
