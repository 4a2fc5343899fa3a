"""What a committed notebook has to be, so that nbval compares, papermill runs and people read it.

A chapter has at most 1,000 words of Markdown, 220 lines of code and 35 cells, and a code cell 15
lines, but for parameters, imports, solutions and checks.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest
import road

from segbook import widgets
from segbook.notebooks.refresh import widgets_of
from segbook.notebooks.views import VIEW

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


LONG_CELLS = {"parameters", "setup", "solution", "check"}
"""Tags of code cells that may have more than fifteen lines."""


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def test_there_are_notebooks():
    names = {"00_start", "02_fcn", "09_pp_liteseg", "20_before_step_zero"}
    assert {path.stem for path in NOTEBOOKS} >= names


def test_executed_in_order_and_without_errors(notebook):
    """A cell without an execution count is run by nbval but compared with nothing."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]


def test_its_widgets_lie_beside_it():
    """`make notebooks` writes both; the site shows a widget in the place of what it left."""
    shown = re.compile(rf"(?:{'|'.join(widgets.__all__)})\(|Guess first: |Quiz\n")
    for path in NOTEBOOKS:
        held = json.loads(widgets_of(path).read_text("utf-8"))
        assert [(one["cell"], one["text"]) for one in held] == [
            (cell.id, output.data["text/plain"])
            for cell in nbformat.read(path, as_version=4).cells
            for output in cell.get("outputs", ())
            if shown.match(output.get("data", {}).get("text/plain", ""))
        ], path.name


def test_one_cell_of_literal_parameters(notebook):
    (cell,) = tagged(notebook, "parameters")
    for node in ast.parse(cell.source).body:
        assert isinstance(node, ast.Assign | ast.AnnAssign), ast.unparse(node)
        ast.literal_eval(node.value)


def test_enough_is_compared(notebook):
    """Text that nbval compares, pictures, and asserts: not a row of ignored cells."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    compared = [
        cell
        for cell in code
        if "nbval-ignore-output" not in cell.metadata.get("tags", [])
        and any(output.output_type == "stream" for output in cell.outputs)
    ]
    assert len(compared) >= 3
    assert sum("assert" in cell.source for cell in code) >= 2
    pictures = [
        mime
        for cell in code
        for output in cell.outputs
        for mime in output.get("data", {})
        if mime.startswith("image/")
    ]
    assert len(pictures) >= 3


def test_every_exercise_has_its_solution_and_its_check(notebook):
    order = [
        tag
        for cell in notebook.cells
        for tag in cell.metadata.get("tags", [])
        if tag in ("exercise", "solution", "check")
    ]
    assert order == ["exercise", "solution", "check"] * (len(order) // 3)


def test_nothing_that_breaks_elsewhere(notebook):
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for banned in ("sys.path", "!pip", "%pip", "/home/", "/tmp/", "/root/"):
            assert banned not in cell.source
        names = [
            alias.name
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.ImportFrom | ast.Import)
            for alias in node.names
        ]
        assert not [name for name in names if name.split(".")[-1].startswith("_")]


def test_small_and_without_timing_or_widget_state(notebook, request):
    size = len(nbformat.writes(notebook))
    assert size < 1_000_000, f"{size} bytes"
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        assert "execution" not in cell.metadata
        for output in cell.get("outputs", []):
            assert len(str(output)) < 300_000
            assert VIEW not in output.get("data", {})  # whoever opens it has no model for it


def code_lines(cell):
    """Lines that are not blank, comments among them."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def over_the_limits(cells):
    """What a reader would find too long; a word is what spaces part, in tables, too."""
    code = [(n, cell) for n, cell in enumerate(cells, 1) if cell.cell_type == "code"]
    words = " ".join(cell.source for cell in cells if cell.cell_type == "markdown").split()
    total = sum(code_lines(cell) for _, cell in code)
    for what, number, most in (
        ("words of Markdown", len(words), 1000),
        ("lines of code", total, 220),
        ("cells", len(cells), 35),
    ):
        if number > most:
            yield f"{number} {what}, at most {most}"
    for number, cell in code:
        lines = code_lines(cell)
        if lines > 15 and not LONG_CELLS & set(cell.metadata.get("tags", [])):
            yield f"cell {number}: {lines} lines of code, at most 15 but for {sorted(LONG_CELLS)}"


@pytest.mark.parametrize("chapter", road.written())
def test_a_chapter_can_be_read_in_forty_minutes(chapter):
    assert not (wrong := list(over_the_limits(road.cells(chapter)))), "\n".join(wrong)


def test_a_chapter_over_the_limits_is_found():
    new = nbformat.v4
    cells = [
        new.new_code_cell("x = 1\n\n# a comment\n" * 16),
        new.new_markdown_cell("a b " * 501),
    ]
    assert [line[:30] for line in over_the_limits(cells)] == [
        "1002 words of Markdown, at mos", "cell 1: 32 lines of code, at m",
    ]  # fmt: skip
    cells = [new.new_code_cell("x = 1\n" * 7) for _ in range(36)]
    assert [line[:9] for line in over_the_limits(cells)] == ["252 lines", "36 cells,"]


@pytest.mark.parametrize("chapter", road.written())
def test_every_picture_in_markdown_has_words_for_it(chapter):
    for number, cell in enumerate(road.cells(chapter), 1):
        if cell.cell_type == "markdown":
            bare = re.findall(r"!\[\s*\]\([^)]*\)", cell.source)
            bare += [
                i for i in re.findall(r"<img\b[^>]*>", cell.source) if not re.search(r"alt=.\S", i)
            ]
            assert not bare, f"{chapter}, cell {number}: no alternative text: {bare}"


@pytest.mark.parametrize("chapter", road.written())
def test_a_question_does_not_show_its_answer(chapter):
    """The source of a guess holds the answer: it is folded, so that a reader is asked first."""
    asking = [
        cell for cell in road.cells(chapter)
        if re.search(r"widgets\.(Guess|Quiz)\(", cell.source) and cell.cell_type == "code"
    ]  # fmt: skip
    assert len(asking) >= 4
    shown = [c.id for c in asking if not c.metadata.get("jupyter", {}).get("source_hidden")]
    assert shown == [], "give these cells the metadata jupyter.source_hidden"


@pytest.mark.parametrize("chapter", road.written())
def test_stored_pictures_are_described(chapter):
    for cell in road.cells(chapter):
        for output in cell.get("outputs", []):
            for mime in {"image/png", "image/jpeg"} & set(output.get("data", {})):
                assert output.metadata.get(mime, {}).get("alt"), f"{cell.id}: {mime} has no alt"
