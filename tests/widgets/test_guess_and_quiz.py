"""Guess and quiz: what they send, refuse and leave behind; and that no answer is given away."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from segbook.widgets import Guess, Quiz  # noqa: E402

CHOICES = ["it stays", "it shrinks to `1/4`", "it grows <twice>"]


def by_choice(**options) -> Guess:
    replies = {"it stays": "you thought that stride is free"}
    options = {"choices": CHOICES, "answer": CHOICES[1], "replies": replies, **options}
    return Guess("What does a\n  pixel of `c5` see?", **options)


def quiz() -> Quiz:
    return Quiz(
        [
            ("Is void a class?", ["yes", "no"], 1, "nothing is counted there"),
            ("How many is `2 < 3`?", [0, 1, 2], 1, "True is 1."),
        ]
    )


def test_a_guess_says_its_question_and_never_its_answer():
    one = Guess("How high?", answer=38.8, low=0, high=100, unit="%", why="poles are thin")
    assert repr(one) == "Guess first: How high?\n  (a number in % from 0 to 100)"
    data, metadata = one._repr_mimebundle_()
    view = "application/vnd.jupyter.widget-view+json"
    assert set(data) == {"text/plain", "text/html", view}
    assert data["text/plain"] == repr(one)
    for guess in (None, 50):
        one.guess, one.shown = guess, True
        shown = json.dumps([repr(one), one.still(), one.alt()])
        assert "38" not in shown
        assert "thin" not in shown
    assert Image.open(io.BytesIO(one.snapshot())).width > 100


def test_choices_stand_in_the_text_behind_letters():
    one = by_choice()
    assert repr(one).splitlines()[0] == "Guess first: What does a pixel of `c5` see?"
    assert repr(one).splitlines()[2] == "  b) it shrinks to `1/4`"
    markup = one.still()[0]["text/html"]
    assert "<code>c5</code> see?<br>a) it stays<br>b) it shrinks to <code>1/4</code>" in markup
    assert "it grows &lt;twice&gt;" in markup
    assert one.replies == ["You thought that stride is free.", "", ""]


def test_a_guess_is_kept_and_checked():
    one = by_choice()
    assert (one.guess, one.shown) == (None, False)
    one.guess = "it stays"
    with pytest.raises(ValueError, match="'it melts' is none of the choices"):
        one.guess = "it melts"
    assert by_choice(guess="it stays", shown=True).shown
    number = Guess("How many?", answer=3)
    number.guess = 4
    assert number.guess == 4
    with pytest.raises(ValueError, match="finite number"):
        number.guess = "four"


def test_a_function_of_replies_is_asked_about_each_place():
    one = Guess("?", answer=2, low=0, high=4, step=0.5, replies=lambda at: f"you said {at:g}")
    assert len(one.replies) == 9
    assert one.replies[3] == [1.25, 1.75, "You said 1.5."]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (dict(answer=1, low=0), "from low to high"),
        (dict(answer=9, low=0, high=4), "not on the slider"),
        (dict(answer=1, step=1), "give low and high"),
        (dict(answer=1, low=0, high=4, step=0.001), "1 to 1000 steps"),
        (dict(answer="one"), "finite number"),
        (dict(answer=float("nan")), "finite number"),
        (dict(answer=1, replies={1: "x"}), "list of"),
        (dict(answer=1, replies=str), "needs a slider"),
        (dict(answer=1, replies=[(3, 2, "x")]), "no number lies between"),
        (dict(answer="a", choices=["a"]), "1 choices"),
        (dict(answer="a", choices=["a", "a"]), "same choice twice"),
        (dict(answer="c", choices=["a", "b"]), "none of the choices"),
        (dict(answer="a", choices=["a", "b"], low=0, high=1), "not both"),
        (dict(answer="a", choices=["a", "b"], replies={"c": "x"}), "reply to 'c'"),
        (dict(answer="a", choices=["a", "b"], replies=[(0, 1, "x")]), "are a dict"),
    ],
)
def test_what_cannot_be_asked_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        Guess("?", **options)


def test_the_reply_that_fits(computed):
    number = Guess("?", answer=5, replies=[(None, 2, "low"), (2, 4, "near"), (9, None, "high")])
    rows = json.dumps(number.replies)
    asked = ", ".join(f"replyTo({guess}, [], {rows})" for guess in (-1, 2, 2.5, 5, 99))
    assert computed(Guess, f"[{asked}]") == ["Low.", "Low.", "Near.", "", "High."]
    one = by_choice()
    choices, replies = json.dumps(one.choices), json.dumps(one.replies)
    asked = ", ".join(f"replyTo({json.dumps(c)}, {choices}, {replies})" for c in CHOICES)
    assert computed(Guess, f"[{asked}]") == ["You thought that stride is free.", "", ""]
    said = computed(Guess, '[figure(16777216, "weights"), figure(38.8, "%"), figure(0.00012, "")]')
    assert said == ["16,777,216 weights", "38.8 %", "0.00012"]


def test_a_quiz_folds_its_answers_below_all_questions():
    one = quiz()
    assert "counted" not in repr(one)
    assert repr(one).splitlines()[-1] == "   c) 2"
    markup = one.still()[0]["text/html"]
    questions, _, answers = markup.partition("<details>")
    assert "How many is <code>2 &lt; 3</code>?<br>a) 0<br>b) 1" in questions
    assert "counted" not in questions
    first = "<summary>Answer 1</summary><b>b) no</b>. Nothing is counted there.</details>"
    assert answers.startswith(first)
    assert answers.count("</details>") == 2
    assert one.chosen == [[], []]


def test_a_quiz_that_cannot_be_answered_is_refused():
    with pytest.raises(ValueError, match="no question"):
        Quiz([])
    with pytest.raises(ValueError, match=r"question 1 says that choice 2 is right; .* 0\.\.1"):
        Quiz([("?", ["a", "b"], 2, "")])
    with pytest.raises(ValueError, match="question 1 has 1 choices"):
        Quiz([("?", ["a"], 0, "")])


def test_how_a_question_stands(computed):
    tried = ([], [0], [1], [0, 1], [0, -1])
    asked = ", ".join(f"standing({chosen}, 1)" for chosen in tried)
    assert computed(Quiz, f"[{asked}]") == ["open", "wrong", "first", "later", "shown"]
