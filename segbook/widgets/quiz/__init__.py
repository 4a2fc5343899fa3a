"""Quiz: a few questions on what was understood, with the reasons."""

from __future__ import annotations

from collections.abc import Sequence

import traitlets

from segbook.widgets.prose import check_choices, letters, paragraph, sentence, to_html, to_png
from segbook.widgets.widget import Widget, sources

SHOWN = -1
"""Among what was chosen: the reader asked for the answer."""


class Quiz(Widget):
    """Questions with choices; a wrong choice may be tried again, the right one is told why.

    Everything happens in the browser. Where no script runs the questions and choices stand there
    as text, and the answers after them, each folded.

    Args:
        questions: for each the question, its choices, the place of the right one from 0, and why;
            what stands between backticks is set as code.

    Attributes:
        chosen: for each question the places of the choices tried so far, in order; -1 where the
            answer was asked for.

    Raises:
        ValueError: no question, a right one that is none of the choices, choices that are alike.

    Example:
        >>> Quiz([("Is void a class?", ["yes", "no"], 1, "Nothing is counted there.")])
        Quiz
        1. Is void a class?
           a) yes
           b) no
    """

    _esm, _css = sources("quiz")
    title = "Quiz"
    state = ("questions", "chosen")

    questions = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    chosen = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)

    def __init__(self, questions: Sequence[tuple[str, Sequence[str | float], int, str]]) -> None:
        if not questions:
            raise ValueError("there is no question; give (question, choices, right, why) for each")
        asked = []
        for number, (question, choices, right, why) in enumerate(questions, 1):
            named = [paragraph(choice) for choice in choices]
            check_choices(named, f"question {number}")
            if right not in range(len(named)):
                raise ValueError(
                    f"question {number} says that choice {right!r} is right; give its place, "
                    f"0..{len(named) - 1}"
                )
            words = {"question": paragraph(question), "why": sentence(why)}
            asked.append({**words, "choices": named, "right": int(right)})
        super().__init__(chosen=[[] for _ in asked])
        self.set_trait("questions", asked)

    def __repr__(self) -> str:
        """The questions and their choices, no answer; the same in every run."""
        lines = ["Quiz"]
        for number, one in enumerate(self.questions, 1):
            lines.append(f"{number}. {one['question']}")
            lines += [f"   {line}" for line in letters(one["choices"])]
        return "\n".join(lines)

    def still(self) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """Questions and, after all of them, the answers as HTML, each folded.

        Where a page takes the folds away the answers still stand below the last question.
        """
        asked, answers = [], []
        for number, one in enumerate(self.questions, 1):
            lines = letters(one["choices"])
            asked.append("<br>".join(map(to_html, [one["question"], *lines])))
            answer = f"<b>{to_html(lines[one['right']])}</b>. {to_html(one['why'])}"
            answers.append(f"<details><summary>Answer {number}</summary>{answer}</details>")
        listed = "".join(f"<li>{words}</li>" for words in asked)
        return {"text/html": f"<p><b>Quiz</b></p><ol>{listed}</ol>{''.join(answers)}"}, {}

    def snapshot(self) -> bytes:
        """The questions as a picture, PNG bytes."""
        return to_png(repr(self))
