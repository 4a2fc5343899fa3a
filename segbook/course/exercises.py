"""The exercises of a notebook: which cells are whose.

An exercise is a question in Markdown and three code cells with the tags ``exercise`` (the stub, in
which the learner writes), ``solution`` (ours, under names of its own) and ``check``, which ends in
`course.check`. What they use of the chapter (imports, a helper) stands in cells tagged ``setup``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SETUP = {"parameters", "injected-parameters", "setup"}
"""The tags of the cells that a check may build upon, beside those of its own exercise."""


class Exercise(NamedTuple):
    """One exercise.

    Attributes:
        number: counted from 1.
        name: what the learner defines first; "" where that cannot be read.
        cells: indices into the notebook's cells, in order; the last is the check, if there is one.
        checked: whether there is one; a learner may have deleted it.
    """

    number: int
    name: str
    cells: list[int]
    checked: bool


def tags(cell: Mapping[str, Any]) -> set[str]:
    """A cell's tags."""
    return set(cell.get("metadata", {}).get("tags", []))


def exercises(cells: Sequence[Mapping[str, Any]]) -> list[Exercise]:
    """The exercises of a notebook's cells, also of a learner's damaged copy.

    An exercise ends with its check, and begins with its stub; where that lost its tag, behind the
    Markdown in front. Code cells that a learner put between belong to it.
    """
    groups: list[tuple[list[int], bool]] = []
    opened: list[int] = []
    block: list[int] = []  # the code cells since the last Markdown
    for index, cell in enumerate(cells):
        if cell.get("cell_type") != "code":
            block = []
            continue
        block.append(index)
        has = tags(cell)
        if "exercise" in has:
            if opened:
                groups.append((opened, False))
            opened = []
        if opened or "exercise" in has:
            opened.append(index)
        if "check" in has or "course.check(" in str(cell.get("source")):
            groups.append((opened or block, True))
            opened, block = [], []
    if opened:
        groups.append((opened, False))
    return [
        Exercise(number, _name(cells[group[0]]), group, checked)
        for number, (group, checked) in enumerate(groups, 1)
    ]


def setup(cells: Sequence[Mapping[str, Any]], found: Sequence[Exercise]) -> list[int]:
    """The cells that exercises build upon: those tagged so, or all others if none is."""
    own = {index for exercise in found for index in exercise.cells}
    code = [i for i, c in enumerate(cells) if c.get("cell_type") == "code" and i not in own]
    if any("setup" in tags(cells[i]) for i in code):
        return [i for i in code if tags(cells[i]) & SETUP]
    return code


def _name(cell: Mapping[str, Any]) -> str:
    """By a regular expression: a learner's cell may be no Python."""
    source = str(cell.get("source"))
    found = re.search(r"^(?:def|class)\s+(\w+)|^(\w+)(?:\s*:[^=\n]+)?\s*=(?!=)", source, re.M)
    return (found[1] or found[2]) if found else ""
