"""Right, wrong, half and missing answers to every exercise of the book, fed to its check.

``answers/NN_name.json`` holds them: a list of {"name", "exercise" (counted from 1), "code" (in
place of the stub), "verdict": "right", "half", "wrong" or "none"}. No kernel and no training: the
cells tagged ``parameters`` and ``setup`` are executed once a chapter, the exercise's own for each
answer.
"""

from __future__ import annotations

import ast
import functools
import json
from pathlib import Path

import nbformat
import pytest

from segbook.course.exercises import SETUP, exercises, tags

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CHAPTERS = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
ANSWERS = [
    (chapter, answer)
    for chapter in CHAPTERS
    if (path := Path(__file__).with_name("answers") / f"{chapter}.json").exists()
    for answer in json.loads(path.read_text(encoding="utf-8"))
]


@functools.cache
def read(chapter):
    cells = nbformat.read(NOTEBOOKS / f"{chapter}.ipynb", as_version=4).cells
    return cells, exercises(cells)


def run(source, space, where):
    """Execute a cell; its last expression's value."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), where, "exec"), space)
    return last and eval(compile(ast.Expression(last.value), where, "eval"), space)


@functools.cache
def prepared(chapter):
    space: dict = {"__name__": chapter}
    for index, cell in enumerate(read(chapter)[0]):
        if cell.cell_type == "code" and tags(cell) & SETUP:
            run(cell.source, space, f"<{chapter}, cell {index + 1}>")
    return space


def verdict(chapter, number, code=None):
    """What an exercise's check shows, with `code` in place of the stub."""
    cells, found = read(chapter)
    space, shown = dict(prepared(chapter)), None
    for index in found[number - 1].cells:
        stub = "exercise" in tags(cells[index])
        source = code if stub and code is not None else cells[index].source
        shown = run(source, space, f"<{chapter}, cell {index + 1}>")
    return shown


@pytest.mark.parametrize(
    ("chapter", "answer"),
    [pytest.param(c, a, id=f"{c}-{a['exercise']}-{a['name']}") for c, a in ANSWERS],
)
def test_an_answer_has_the_verdict_that_it_deserves(chapter, answer):
    shown = verdict(chapter, answer["exercise"], answer["code"])
    assert shown.word == answer["verdict"], shown.line


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_stubs_of_a_chapter_are_no_answers_and_ours_are_right(chapter):
    cells, found = read(chapter)
    for exercise in found:
        stub, solution, check = (cells[index] for index in exercise.cells)
        assert tags(stub) >= {"exercise"}
        assert tags(solution) >= {"solution"}
        where = f"exercise {exercise.number} of {chapter}"
        assert solution.source.startswith("#"), (
            f"{where}: begin the solution with a comment, which a folded cell shows"
        )
        assert "course.check(" in check.source.strip(), where
        assert verdict(chapter, exercise.number).word == "none", where
        if check.execution_count is None:
            continue  # test_hygiene.py says so
        lines = repr(verdict(chapter, exercise.number))
        shown = [o.data.get("text/plain") for o in check.outputs if "data" in o]
        assert shown == [lines], f"{where}: the notebook shows another line; execute it again"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_exercise_of_a_chapter_is_tried(chapter):
    tried = [(a["exercise"], a["verdict"]) for c, a in ANSWERS if c == chapter]
    for exercise in read(chapter)[1]:
        for word in ("right", "wrong"):
            assert (exercise.number, word) in tried, (
                f"tests/course/answers/{chapter}.json has no {word} answer to exercise "
                f"{exercise.number} ({exercise.name})"
            )
    assert {number for number, _ in tried} <= {e.number for e in read(chapter)[1]}


def test_no_answers_are_left_of_a_chapter_that_is_gone():
    there = {path.stem for path in Path(__file__).with_name("answers").glob("*.json")}
    assert there <= set(CHAPTERS)
