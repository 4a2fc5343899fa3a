"""Judges a learner's answer to an exercise: right, half, wrong, or not answered yet.

    def masks(rng):                              # draws the arguments of one case
        return rng.integers(1, 12, (6, 8)).astype(np.uint8)

    course.check(
        from_zero, our_from_zero,                # the learner's function, and ours
        cases=masks, edges={"a mask of void": np.full((2, 3), 255, np.uint8)},
        mistakes={"void moves as well: 255 became 254": lambda mask: mask - 1},
    )

A wrong answer is shown and does not raise: whoever runs all cells with one exercise still open, or
wrong, gets to the end of the chapter. With ``SEGBOOK_CHECK=raise`` in the environment every answer
that is not right raises an ``AssertionError`` with the same line, which is what nbgrader counts.
"""

from __future__ import annotations

import copy
import dis
import html
import inspect
import linecache
import os
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from segbook.text import one_line

Word = Literal["right", "half", "wrong", "none"]
SHOWN: dict[Word, str] = {
    "right": "right",
    "half": "half right",
    "wrong": "wrong",
    "none": "not answered yet",
}
"""How a verdict's line begins; `segbook course check` reads it there."""
LOOK = {"right": ("✔", "#2e8b57"), "half": ("◐", "#d98e04"),
        "wrong": ("✘", "#c0392b"), "none": ("○", "#7f8c8d")}  # fmt: skip
RELATIVE = 1e-4
"""Tolerance of floating-point results, relative: another order of a sum is no mistake."""
RELATIVE_HALF = 1e-2
"""The same where one side is float16 or bfloat16."""
LONGEST = 160
"""Characters of a learner's error that are shown."""


class Verdict(NamedTuple):
    """What `check` found; displays as one line, in HTML with a colour beside the word.

    Attributes:
        word: "right"; "half": half of the cases pass, or some of several parts, or the values are
            right and their shape or dtype is not; "wrong"; or "none": not answered yet.
        line: the verdict as a sentence; never the answer.
    """

    word: Word
    line: str

    def __repr__(self) -> str:
        return self.line

    def _repr_html_(self) -> str:
        sign, colour = LOOK[self.word]
        head, rest = SHOWN[self.word], self.line.removeprefix(SHOWN[self.word])
        return (
            f'<div role="status" style="border-left: 5px solid {colour}; padding: 4px 10px">'
            f"{sign} <b>{head}</b>{html.escape(rest)}</div>"
        )


class _Case(NamedTuple):
    name: str
    arguments: tuple[Any, ...]
    seed: int


class _Raised(NamedTuple):
    """In place of a result: what a function raised, as it is shown."""

    text: str


