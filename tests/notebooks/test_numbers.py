"""A figure that a chapter quotes is one that stands somewhere: no number that only prose knows.

Each decimal number and each percentage of a chapter's Markdown has to be one of these, or the test
names it:

a. it stands in an output or in the code of the same chapter (rounded, or as a percentage);
b. its sentence, or the row or the column of its table, names where a paper says so: "Table 3",
   "section 4.2", "Eq. 1", "Figure 5", "abstract"; a column headed "paper" has its table's sentence;
c. its paragraph links to a run in ``docs/runs``, whose results.json or README.md has it;
d. it stands in `RECOMPUTED`, with the function that computes it.

So a figure that was measured anew and not written anew is found. Numbers in code spans, in
mathematics, and of versions are not looked at; neither are whole numbers without a percent sign.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable

import pytest
import road

RUNS = road.FOLDER.parent / "docs/runs"


def minutes_trained(name: str) -> float:
    """The minutes in training steps that a run's page names."""
    page = (RUNS / name / "README.md").read_text()
    minutes, seconds = re.search(r"(\d+) min (\d+) s in training steps", page).groups()
    return int(minutes) + int(seconds) / 60


def wrong_in(name: str) -> float:
    """One pixel in how many a run's network has wrong on the test images."""
    page = (RUNS / name / "README.md").read_text()
    return 100 / (100 - float(re.search(r"\| test \| [\d.]+ \| ([\d.]+) ", page)[1]))


RECOMPUTED: dict[str, dict[str, Callable[[], float]]] = {
    "00_start": {
        "48": lambda: minutes_trained("pp_liteseg_t_camvid_cpu"),
        "7": lambda: wrong_in("pp_liteseg_t_camvid_cpu"),
    }
}
"""By chapter, figures as they stand in its prose, and what computes each, unrounded."""
PLAIN = {"0.0", "0.5", "1.0", "0 %", "50 %", "100 %"}
"""Numbers that are nobody's measurement."""
NUMBER = re.compile(
    r"(?<![\w.:/#])(?P<number>\d+\.\d+|\d+(?:\.\d+)?(?=\s?%))(?P<percent>\s?%)?(?![\w]|\.\d)"
)
NOT_A_FIGURE = re.compile(  # the number of a section, of a version
    r"(?:sections?|sec\.|§|eqs?\.|equations?|tables?|fig\.|figures?|chapters?|appendix|version|"
    r"python|pytorch|torch|cuda)\s*$",
    re.IGNORECASE,
)
CLAIM = re.compile(
    r"(?:\b(?:sections?|sec\.|eqs?\.|equations?|tables?|tab\.|fig\.|figures?|appendix)\s*\(?[\dIVXA-D]"
    r"|§\s*\d|\babstract\b)",
    re.IGNORECASE,
)
RUN = re.compile(r"docs/runs/([\w.-]+)")


def numbers_in(text):
    """The numbers of a text, 1,234 as 1234."""
    found = re.findall(
        r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?", re.sub(r"(?<=\d),(?=\d{3})", "", text)
    )
    return {abs(float(number)) for number in found}


def is_one_of(written, known):
    """Whether a number, as it is written, is one of the known ones rounded, or as a percentage."""
    digits = len(written.partition(".")[2])
    value = float(written)
    half = 0.5000001 * 10**-digits
    return any(math.isclose(value, k * f, abs_tol=half, rel_tol=0) for k in known for f in (1, 100))


def texts_of(outputs):
    for output in outputs:
        yield output.get("text", "")
        for mime, data in output.get("data", {}).items():
            if mime.startswith("text/") and isinstance(data, str):
                yield re.sub(r"<[^>]*>", " ", data)


@functools.cache
def own_numbers(chapter):
    """The numbers in outputs and code of a chapter."""
    code = [cell for cell in road.cells(chapter) if cell.cell_type == "code"]
    return frozenset().union(
        *(numbers_in(text) for c in code for text in (c.source, *texts_of(c.outputs)))
    )


@functools.cache
def run_numbers(name):
    """The numbers of a run: of its results, and of its page."""
    folder = road.FOLDER.parent / "docs/runs" / name
    known = set()
    if (folder / "results.json").exists():
        known |= numbers_in(json.dumps(json.loads((folder / "results.json").read_text())))
    if (folder / "README.md").exists():
        known |= numbers_in((folder / "README.md").read_text())
    return frozenset(known)


