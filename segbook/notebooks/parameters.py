"""The parameters of a notebook: what its one ``parameters`` cell declares, and what a user sets.

The cell is parsed, never run: plain assignments of literals, with or without a type.

    steps: int = 100
    lr: float = 0.01
    data_root: str | None = None
    crop: tuple[int, int] = (128, 160)

A value has the type of the annotation, or of the default where there is none or one that is not
known here. It goes into the notebook as the ``repr`` of plain literals, so that no value can be
code.

Quotes on the command line are part of a value that is declared as a text. A parameter declared as
``None`` alone takes any literal: there ``-p name=7`` is a number and ``-p 'name="7"'`` the text
without its quotes, as in Python. Declared ``name: str | None = None`` both are texts as they stand.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional, Union

import msgspec

from segbook import schema

MOST_TEXT = 1 << 20
"""Characters of a parameter file: a device has no end."""
TAG, INJECTED_TAG = "parameters", "injected-parameters"
TYPES = {"bool": bool, "int": int, "float": float, "str": str, "Any": Any, "set": set,
         "list": list, "List": list, "Sequence": list, "tuple": tuple, "Tuple": tuple,
         "dict": dict, "Dict": dict, "Mapping": dict,
         "Literal": Literal, "Optional": Optional, "Union": Union}  # fmt: skip
"""What an annotation may be made of, by name."""
YAML_NUMBER = {
    "int": re.compile(r"[-+]?(0|[1-9]\d*)$"),
    "float": re.compile(r"[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?$"),
}
YAML_WORDS = {"null": ("~", "null", "Null", "NULL"),
              "bool": ("true", "True", "TRUE", "false", "False", "FALSE")}  # fmt: skip
"""What YAML 1.2 takes for more than a text. YAML 1.1, which PyYAML reads, has traps beside these:
010 is eight, 12:30:00 seconds, 1_0 ten, ``no`` false, 2026-01-01 a date, and 1e3 a text."""


class Parameter(NamedTuple):
    """One declared parameter.

    Attributes:
        name: the variable.
        kind: its type as written, or that of its default; "Any" for an undeclared None.
        default: the declared value.
    """

    name: str
    kind: str
    default: Any

    @property
    def type(self) -> Any:
        """The type that a value must have."""
        try:
            kind = _evaluate(ast.parse(self.kind, mode="eval").body)
            msgspec.json.Decoder(kind)  # a TypeError if msgspec does not know it
            return kind
        except (SyntaxError, TypeError, ValueError):
            return Any if self.default is None else type(self.default)

    def __str__(self) -> str:
        return f"{self.name}: {self.kind} = {self.default!r}"


def declared(cells: Sequence[Mapping[str, Any]]) -> dict[str, Parameter]:
    """The parameters that a notebook's cells declare, by name; empty without a tagged cell.

    Raises:
        ValueError: two tagged cells, or a line of the cell that is not ``name = literal``.
    """
    tagged = [cell for cell in cells if _has_tag(cell, TAG)]
    if len(tagged) > 1:
        raise ValueError(f"the notebook has {len(tagged)} cells tagged {TAG!r}; it may have one")
    if not tagged:
        return {}
    return dict(_assignments(_source(tagged[0]), "parameters cell"))


def values(
    parameters: Mapping[str, Parameter], *, texts: Sequence[str] = (), file: Path | None = None
) -> dict[str, Any]:
    """What a user set, checked: ``name=text`` pairs, which win, and a YAML file of parameters.

    A plain word of the file means what it means on the command line: 010 is ten to a whole number
    and "010" to a text. What is in quotes is a text.

    Raises:
        ValueError: an unknown name (the valid ones are listed) or one that is given twice, a value
            of another type, or a file that cannot be read.
    """
    from_file = {
        name: _checked(_lookup(parameters, name), value, read)
        for name, (value, read) in (_read_yaml(file) if file else {}).items()
    }
    typed: dict[str, Any] = {}
    for pair in texts:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals:
            raise ValueError(f"a parameter is given as name=value, got {pair!r}")
        if name in typed:
            raise ValueError(f"parameter {name!r} is given twice; give it once")
        typed[name] = _checked(_lookup(parameters, name), text, schema.from_text)
    return from_file | typed


def injected(
    cells: Sequence[Mapping[str, Any]], parameters: Mapping[str, Parameter]
) -> dict[str, Any]:
    """The values of an earlier run that an executed notebook holds; empty in another.

    Raises:
        ValueError: a line of that cell is not ``name = literal``, or its value has another type
            than the parameter.
    """
    given = {}
    for cell in cells:
        if _has_tag(cell, INJECTED_TAG):
            for name, parameter in _assignments(_source(cell), f"cell tagged {INJECTED_TAG}"):
                known = parameters.get(name)
                value = parameter.default
                given[name] = _checked(known, value, schema.convert) if known else value
    return given


def inject(cells: list[Any], given: Mapping[str, Any], *, new_cell: Any) -> None:
    """Put the values into a notebook, in a cell of their own behind the declared defaults.

    Args:
        cells: the notebook's cells, changed in place; an earlier run's values go (see `injected`).
        given: plain literals by name.
        new_cell: makes a code cell of a source: ``nbformat.v4.new_code_cell``.
    """
    cells[:] = [cell for cell in cells if not _has_tag(cell, INJECTED_TAG)]
    if not given:
        return
    lines = ["# Parameters of this run", *(f"{name} = {value!r}" for name, value in given.items())]
    cell = new_cell("\n".join(lines))
    cell["metadata"]["tags"] = [INJECTED_TAG]
    declaring = [i for i, other in enumerate(cells) if _has_tag(other, TAG)]
    cells.insert(declaring[0] + 1 if declaring else 0, cell)


def _has_tag(cell: Mapping[str, Any], tag: str) -> bool:
    return cell.get("cell_type") == "code" and tag in cell.get("metadata", {}).get("tags", [])


def _source(cell: Mapping[str, Any]) -> str:
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def _assignments(source: str, cell: str) -> list[tuple[str, Parameter]]:
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno} of the {cell}: {error.msg}") from None
    parameters = [_parameter(statement, source, cell) for statement in statements]
    return [(parameter.name, parameter) for parameter in parameters if parameter]


def _parameter(statement: ast.stmt, source: str, cell: str) -> Parameter | None:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return None  # a text in place of a comment
    kind = None
    if isinstance(statement, ast.AnnAssign):
        target, value = statement.target, statement.value
        kind = ast.unparse(statement.annotation).strip("'\"")
    elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, value = statement.targets[0], statement.value
    else:
        target, value = None, None
    try:
        if not isinstance(target, ast.Name) or value is None:
            raise ValueError
        default = ast.literal_eval(value)
    except ValueError:
        line = (ast.get_source_segment(source, statement) or "").splitlines()[0]
        raise ValueError(
            f"line {statement.lineno} of the {cell} is no `name = literal`: {line}. "
            + ("Compute in the cells behind it." if cell == "parameters cell" else "Delete it.")
        ) from None
    untyped = "Any" if default is None else type(default).__name__
    return Parameter(target.id, kind or untyped, default)


def _evaluate(annotation: ast.expr) -> Any:
    """The type that an annotation means, read and not run."""
    match annotation:
        case ast.Constant(value=value) if value is None or value is ...:
            return value
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in TYPES:
            return TYPES[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_evaluate(left), _evaluate(right)]  # noqa: UP007
        case ast.Subscript(value=value, slice=index):
            outer = _evaluate(value)
            inner = index.elts if isinstance(index, ast.Tuple) else [index]
            items = [ast.literal_eval(i) if outer is Literal else _evaluate(i) for i in inner]
            return outer[items[0] if len(items) == 1 else tuple(items)]
    raise ValueError(f"{ast.unparse(annotation)} is not known")


def _lookup(parameters: Mapping[str, Parameter], name: str) -> Parameter:
    if name in parameters:
        return parameters[name]
    if not parameters:
        raise ValueError(f"unknown parameter {name!r}: the notebook has no cell tagged {TAG!r}")
    close = difflib.get_close_matches(name, parameters, n=len(parameters), cutoff=0.5)
    ordered = close + [other for other in parameters if other not in close]
    lines = "\n".join(f"  {parameters[other]}" for other in ordered)
    raise ValueError(f"unknown parameter {name!r}. The notebook has:\n{lines}")


def _checked(parameter: Parameter, value: Any, read: Callable[[Any, Any], Any]) -> Any:
    kind = parameter.type
    try:
        str(value).encode()  # an undecodable byte of the command line is a ValueError here
        return read(value, kind)
    except ValueError:
        given = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
        takes = "quote it" if kind is str else f"it takes {schema.words(kind)}"
        raise ValueError(
            f"{parameter.name} is declared as {parameter.kind}, got {given} ({takes})"
        ) from None


def _read_yaml(path: Path) -> dict[str, tuple[Any, Callable[[Any, Any], Any]]]:
    """By name, a file's values, and how each is read: a plain word as on the command line."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise ValueError("aliases (*name) are not allowed; write the value out")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            if repeated := [key for key in keys if keys.count(key) > 1]:
                raise ValueError(f"{repeated[0]!r} is given twice; give it once")
            return super().construct_mapping(node, deep)

    for kind, words in YAML_WORDS.items():
        pattern = re.compile(f"({'|'.join(words)}{'|' * (kind == 'null')})$")
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", pattern, None)
    for kind, pattern in YAML_NUMBER.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", pattern, None)
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(MOST_TEXT + 1)
        if len(text) > MOST_TEXT:
            raise ValueError(f"it has more than {MOST_TEXT:,} characters")
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            return {}
        content = loader.construct_document(node)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no YAML of plain values: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold `name: value` lines, got {type(content).__name__}")
    read = {}
    for (key, value), (_, written) in zip(content.items(), node.value, strict=True):
        plain = isinstance(written, yaml.ScalarNode) and written.style is None
        implied = loader.resolve(yaml.ScalarNode, written.value, (True, False)) if plain else None
        if plain and value is not None and implied == written.tag:  # no explicit !!str
            read[str(key)] = written.value, schema.from_text
        else:
            read[str(key)] = value, schema.convert
    return read
