"""Texts and plain values as declared types; recipes and parameters are read by the same rules."""

import math
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from msgspec import Meta

from segbook import schema


class Point(NamedTuple):
    x: int
    y: float


Share = Annotated[float, Meta(ge=0, le=1)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("007", int, 7), (" 5 ", int, 5), ("1_000", int, 1000), ("-1", int, -1), ("1", float, 1.0),
        ("On", bool, True), ("1", bool, True), ("no", bool, False),
        ("none", str, "none"), ("1", str, "1"), ("'x'", str, "'x'"), ("[1]", str, "[1]"),
        ("null", str | None, None), ("x", str | None, "x"), ("none", Share | None, None),
        ("none", Literal["none", "on", 3], "none"), ("on", Literal["none", "on", 3], "on"),
        ("3", Literal["none", "on", 3], 3),
        ("7", int | str, 7), ("seven", int | str, "seven"),
        ("(1, 2)", tuple[Point, ...] | str, "(1, 2)"),
        ("[(1, 2)]", tuple[Point, ...], (Point(1, 2.0),)),
        ('{"a": [true, null]}', dict[str, Any], {"a": [True, None]}), ("{1, 2}", list, [1, 2]),
        ("007", Any, "007"), ("yes", Any, "yes"), ("True", Any, True), ("null", Any, None),
        ("'x'", Any, "x"), ("b'x'", Any, "b'x'"),
    ],
)  # fmt: skip
def test_a_text_is_the_first_reading_that_fits(text, kind, value):
    got = schema.from_text(text, kind)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1.5", int), ("1e2", int), ("true", int), ("", int), ("9" * 5000, int), ("nan", float),
        ("Infinity", float), ("1e999", float), ("1" * 400, float), ("2", Share), ("2", bool),
        ("(1, True)", tuple[int, int]), ("(1,)", tuple[int, int]), ("{[]: 1}", dict),
        ("[" * 20000, list), ("[nan]", list[float]), ("{'a': 1e999}", dict), ("x", Literal["y"]),
    ],
)  # fmt: skip
def test_a_text_that_has_no_such_reading_is_refused_with_what_is_taken(text, kind):
    with pytest.raises(ValueError, match="^takes ") as caught:
        schema.from_text(text, kind)
    assert str(caught.value) == f"takes {schema.words(kind)}; got {text!r}"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("5", int),
        (5.0, int),
        (1, bool),
        (5, str),
        (math.nan, float),
        (math.inf, Any),
        (object(), Any),
    ],
)
def test_a_value_is_of_its_type_or_refused(value, kind):
    with pytest.raises(ValueError, match="takes .*; got "):
        schema.convert(value, kind)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Annotated[int, Meta(ge=1)], "a whole number, at least 1"),
        (Share | None, "a number, at least 0 and at most 1, or none"),
        (Literal["a", "b"], "one of a, b"),
        (tuple[int, float], "2 values in brackets: (a whole number, a number)"),
        (tuple[Point, ...], "values in brackets, each (x, y)"),
        (list[bool], "values in brackets, each true or false"),
        (set, "values in brackets"),
        (dict[str, Any], "a dict"),
    ],
)
def test_what_a_type_takes_in_words(kind, words):
    assert schema.words(kind) == words
    assert schema.meaning(Annotated[kind, "it"]) == f"it [{words}]"
