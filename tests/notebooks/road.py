"""The book as its tests read it: the chapters in the order of the road, and their prose."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
ROAD = (
    "00_start", "01_labels_and_metrics", "02_fcn", "03_unet", "05_deeplab_v1_v2",
    "06_deeplab_v3_v3plus", "08_attention_and_ocr", "09_pp_liteseg", "20_before_step_zero",
)  # fmt: skip
"""The chapters in the order in which they are read; a word of one is known in the next."""
NO_PROSE = re.compile(
    r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$"  # code and mathematics
    r"|(?<=\])\([^)\s]*\)|https?://[^\s)]+|<[^>]+>|\[?arXiv:[\d.]+\]?",
    re.S,
)


class Text(NamedTuple):
    """A Markdown cell: its number counted from 1, its source, and its prose.

    The prose is the source with spaces in place of code, mathematics, addresses and tags.
    """

    number: int
    source: str
    prose: str


def prose(source: str) -> str:
    """Markdown without what nobody reads as words; everything else at the same place."""
    return NO_PROSE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)


@functools.cache
def cells(chapter: str) -> list[Any]:
    """The cells of a chapter."""
    return nbformat.read(FOLDER / f"{chapter}.ipynb", as_version=4).cells


@functools.cache
def texts(chapter: str) -> list[Text]:
    """The Markdown cells of a chapter, without its sources."""
    return [
        Text(number, cell.source, prose(cell.source))
        for number, cell in enumerate(cells(chapter), 1)
        if cell.cell_type == "markdown" and not re.match(r"#+ (Sources|References)", cell.source)
    ]


def written() -> list[str]:
    """The chapters of the road that are there."""
    return [name for name in ROAD if (FOLDER / f"{name}.ipynb").exists()]
