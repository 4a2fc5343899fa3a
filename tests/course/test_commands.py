"""`segbook course check` and `segbook course strip`."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from segbook.cli import main
from segbook.course import sealed
from segbook.course.exercises import exercises, setup, tags
from segbook.course.sealed import seal

RIGHT = {
    1: "def double(x):\n    return x + x",
    2: "ratio = 4 * 4",
    3: "def half(x):\n    return x / 2",
}


def segbook(*arguments):
    return CliRunner().invoke(main, ["course", *map(str, arguments)])


def cells(path):
    return nbformat.read(path, as_version=4).cells


def found(path):
    return [(e.name, len(e.cells), e.checked) for e in exercises(cells(path))]


def test_exercises_are_found_in_whole_and_in_broken_copies(chapter):
    assert found(chapter()) == [("double", 3, True), ("ratio", 3, True), ("half", 3, True)]
    read = cells(chapter())
    assert setup(read, exercises(read)) == [0, 1]

    def deleted(index):
        return found(chapter(change=lambda cells: cells.pop(index)))

    assert deleted(5) == [("our_double", 2, True), ("ratio", 3, True), ("half", 3, True)]
    assert deleted(6)[0] == ("double", 2, True)
    assert deleted(7) == [("double", 2, False), ("ratio", 3, True), ("half", 3, True)]
    assert deleted(15)[-1] == ("half", 2, False)

    def lose_tags(cells):
        for cell in cells:
            cell.metadata.pop("tags", None)

    assert found(chapter(change=lose_tags)) == [
        ("double", 3, True),
        ("ratio", 3, True),
        ("half", 3, True),
    ]


@pytest.mark.slow
def test_every_answer_has_its_line_and_the_next_is_judged(chapter):
    loop = "import time\ndef double(x):\n    while True: time.sleep(1)"
    path = chapter({1: loop, 2: "ratio = (", 3: RIGHT[3]}, change=lambda cells: cells.pop(11))
    done = segbook("check", path, "--time-limit", "2s")
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert "it took longer than 2 s" in lines[0]
    assert "check cell is gone" in lines[1]
    assert "right: 2 cases passed" in lines[2]
    assert lines[3] == "1 of 3 right"


@pytest.mark.full
def test_a_dead_kernel_takes_one_exercise_with_it(chapter):
    stubborn = (
        "def double(x):\n    while True:\n        try:\n            [0] * 9\n"
        "        except BaseException: pass"
    )
    dies = "import os\nratio = os._exit(7)"
    done = segbook("check", chapter({1: stubborn, 2: dies, 3: RIGHT[3]}), "--time-limit", "2s")
    lines = done.output.splitlines()
    assert "it took longer than 2 s" in lines[0]
    assert "exit code 7" in lines[1]
    assert "right" in lines[2]


@pytest.mark.full
def test_one_exercise_and_all_cells(chapter):
    done = segbook("check", chapter(RIGHT), "--all", "--exercise", 1)
    assert done.exit_code == 0, done.output  # an error outside the exercise is not the learner's
    done = segbook("check", chapter({2: "ratio = ("}, change=lambda cells: cells.pop(5)))
    assert "NameError" in done.output.splitlines()[0]
    assert "SyntaxError" in done.output.splitlines()[1]
    assert "half        not answered yet; ours passes 2 cases." in done.output
    assert "--all runs every cell" in done.output


def test_what_is_no_chapter_is_refused_in_a_line(tmp_path, chapter):
    broken = tmp_path / "broken.ipynb"
    broken.write_text(chapter().read_text()[:300])
    none = tmp_path / "none.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), none)
    for path, words in (
        (broken, "is no notebook"),
        (none, "has no exercise"),
        ("no.ipynb", "there is no"),
    ):
        done = segbook("check", path)
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
        assert words in done.output
    done = segbook("check", chapter(), "--exercise", 4)
    assert "there is no exercise 4; the notebook has 1 to 3" in done.output


@pytest.fixture
def course(chapter, tmp_path, monkeypatch):
    (tmp_path / "docs/runs/a").mkdir(parents=True)
    (tmp_path / "docs/runs/a/README.md").write_text("a run")
    (tmp_path / "docs/other.md").write_text("not linked")
    path = chapter()
    (path.parent / "images").mkdir()
    (path.parent / "images/my street.png").write_bytes(b"PNG")
    shutil.copy(path, path.with_name("20_next.ipynb"))
    monkeypatch.chdir(tmp_path)
    return path


def test_students_get_no_solution_and_no_output_but_all_that_is_linked(course):
    done = segbook("strip", "out")
    assert done.exit_code == 0, done.output
    assert "not among" not in done.output
    out = [path.relative_to("out").as_posix() for path in Path("out").rglob("*.*")]
    assert "notebooks/images/my street.png" in out
    assert "docs/runs/a/README.md" in out
    assert "docs/other.md" not in out
    copy, original = cells("out/notebooks/09_chapter.ipynb"), cells(course)
    assert [tags(cell) for cell in copy] == [tags(cell) for cell in original]
    assert not any(cell.get("outputs") for cell in copy)
    text = "".join(cell.source for cell in copy)
    assert "def our_double" not in text
    assert "steps: int = 3" in text
    space: dict = {"course": __import__("segbook.course").course}
    exec(copy[6].source, space)
    assert space["our_double"](2) == 4


def test_one_copy_is_written_and_nothing_is_overwritten_unasked(course):
    done = segbook("strip", "out", course)
    assert "links to 20_next.ipynb, which is not among the copies" in done.output
    again = segbook("strip", "out", course)
    assert again.exit_code == 2
    assert "--force" in again.output
    assert segbook("strip", "out", course, "--force").exit_code == 0
    before = course.read_bytes()
    refused = segbook("strip", ".", "--force")
    assert refused.exit_code == 2
    assert "is the original" in refused.output
    assert course.read_bytes() == before
    assert segbook("strip", course).exit_code == 2
    assert segbook("strip", "out", "no.ipynb", "--force").exit_code == 2


def test_regions_of_nbgrader_go(course):
    def add(cells):
        cells[
            5
        ].source = "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"

    notebook = nbformat.read(course, as_version=4)
    add(notebook.cells)
    nbformat.write(notebook, course)
    assert segbook("strip", "out").exit_code == 0
    assert cells("out/notebooks/09_chapter.ipynb")[5].source == "def double(x):\n    ..."


def test_a_changed_seal_is_said():
    assert "return" not in seal("def f():\n    return 1\n" * 20)
    with pytest.raises(ValueError, match="fresh copy"):
        sealed("abc")


@pytest.mark.slow
def test_a_students_copy_is_checked_from_any_folder(course, tmp_path, monkeypatch):
    assert segbook("strip", "out").exit_code == 0
    path = tmp_path / "out/notebooks/09_chapter.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for index, code in zip((5, 9, 13), RIGHT.values(), strict=True):
        notebook.cells[index].source = code
    nbformat.write(notebook, path)
    before = path.read_bytes()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("SEGBOOK_CHECK", "raise")  # nbgrader's; the table needs all verdicts
    done = segbook("check", "../out/notebooks/09_chapter.ipynb")
    assert done.exit_code == 0, done.output
    assert "1  double  right: 4 cases passed." in done.output
    assert done.output.endswith("3 of 3 right\n")
    assert path.read_bytes() == before