def contexts(cell):
    """(number, what says where it is from, what may link to its run) of a cell's figures."""
    for paragraph in re.finditer(r"(?:^[^\n]*\S[^\n]*(?:\n|\Z))+", cell.prose, re.MULTILINE):
        start, text = paragraph.start(), paragraph[0]
        source = cell.source[start : paragraph.end()]
        before = cell.prose[:start].rstrip().rpartition("\n\n")[2]
        lines = text.splitlines()
        header = lines[0].split("|") if text.lstrip().startswith("|") else None
        for found in NUMBER.finditer(text):
            line = text.count("\n", 0, found.start())
            if NOT_A_FIGURE.search(text[: found.start()]):
                continue
            if header is None:
                pieces = re.split(r"(?<=[.!?;])\s", text)
                ends = [sum(len(p) + 1 for p in pieces[: i + 1]) for i in range(len(pieces))]
                cited = next(p for p, end in zip(pieces, ends, strict=True) if found.start() < end)
                linked = source
            else:
                row = lines[line]
                place = found.start() - sum(len(other) + 1 for other in lines[:line])
                column = row[:place].count("|")
                title = header[column] if column < len(header) else ""
                claims = re.search(r"\bpaper\b|claim", title, re.IGNORECASE)
                mine = row.split("|")[column]
                cited = " ".join((title, mine, *((row, lines[0], before) if claims else ())))
                linked = cell.source
            yield found, cited, linked


def without_source(chapter):
    """The figures of a chapter that nothing holds, each as a line."""
    for cell in road.texts(chapter):
        for found, cited, linked in contexts(cell):
            written = found["number"] + (" %" if found["percent"] else "")
            if written in PLAIN or CLAIM.search(cited):
                continue
            if written in RECOMPUTED.get(chapter, {}) or is_one_of(
                found["number"], own_numbers(chapter)
            ):
                continue
            runs = RUN.findall(linked)
            if any(is_one_of(found["number"], run_numbers(run)) for run in runs):
                continue
            around = cell.prose[max(0, cell.prose.find(found[0]) - 40) :][:90].replace("\n", " ")
            where = f" nor in {', '.join(sorted(set(runs)))}" if runs else ""
            yield f"cell {cell.number}: {written} stands in no output{where}: …{around}…"


@pytest.mark.parametrize("chapter", road.written())
def test_a_figure_quoted_in_prose_stands_somewhere(chapter):
    wrong = list(without_source(chapter))
    assert not wrong, "\n".join([f"{chapter} ({__file__} says what holds a figure):", *wrong])


@pytest.mark.parametrize("chapter", road.written())
def test_figures_are_what_they_are_recomputed_to_be(chapter):
    prose = "\n".join(cell.prose for cell in road.texts(chapter))
    for written, compute in RECOMPUTED.get(chapter, {}).items():
        assert re.search(rf"(?<![\w.]){re.escape(written)}", prose), f"{written} is not quoted"
        computed = compute()
        assert is_one_of(written.removesuffix(" %"), {computed}), f"{written} is now {computed}"


@pytest.fixture
def chapter(monkeypatch):
    """A chapter of one Markdown cell behind code that prints 0.5421 and 62.4 %."""
    monkeypatch.setattr(f"{__name__}.own_numbers", lambda chapter: {0.5421, 62.4, 1234.0})
    monkeypatch.setattr(
        f"{__name__}.run_numbers", lambda name: {0.50596, 25.6} if name == "a" else set()
    )

    def write(text):
        cell = road.Text(2, text, road.prose(text))
        monkeypatch.setattr(road, "texts", lambda chapter: [cell])
        return [line.split(" stands")[0].removeprefix("cell 2: ") for line in without_source("x")]

    return write


@pytest.mark.parametrize(
    "text",
    [
        "It scores 54.2, or 0.54, and then 62.4 % and 62 %.",
        "They report 78.3 (Table 4).",
        "As in section 3.2, with `0.123`, $0.9^{0.9}$, Python 3.11, [arXiv:1234.5678](a/1.25).",
        "Ours has 50.6 after 25.6 minutes ([its run](../docs/runs/a/README.md)).",
        "Table 3 of the paper:\n\n| | paper | here |\n|---|---|---|\n| B | 78.21 | 54.2 |",
        "| | paper | here |\n|---|---|---|\n| B (Table 3) | 78.21 | 50.6, docs/runs/a |",
        "At 0.5 all is half; 40 streets, 3 seeds.",
    ],
)
def test_figures_that_something_holds(chapter, text):
    assert chapter(text) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("It scores 54.3. They report 78.3 (Table 4).", ["54.3"]),
        ("It is 61 % now.", ["61 %"]),
        ("Ours has 50.7 ([its run](../docs/runs/a/README.md)).", ["50.7"]),
        ("Ours has 50.6 ([another run](../docs/runs/b/README.md)).", ["50.6"]),
        ("Table 3:\n\n| | paper | here |\n|---|---|---|\n| B | 78.21 | 54.9 |", ["54.9"]),
        ("| | paper |\n|---|---|\n| B | 78.21 |", ["78.21"]),
    ],
)
def test_figures_that_nothing_holds(chapter, text, wrong):
    assert chapter(text) == wrong
