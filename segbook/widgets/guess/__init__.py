"""Guess: a question that is answered before the answer is seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import traitlets

from segbook.widgets.prose import check_choices, letters, paragraph, sentence, to_html, to_png
from segbook.widgets.widget import Widget, sources

Reply = tuple[float | None, float | None, str]
STEPS = 1000
"""Places of a slider at most: a function of replies is asked about each."""


class Guess(Widget):
    """A question; the reader answers, and only then sees the answer and the fitting reply.

    It is answered by a choice, on a slider (``low`` and ``high``) or by typing a number. Nobody has
    to guess: "Show me" gives the answer. The guess stays beside it. Everything happens in the
    browser; nothing waits where nobody is there to answer. Where no script runs the question stands
    there as text, without the answer.

    Args:
        question: in words; what stands between backticks is set as code.
        answer: a number, or one of the choices.
        choices: 2 to 26 of them, words or numbers.
        low: least number of a slider.
        high: greatest number of the slider.
        step: of the slider; None is 1 between whole numbers, a hundredth of the way otherwise.
        unit: of the number: ``"%"``, ``"pixels"``.
        replies: what fits a guess, such as "you thought that …": by choice; or for numbers a list
            of (least, greatest, reply), both included, None without limit, of which the first that
            fits is shown; or, of a slider, a function of the number.
        why: why that is the answer; shown with it to everybody.

    Attributes:
        guess: the choice or the number that the reader gave; None before, and if none was given.
        shown: whether the answer is shown.

    Raises:
        ValueError: choices and a slider at once, an answer that cannot be given, a reply to no
            choice.

    Example:
        >>> Guess("How many classes has CamVid?", answer=11, replies=[(12, 12, "you count void")])
        Guess first: How many classes has CamVid?
          (a number)
    """

    _esm, _css = sources("guess")
    title = "Guess first"
    state = ("question", "answer", "choices", "low", "high", "step", "unit", "replies", "why")
    state += ("guess", "shown")

    question = traitlets.Unicode(read_only=True).tag(sync=True)
    answer = traitlets.Any(read_only=True).tag(sync=True)
    choices = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    low = traitlets.Float(None, allow_none=True, read_only=True).tag(sync=True)
    high = traitlets.Float(None, allow_none=True, read_only=True).tag(sync=True)
    step = traitlets.Float(None, allow_none=True, read_only=True).tag(sync=True)
    unit = traitlets.Unicode(read_only=True).tag(sync=True)
    replies = traitlets.List(read_only=True).tag(sync=True)
    why = traitlets.Unicode(read_only=True).tag(sync=True)
    guess = traitlets.Any(None).tag(sync=True)
    shown = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        question: str,
        *,
        answer: str | float,
        choices: Sequence[str | float] = (),
        low: float | None = None,
        high: float | None = None,
        step: float | None = None,
        unit: str = "",
        replies: Mapping[Any, str] | Sequence[Reply] | Callable[[float], str] = (),
        why: str = "",
        **settings: Any,
    ) -> None:
        named = [paragraph(choice) for choice in choices]
        if named:
            check_choices(named, "the question")
            if low is not None or high is not None:
                raise ValueError("a question has choices or a slider (low and high), not both")
            answer = paragraph(answer)
            if answer not in named:
                raise ValueError(f"the answer {answer!r} is none of the choices {named}")
            fitting = _by_choice(replies, choices)
        else:
            answer = _number(answer, "the answer")
            low, high, step = _slider(low, high, step)
            if low is not None and high is not None and not low <= answer <= high:
                raise ValueError(f"the answer {answer} is not on the slider, {low}..{high}")
            fitting = _by_number(replies, low, high, step)
        super().__init__()
        given = dict(question=paragraph(question), answer=answer, choices=named, replies=fitting)
        given |= dict(low=low, high=high, step=step, unit=paragraph(unit), why=sentence(why))
        for name, value in given.items():
            self.set_trait(name, value)
        for name, value in settings.items():
            setattr(self, name, value)

    @traitlets.validate("guess")
    def _can_be_given(self, proposal: dict) -> str | float | None:
        guess = proposal["value"]
        if guess is None:
            return guess
        if not self.choices:
            return _number(guess, "the guess")
        if guess not in self.choices:
            raise ValueError(f"the guess {guess!r} is none of the choices {self.choices}")
        return guess

    def __repr__(self) -> str:
        """The question, never its answer; the same in every run."""
        return "\n  ".join([f"Guess first: {self.question}", *self._ways()])

    def _ways(self) -> list[str]:
        """How it can be answered, a line each."""
        if self.choices:
            return letters(self.choices)
        of = f" of {self.unit}" if self.unit[:1].isalpha() else f" in {self.unit}" * bool(self.unit)
        span = "" if self.low is None else f" from {self.low:g} to {self.high:g}"
        return [f"(a number{of}{span})"]

    def still(self) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """The question as HTML: text can be searched, enlarged and read out, a picture cannot."""
        ways = "".join(f"<br>{to_html(way)}" for way in self._ways())
        return {"text/html": f"<p><b>Guess first.</b> {to_html(self.question)}{ways}</p>"}, {}

    def snapshot(self) -> bytes:
        """The question as a picture, PNG bytes."""
        return to_png(repr(self))


def _number(value: Any, what: str) -> float:
    number = float(value) if not isinstance(value, str | bool) else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{what} is {value!r}; without choices it is a finite number")
    return number


def _slider(
    low: float | None, high: float | None, step: float | None
) -> tuple[float | None, float | None, float | None]:
    if low is None and high is None:
        if step is not None:
            raise ValueError("a step is of a slider; give low and high, too")
        return None, None, None
    if low is None or high is None or not low < high:
        raise ValueError(f"a slider goes from low to high; given are low={low} and high={high}")
    if step is None:
        whole = float(low).is_integer() and float(high).is_integer() and high - low >= 10
        step = 1 if whole and high - low <= STEPS else (high - low) / 100
    if not 0 < (high - low) / step <= STEPS:
        raise ValueError(f"step is {step}; from {low} to {high} there are 1 to {STEPS} steps")
    return float(low), float(high), float(step)


def _by_choice(replies: Any, choices: Sequence[Any]) -> list[str]:
    """A reply for each choice; empty where there is none."""
    if not isinstance(replies, Mapping):
        if not replies:
            return [""] * len(choices)
        raise ValueError("the replies to choices are a dict: {choice: reply}")
    if stray := [choice for choice in replies if choice not in choices]:
        raise ValueError(f"there is a reply to {stray[0]!r}, but the choices are {list(choices)}")
    return [sentence(replies.get(choice, "")) for choice in choices]


def _by_number(
    replies: Any, low: float | None, high: float | None, step: float | None
) -> list[list[Any]]:
    """Rows of least, greatest and reply."""
    if isinstance(replies, Mapping):
        raise ValueError("the replies to numbers are a list of (least, greatest, reply)")
    if callable(replies):
        if low is None or high is None or step is None:
            raise ValueError(
                "a function of replies needs a slider (low and high): it is asked beforehand about "
                "each of its places; for any number give a list of (least, greatest, reply)"
            )
        places = [low + i * step for i in range(round((high - low) / step) + 1)]
        replies = [(at - step / 2, at + step / 2, replies(at)) for at in places]
    rows = []
    for least, greatest, reply in replies:
        least, greatest = (
            None if end is None else _number(end, "a limit") for end in (least, greatest)
        )
        if least is not None and greatest is not None and least > greatest:
            raise ValueError(f"no number lies between {least} and {greatest}: {reply!r}")
        rows.append([least, greatest, sentence(reply)])
    return rows