def check(
    answer: Any,
    right: Any,
    cases: Callable[[Any], Any] | None = None,
    edges: Sequence[Any] | Mapping[str, Any] = (),
    mistakes: Mapping[str, Any] | None = None,
    *,
    compare: Callable[..., Any] | None = None,
    dtype: bool = False,
    tolerance: float | None = None,
    draws: int = 3,
    seed: int = 0,
) -> Verdict:
    """Judge a learner's answer; the last line of an exercise's check cell.

    Results may be numbers, lists, NumPy arrays, tensors or texts, and tuples and dicts of them;
    which of the kinds the learner returns does not matter. Not answered is what is None or ``...``
    and a function that returns that or raises NotImplementedError. Each call gets its arguments
    for itself, and the same random state as ours.

    Args:
        answer: the learner's function, or value; a tuple or dict where there are several.
        right: ours, of the same kind.
        cases: draws the arguments of one case from a ``numpy.random.Generator``: a tuple, or the
            one argument; it may draw from torch as well. Only for functions.
        edges: arguments of further cases, each as `cases` returns them; with names, as a dict,
            these are shown.
        mistakes: likely wrong answers by the sentence that explains them ("void moves as well").
        compare: makes of a result, and the case's arguments, what is compared: of a kernel,
            say, what it does to an image.
        dtype: whether an array of another dtype than ours is only half an answer.
        tolerance: relative, of floating-point results, in place of `RELATIVE`.
        draws: how many random cases.
        seed: of the random cases.

    Raises:
        ValueError: functions without a case.
        AssertionError: ours fails, or a mistake cannot be told from ours: the exercise is at
            fault; with ``SEGBOOK_CHECK=raise`` also every answer that is not right.
    """
    if callable(right):
        table = _cases(cases, edges, draws, seed)
        if not table:
            raise ValueError("a function is checked on cases: give cases=, edges=, or both")
    else:
        table = [_Case("", (), seed)]
        if cases or edges:
            raise ValueError("a value has no cases: give a function, or no cases= and edges=")

    def results(function: Any) -> list[Any]:
        return [_result(function, case, compare) for case in table]

    def same(got: Any, want: Any) -> tuple[Word, str]:
        return _judge(got, want, tolerance=tolerance, dtype=dtype)

    ours = results(right)
    for case, want in zip(table, ours, strict=True):
        assert not isinstance(want, _Raised), f"ours fails at {case.name}: {want.text}"
        assert same(want, want)[0] == "right", f"ours at {case.name} is not equal to itself"
    with warnings.catch_warnings(action="ignore"):  # a mistake may well divide by zero
        likely = {name: results(wrong) for name, wrong in (mistakes or {}).items()}
    for name, wrong in likely.items():
        differs = [same(got, want)[0] != "right" for got, want in zip(wrong, ours, strict=True)]
        assert any(differs), f"no case tells this mistake from ours: {name}"

    if callable(right) and not callable(answer) and not _missing(answer):
        verdict = Verdict("wrong", f"wrong: a function is wanted, and yours is {_kind(answer)}.")
    else:
        theirs = results(answer)
        verdicts = [same(got, want) for got, want in zip(theirs, ours, strict=True)]
        found = [
            name
            for name, wrong in likely.items()
            if all(_judge(got, w)[0] == "right" for got, w in zip(theirs, wrong, strict=True))
        ]
        verdict = _verdict(answer, table, verdicts, found, right)
    if os.environ.get("SEGBOOK_CHECK") == "raise" and verdict.word != "right":
        raise AssertionError(verdict.line)
    return verdict


def _cases(cases: Any, edges: Any, draws: int, seed: int) -> list[_Case]:
    import numpy as np

    from segkit import random_state

    table = []
    for number in range(draws if cases else 0):
        with random_state.isolated(seed + number):
            drawn = cases(np.random.default_rng(seed + number))
        table.append(_Case(f"random case {number + 1}", _arguments(drawn), seed + number))
    named = edges.items() if isinstance(edges, Mapping) else (
        (f"edge case {number}", edge) for number, edge in enumerate(edges, 1)
    )  # fmt: skip
    return table + [_Case(name, _arguments(edge), seed) for name, edge in named]


def _arguments(drawn: Any) -> tuple[Any, ...]:
    return drawn if type(drawn) is tuple else (drawn,)


def _result(function: Any, case: _Case, compare: Callable[..., Any] | None) -> Any:
    """A function's result in one case, or the value itself; what it raises as `_Raised`."""
    from segkit import random_state

    if not callable(function):
        got = function
    else:
        try:
            with random_state.isolated(case.seed):
                got = function(*copy.deepcopy(case.arguments))
        except NotImplementedError:
            return None
        except (Exception, SystemExit) as error:
            return _Raised(_shown(error))
    if compare and not _missing(got):
        try:
            return compare(got, *copy.deepcopy(case.arguments))
        except Exception as error:
            return _Raised(f"its result, {_kind(got)}, cannot be used: {_shown(error)}")
    return got


def _missing(value: Any) -> bool:
    return value is None or value is ...


