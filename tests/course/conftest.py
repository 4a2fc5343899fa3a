"""A chapter of three exercises, for the commands."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

CHAPTER = [
    ("parameters", "steps: int = 3"),
    ("setup", "import torch\n\nfrom segbook import course\nfrom segkit import random_state"),
    ("", "raise RuntimeError('a training that no check needs')"),
    ("text", "[next](20_next.ipynb), [run](../docs/runs/a), ![a picture](images/my%20street.png)"),
    ("text", "**1. Double it.**"),
    ("exercise", "def double(x):\n    ..."),
    ("solution", "# ours\ndef our_double(x):\n    return 2 * x"),
    ("check", "course.check(double, our_double, cases=lambda rng: rng.random(3), edges=[0])"),
    ("text", "**2. A number.**"),
    ("exercise", "ratio = ..."),
    ("solution", "our_ratio = 16"),
    ("check", "course.check(ratio, our_ratio)"),
    ("text", "**3. Half of it.**"),
    ("exercise", "def half(x):\n    ..."),
    ("solution", "def our_half(x):\n    return x / 2"),
    ("check", "course.check(half, our_half, edges=[1, 2])"),
]


@pytest.fixture
def chapter(tmp_path):
    """Writes a learner's copy: answers by the number of the exercise, then changes of cells."""
    (tmp_path / "notebooks").mkdir()

    def write(answers=None, change=None, name="09_chapter"):
        cells, number = [], 0
        for tag, source in CHAPTER:
            if tag == "text":
                cells.append(new_markdown_cell(source))
                continue
            if tag == "exercise":
                number += 1
                source = (answers or {}).get(number, source)
            cells.append(new_code_cell(source, metadata={"tags": [tag]} if tag else {}))
            cells[-1].outputs = [nbformat.v4.new_output("stream", text="old")]
        if change:
            change(cells)
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return write
