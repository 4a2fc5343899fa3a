"""One way from a text or a plain value to a declared type: of recipes, parameters and `run.json`.

A field says what it takes in its annotation: the type, a range and, as a plain text, what it means.

    steps: Annotated[int, Meta(ge=1), "optimizer steps"]
"""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import math
import types
import typing
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta

SWITCHES = {"none": None, "null": None, "true": True, "yes": True, "on": True, "1": True,
            "false": False, "no": False, "off": False, "0": False}  # fmt: skip
WORDS = ("none", "null", "true", "false")
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text",
         types.NoneType: "none", dict: "a dict", Any: "a plain literal"}  # fmt: skip
SIZE, CROP = tuple[int, int], tuple[int, ...]
"""(height, width), and what may also be (depth, height, width); one number is height and width."""
OUTSIDE = ("model", "backbone", "loss", "data")
"""Fields of a recipe that may name code of the user's own, as `segkit.outside` says."""
UNREADABLE = (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError)
"""What the readers of a hostile text raise."""
BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


@functools.cache
def fields(shape: type) -> dict[str, Any]:
    """The annotation of each field of a class, with its range and description."""
    return typing.get_type_hints(shape, include_extras=True)


def meaning(kind: Any) -> str:
    """What a field means, as its annotation says, and what it takes."""
    described = next((m for m in getattr(kind, "__metadata__", ()) if isinstance(m, str)), "")
    return f"{described} [{words(kind)}]"


def words(kind: Any) -> str:
    """What a type takes: ``a number, above 0 and below 1, or none``."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        bounds = [
            f"{word} {getattr(meta, bound)}"
            for meta in kind.__metadata__
            if isinstance(meta, Meta)
            for bound, word in BOUNDS.items()
            if getattr(meta, bound) is not None
        ]
        return words(kind.__origin__) + ", " * bool(bounds) + " and ".join(bounds)
    if origin in (Union, types.UnionType):
        return ", or ".join(map(words, arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if hasattr(kind, "_fields"):
        return f"({', '.join(kind._fields)})"
    if (container := origin or kind) in (tuple, list, set):
        if not arguments:
            return "values in brackets"
        one = ", or one number for both" * (kind in (SIZE, CROP))
        if container is not tuple or arguments[-1] is ...:
            return f"values in brackets, each {words(arguments[0])}{one}"
        return f"{len(arguments)} values in brackets: ({', '.join(map(words, arguments))}){one}"
    return NAMES.get(container, str(kind))


def convert(value: Any, kind: Any) -> Any:
    """A plain value as a type: 2 is a float and a list a tuple, 2.5 is no int and "5" neither.

    Raises:
        ValueError: it does not fit, is outside the range, not finite, or more than plain literals.
    """
    bare = kind.__origin__ if typing.get_origin(kind) is Annotated else kind
    if bare in (SIZE, CROP) and type(value) is int:
        value = (value, value)
    with contextlib.suppress(msgspec.ValidationError, OverflowError):
        converted = msgspec.convert(value, kind)
        if _is_plain(converted):
            return converted
    raise ValueError(f"takes {words(kind)}; got {value!r}")


def from_text(text: str, kind: Any) -> Any:
    """The value that a text of a command line means; nothing is ever evaluated.

    It is the first of these that fits: a literal of Python or of JSON, a switch such as ``yes``
    or ``none``, the text itself. Where any value fits, only ``none``, ``true`` and ``false`` (and
    ``null``) are switches.

    Raises:
        ValueError: none fits.
    """
    typed = kind is not Any
    switch = text.strip().lower()
    switches = SWITCHES if typed else {word: SWITCHES[word] for word in WORDS}
    for read in (ast.literal_eval, json.loads, *[int] * typed, lambda _: switches[switch]):
        with contextlib.suppress(*UNREADABLE):
            value = read(text)
            if not (typed and isinstance(value, str)):  # a text keeps its quotes
                return convert(value, kind)
    return convert(text, kind)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, (*value, *value.values())))
    if isinstance(value, list | tuple | set):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)
