"""Texts and plain values as the type that an annotation names; nothing is ever evaluated.

Known are bool, int, float, str, None, Literal, unions, and lists, tuples, dicts and sets of them.
An annotation of another kind counts as the type of the default that stands beside it.
"""

from __future__ import annotations

import ast
import copy
import json
import math
from typing import Any

WORDS = {"true": True, "yes": True, "on": True, "1": True,
         "false": False, "no": False, "off": False, "0": False}  # fmt: skip
CONTAINERS = {"list": list, "List": list, "Sequence": list, "tuple": tuple, "Tuple": tuple,
              "dict": dict, "Dict": dict, "Mapping": dict, "set": set}  # fmt: skip
ANYTHING = "Any"


def kind_of(default: Any) -> str:
    """The type of a default as an annotation would spell it; "Any" for None."""
    return ANYTHING if default is None else type(default).__name__


def from_text(text: str, kind: str, default: Any) -> Any:
    """The value that a text of the command line means.

    Raises:
        ValueError: the text is not of that kind.
    """
    try:
        return _from_text(text, _annotation(kind, default))
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from None


def fit(value: Any, kind: str, default: Any) -> Any:
    """A value from a file as that kind: ``"1e-3"`` is a float, 2.5 is no int.

    Raises:
        ValueError: the value is not of that kind.
    """
    return _fit(value, _annotation(kind, default))


def _annotation(kind: str, default: Any) -> ast.expr:
    try:
        expression = ast.parse(kind, mode="eval").body
    except SyntaxError:
        return ast.Name(kind_of(default))
    return expression if _known(expression) else ast.Name(kind_of(default))


def _known(kind: ast.expr) -> bool:
    if isinstance(kind, ast.BinOp) and isinstance(kind.op, ast.BitOr):
        return _known(kind.left) and _known(kind.right)
    if isinstance(kind, ast.Constant):
        return kind.value is None
    name = _name(kind)
    if isinstance(kind, ast.Subscript):
        if name == "Literal":
            return True
        return name in {*CONTAINERS, "Optional", "Union"} and all(map(_known, _arguments(kind)))
    return name in {*CONTAINERS, "bool", "int", "float", "str", ANYTHING}


def _name(kind: ast.expr) -> str:
    if isinstance(kind, ast.Subscript):
        kind = kind.value
    return kind.attr if isinstance(kind, ast.Attribute) else getattr(kind, "id", "")


def _arguments(kind: ast.expr) -> list[ast.expr]:
    if not isinstance(kind, ast.Subscript):
        return []
    inner = kind.slice
    arguments = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    return [a for a in arguments if not (isinstance(a, ast.Constant) and a.value is ...)]


def _options(kind: ast.expr) -> list[ast.expr] | None:
    """The members of a union, texts last; None where it is no union."""
    if isinstance(kind, ast.BinOp):
        members = (_options(kind.left) or [kind.left]) + (_options(kind.right) or [kind.right])
    elif _name(kind) == "Union":
        members = _arguments(kind)
    elif _name(kind) == "Optional":
        members = [ast.Constant(None), *_arguments(kind)]
    else:
        return None
    return sorted(members, key=lambda member: _name(member) == "str")


def _first_that_fits(value: Any, members: list[ast.expr], function: Any) -> Any:
    for member in members:
        try:
            return function(value, member)
        except (ValueError, SyntaxError):
            continue
    raise ValueError("none of its types fits")


def _from_text(text: str, kind: ast.expr) -> Any:
    if (members := _options(kind)) is not None:
        return _first_that_fits(text, members, _from_text)
    name = _name(kind)
    if isinstance(kind, ast.Constant):
        if text.strip().lower() not in ("none", "null"):
            raise ValueError("not none")
        return None
    if name == "Literal":
        choices = [ast.literal_eval(choice) for choice in _arguments(kind)]
        for choice in choices:
            if text == str(choice):
                return choice
        raise ValueError(f"choose from {', '.join(map(str, choices))}")
    if name == "bool":
        if text.strip().lower() not in WORDS:
            raise ValueError("write true or false")
        return WORDS[text.strip().lower()]
    if name == "int":
        try:
            return int(text)
        except ValueError:
            raise ValueError("a whole number is needed") from None
    if name in ("float", "str"):
        return _fit(text, kind)
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            if name != ANYTHING:
                raise ValueError("write it as Python or JSON does") from None
            value = None if text.lower() in ("none", "null") else WORDS.get(text.lower(), text)
    return _fit(value, kind)


def _fit(value: Any, kind: ast.expr) -> Any:
    if (members := _options(kind)) is not None:
        return _first_that_fits(value, members, _fit)
    name = _name(kind)
    if isinstance(kind, ast.Constant):
        if value is not None:
            raise ValueError("not none")
        return None
    if name == "Literal":
        choices = [ast.literal_eval(choice) for choice in _arguments(kind)]
        if not any(value == c and type(value) is type(c) for c in choices):
            raise ValueError(f"choose from {', '.join(map(str, choices))}")
        return value
    if name == "float":
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError("a number is needed")
        number = float(value)  # YAML reads 1e-3 as a text
        if not math.isfinite(number):
            raise ValueError("a finite number is needed")
        return number
    if name in ("bool", "int", "str"):
        if type(value).__name__ != name:
            raise ValueError("quote it" if name == "str" else f"{type(value).__name__} given")
        if name == "str":
            value.encode()  # an undecodable byte of the command line is a ValueError here
        return value
    if name in CONTAINERS:
        return _fit_container(value, CONTAINERS[name], _arguments(kind))
    return _plain(value)


def _fit_container(value: Any, container: type, inner: list[ast.expr]) -> Any:
    sequence = container is not dict
    if not isinstance(value, (list, tuple, set) if sequence else dict):
        raise ValueError(f"{type(value).__name__} given")
    if not inner:
        return container(_plain(copy.copy(value)))
    if container is dict:
        key, item = inner
        return {_fit(k, key): _fit(v, item) for k, v in value.items()}
    if container is tuple and len(inner) > 1:
        if len(value) != len(inner):
            raise ValueError(f"{len(inner)} values are needed")
        return tuple(_fit(v, k) for v, k in zip(value, inner, strict=True))
    return container(_fit(v, inner[0]) for v in value)


def _plain(value: Any) -> Any:
    """``value``, if it is made of literals only."""
    if isinstance(value, dict):
        return {_plain(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(_plain(v) for v in value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError(f"{value!r} is no plain literal")