def _shown(error: BaseException) -> str:
    """An exception with the line of the notebook that raised it; files of libraries are none."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not os.path.exists(frame.filename) and not frame.filename.startswith("<frozen")
    ]
    where = ""
    if frames:
        line = linecache.getline(frames[-1].filename, frames[-1].lineno or 0).strip()
        where = f" in line {frames[-1].lineno}" + (f" ({line})" if line else "")
    message = f"{type(error).__name__}{where}: {error}".removesuffix(": ")
    message = one_line(message)
    return message if len(message) <= LONGEST else message[: LONGEST - 1] + "…"


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _judge(
    got: Any, want: Any, *, tolerance: float | None = None, dtype: bool = False
) -> tuple[Word, str]:
    """One result against ours: the verdict, and what a learner is told of it."""
    options = {"tolerance": tolerance, "dtype": dtype}
    if _missing(got):
        return "none", ""
    if isinstance(got, _Raised) or isinstance(want, _Raised):
        return "wrong", got.text if isinstance(got, _Raised) else ""
    if isinstance(want, Mapping):
        if not isinstance(got, Mapping):
            return "wrong", f"a dict is wanted, and yours is {_kind(got)}"
        return _parts({str(k): _judge(got.get(k), value, **options) for k, value in want.items()})
    if isinstance(want, tuple):
        try:
            items = list(got)
        except TypeError:  # a number, a 0-d array
            items = [got]
        if isinstance(got, str | Mapping) or len(items) != len(want):
            return "wrong", f"{len(want)} parts are wanted, and yours is {_kind(got)}" + (
                "" if isinstance(got, str | Mapping) else f" of {len(items)}"
            )
        names = getattr(want, "_fields", [f"part {n}" for n in range(1, len(want) + 1)])
        pairs = zip(names, items, want, strict=True)
        return _parts({name: _judge(item, part, **options) for name, item, part in pairs})
    if isinstance(want, str):
        if not isinstance(got, str):
            return "wrong", f"a text is wanted, and yours is {_kind(got)}"
        equal = got.strip().casefold() == want.strip().casefold()
        return ("right", "") if equal else ("wrong", "")
    return _arrays(got, want, **options)


def _parts(parts: Mapping[str, tuple[Word, str]]) -> tuple[Word, str]:
    words: set[Word] = {word for word, _ in parts.values()}
    if len(words) == 1 and words != {"wrong"}:
        return words.pop(), next((note for _, note in parts.values() if note), "")
    told = [
        f"{name}: {SHOWN[word]}{f' ({note})' if note else ''}"
        for name, (word, note) in parts.items()
    ]
    return ("half" if words & {"right", "half"} else "wrong"), "; ".join(told)


def _arrays(got: Any, want: Any, *, tolerance: float | None, dtype: bool) -> tuple[Word, str]:
    import numpy as np

    wanted, low = _array(want)
    try:
        given, also_low = _array(got)
        if given.dtype.kind not in "biufc":
            raise TypeError
    except (TypeError, ValueError, RuntimeError):
        return "wrong", f"numbers are wanted, and yours is {_kind(got)}"
    relative = tolerance or (RELATIVE_HALF if low or also_low else RELATIVE)

    def close(a: Any, b: Any) -> Any:
        if a.dtype.kind in "biu" and b.dtype.kind in "biu":
            return a == b
        finite = np.abs(b[np.isfinite(b)])
        scale = float(finite.max()) if finite.size else 0.0
        with np.errstate(invalid="ignore"):
            return np.isclose(
                a, b, rtol=relative, atol=relative * scale / 10 or 1e-6, equal_nan=True
            )

    shape = f"of shape {given.shape}" if given.shape else "a single number"
    if given.shape != wanted.shape:
        if given.size == wanted.size == 1 and wanted.ndim == 0:
            given = given.reshape(())
        elif given.size == wanted.size and close(given.reshape(-1), wanted.reshape(-1)).all():
            return "half", f"the values are right, but yours is {shape}; another shape is wanted"
        elif given.ndim > 1 and given.T.shape == wanted.shape and close(given.T, wanted).all():
            return "half", "the values are right, but yours is transposed"
        else:
            return "wrong", f"yours is {shape}, and another shape is wanted"
    equal = close(given, wanted)
    if equal.all():
        own = hasattr(got, "dtype")  # numbers and lists have none
        if dtype and own and given.dtype != wanted.dtype:
            return "half", f"the values are right, but their dtype {given.dtype} is another"
        return "right", ""
    if np.isnan(given.astype(complex)).sum() > np.isnan(wanted.astype(complex)).sum():
        return "wrong", "there is NaN in yours"
    return "wrong", f"{(~equal).sum()} of {equal.size} values differ" if equal.size > 1 else ""


def _array(value: Any) -> tuple[Any, bool]:
    """Numbers of any kind as an array, and whether they are of half precision."""
    import numpy as np

    if hasattr(value, "detach"):
        low = value.is_floating_point() and value.element_size() < 4
        return (value.detach().float() if low else value.detach()).cpu().numpy(), low
    if isinstance(value, list | tuple | range) or hasattr(value, "__next__"):
        items = [_array(item) for item in value]
        return np.asarray([item for item, _ in items]), any(low for _, low in items)
    array = np.asarray(value)
    return array, array.dtype == np.float16


def _verdict(
    answer: Any,
    table: Sequence[_Case],
    verdicts: Sequence[tuple[Word, str]],
    mistakes: Sequence[str],
    right: Any,
) -> Verdict:
    """The verdict over all cases, in a line."""
    words = [word for word, _ in verdicts]
    count = f"{len(table)} case{'s' * (len(table) > 1)}"
    if set(words) == {"right"}:
        return Verdict("right", f"right: {count} passed." if callable(right) else "right.")
    if set(words) == {"none"}:
        silent = callable(answer) and not _is_stub(answer)
        forgot = ": your function returns None; does it end by `return`?" if silent else ";"
        line = (
            f"{SHOWN['none']}{forgot} ours passes {count}."
            if callable(right)
            else f"{SHOWN['none']}."
        )
        return Verdict("none", line)
    good = words.count("right")
    enough = 2 * (good + words.count("half")) >= len(words)  # by chance a wrong one passes a few
    word: Word = "half" if enough else "wrong"
    said = []
    failed = next(n for n, word in enumerate(words) if word != "right")
    note = verdicts[failed][1] or ("it returns None" if words[failed] == "none" else "")
    if callable(right):
        if not enough or good:
            said.append(f"{good} of {count} pass" if good else f"none of {count} passes")
        where = f"in {table[failed].name} ({_described(table[failed], right)})"
        said.append(f"{where}: {note}" if note else f"the first that fails is {where[3:]}")
    elif note:
        said.append(note)
    line = "; ".join(said)
    guess = f" It looks like this: {mistakes[0].rstrip('.')}." if mistakes else ""
    return Verdict(word, (f"{SHOWN[word]}: {line}." if line else f"{SHOWN[word]}.") + guess)


def _is_stub(function: Any) -> bool:
    """Whether a function's body is only a docstring, ``...`` or ``pass``."""
    code = getattr(function, "__code__", None)
    does = {instruction.opname for instruction in dis.get_instructions(code)} if code else set()
    return does <= {"RESUME", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "NOP", "POP_TOP"}


def _described(case: _Case, right: Any) -> str:
    """The arguments of a case, in a few words."""
    try:
        names = list(inspect.signature(right).parameters)
    except (TypeError, ValueError):
        names = []
    names += [f"argument {n + 1}" for n in range(len(names), len(case.arguments))]
    words = []
    for name, value in zip(names, case.arguments, strict=False):
        if shape := getattr(value, "shape", None):
            words.append(f"{name} of shape {tuple(shape)}")
        else:
            text = one_line(repr(value))
            words.append(f"{name}={text if len(text) <= 40 else _kind(value)}")
    return ", ".join(words)
