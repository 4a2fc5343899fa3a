"""What the doctor found, as pictures: the bad sample with its bad pixels marked."""

from __future__ import annotations

import functools
import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn import functional as F

from segbook import text
from segbook.figures.palettes import distinct_palette
from segbook.figures.pictures import WRONG, Colour, Picture, hexed, label_picture
from segbook.figures.style import GREY, INK, PALE, VERMILION, YELLOW, sized, styled
from segkit.data.classes import distinct
from segkit.data.images import PictureFile
from segkit.doctor.finding import Finding, Place

_COLOURS = {"error": VERMILION, "warning": YELLOW, "note": GREY}
_LARGEST = 480
"""Pictures are shown with at most so many pixels a side."""
_IDS = 64
"""A grey picture with more values than these is a photograph, one with fewer a mask."""
_TEXT, _WIDE, _TALL = 6.1, 1.4, 1.0
"""Inches: the width of the text, the width and height of a picture."""
_LETTERS = 82
_LINE, _TITLE, _GAP = 0.16, 0.24, 0.16
_RINGED = 20
"""So many marked pixels, or fewer, have rings: they could be missed."""


class _Tile(NamedTuple):
    """A file to draw, with the place if that is about it; (height, width) is what it is drawn in.

    The files of a place share their scale: that two have different sizes is seen.
    """

    path: Path
    picture: Picture | None
    place: Place | None
    room: tuple[int, int]


@styled
def findings(
    found: Sequence[Finding],
    *,
    pictures: int = 3,
    notes: bool = False,
    palette: Sequence[Colour] = (),
) -> Figure:
    """A row for each finding: what, why and the fix, and the worst samples with bad pixels marked.

    Of files in images/ or masks/ both halves of the pair are shown. The marked pixels are
    violet, the others of the picture pale; a few that could be missed have rings, and where all
    are meant the picture has a frame. A file that is no picture any more is an empty tile. Names
    start at the folder that holds all of them.

    Args:
        found: from `segkit.doctor`.
        pictures: how many samples are shown of each finding.
        notes: whether what is neither error nor warning is shown too.
        palette: K colours of the class ids, RGB in 0..255; ids beyond them have colours of ours.

    Returns:
        A figure of one row a finding; one that says so where nothing was found.
    """
    rows = [one for one in found if notes or one.severity != "note"]
    if not rows:
        figure = sized(6, 0.6)
        axes = figure.add_axes((0, 0, 1, 1))  # a figure without axes is not shown by IPython
        axes.axis("off")
        axes.text(0.01, 0.5, "The doctor found nothing to mend.", va="center", color=INK)
        return figure
    folder = _common_folder(rows)
    colours = (*palette, *_colours()[len(palette) :])
    tiles = [
        [tile for place in one.places[:pictures] for tile in _tiles(place, colours)] for one in rows
    ]
    texts = [_lines(one, folder) for one in rows]
    tall = [
        max(_TITLE + _LINE * len(lines), _TITLE + _TALL if row else 0) + _GAP
        for lines, row in zip(texts, tiles, strict=True)
    ]
    width, height = _TEXT + _WIDE * max(map(len, tiles)), sum(tall)
    figure = sized(width, height)
    top = height
    for one, lines, row, inches in zip(rows, texts, tiles, tall, strict=True):
        top -= inches
        words = figure.add_axes((0, top / height, _TEXT / width, inches / height))
        _write(words, one, lines, inches)
        for number, tile in enumerate(row):
            left, bottom = _TEXT + number * _WIDE, top + inches - _TITLE - _TALL
            axes = figure.add_axes(
                (left / width, bottom / height, (_WIDE - 0.12) / width, _TALL / height)
            )
            _draw(axes, tile)
            name = text.one_line(_without(str(tile.path), folder))[-30:]  # its end tells more
            count = f" · {tile.place.pixels:,} px" if tile.place and tile.place.pixels else ""
            axes.set_title(text.figure(name + count), fontsize=7.5, color=INK, pad=3)
    return figure


def _common_folder(found: Sequence[Finding]) -> str:
    """The folder that holds every file of the findings; "" where there is none."""
    parents = [
        str(path.parent)
        for one in found
        for place in one.places
        for path in _paths(place)
        if os.path.isfile(path)  # of an impossible name, too
    ]
    try:
        return os.path.commonpath(parents)
    except ValueError:  # no files, or absolute and relative names
        return ""


def _without(said: str, folder: str) -> str:
    return said.replace(folder.rstrip(os.sep) + os.sep, "") if folder else said


def _lines(finding: Finding, folder: str) -> list[tuple[str, str]]:
    """The lines of a finding, each with its colour."""
    lines = []
    for start, said, colour in (
        ("", finding.what, INK),
        ("why  ", finding.why, GREY),
        ("fix  ", finding.fix, INK),
    ):
        for line in _without(said, folder).split("\n"):
            line = text.one_line(start + line)
            wrapped = textwrap.wrap(line, _LETTERS, break_on_hyphens=False)
            lines += [(part, colour) for part in wrapped]
    return lines


def _write(axes: Axes, finding: Finding, lines: list[tuple[str, str]], inches: float) -> None:
    axes.axis("off")
    axes.set(xlim=(0, _TEXT), ylim=(inches, 0))  # so that positions are inches from the top
    axes.fill_betweenx((0.04, inches - _GAP), 0.02, 0.08, color=_COLOURS[finding.severity])
    title = f"{finding.severity}: {finding.check.replace('_', ' ')}"
    axes.text(0.18, 0.03, text.figure(title), va="top", weight="bold", color=INK)
    for number, (line, colour) in enumerate(lines):
        shown = text.figure(line, most=_LETTERS)
        axes.text(0.18, _TITLE + _LINE * number, shown, va="top", fontsize=8.5, color=colour)


def _paths(place: Place) -> list[Path]:
    # So are files written that are equal, or that look alike.
    return [Path(part) for part in re.split(" [=~] ", place.file)]


def _tiles(place: Place, palette: Sequence[Colour]) -> list[_Tile]:
    """The files to show of a place: one that it names, with its other half, or several."""
    paths = _paths(place)
    halves = {"images": "masks", "masks": "images"}
    named = set(paths)
    if len(paths) == 1 and (folder := paths[0].parent).name in halves:
        other = folder.parent / halves[folder.name]
        partners = sorted(path for path in other.glob("*.*") if path.stem == paths[0].stem)
        paths.append(partners[0] if partners else other / paths[0].name)
        paths.sort(key=lambda path: path.parent.name)  # the image first
    shown = [_picture(path, palette) for path in paths]
    sizes = [picture.shape[:2] for picture in shown if picture is not None]
    room = np.max([*sizes, (1, 1)], axis=0)
    return [
        _Tile(path, picture, place if path in named else None, (room[0], room[1]))
        for path, picture in zip(paths, shown, strict=True)
    ]


def _draw(axes: Axes, tile: _Tile) -> None:
    path, shown, place, (tall, wide) = tile
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.spines[:].set_visible(False)
    if shown is None:
        axes.set_facecolor(PALE)
        missing = "is a folder" if os.path.isdir(path) else "is missing"
        why = "cannot be read" if os.path.isfile(path) else missing
        axes.text(0.5, 0.5, why, ha="center", va="center", color=GREY, transform=axes.transAxes)
        return
    height, width = shown.shape[:2]
    step = max(1, -(-max(height, width) // _LARGEST))
    seen = shown[::step, ::step]
    marked = None if place is None else place.marked
    if marked is not None and marked.shape == shown.shape[:2] and not marked.all():
        seen = (0.35 * seen.astype(np.float32) + 0.65 * 255).astype(np.uint8)
        pooled = F.max_pool2d(marked[None].float(), step, ceil_mode=True)[0]
        blocks = pooled.bool().numpy()  # a block is marked where one of its pixels is
        seen[blocks] = WRONG
        rows, columns = blocks.nonzero()
        if len(rows) <= _RINGED:
            axes.plot(
                (columns + 0.5) * step, (rows + 0.5) * step, "o", clip_on=False,
                markersize=11, markerfacecolor="none", markeredgecolor=hexed(WRONG),
            )  # fmt: skip
    elif marked is not None:
        axes.spines[:].set(visible=True, color=hexed(WRONG), linewidth=4)
    axes.imshow(seen, extent=(0, width, height, 0))
    axes.set(xlim=(0, wide), ylim=(tall, 0))


@functools.cache
def _colours() -> list[Colour]:
    """A colour for each id; what the classes are called, and so theirs, no finding knows."""
    return [*distinct_palette(20), *map(distinct, range(20, 255))]


def _picture(path: Path, palette: Sequence[Colour]) -> Picture | None:
    """A file as RGB; few grey values are class ids and get colours. None: it cannot be read."""
    try:
        with PictureFile(path) as file:
            if file.mode in ("1", "L", "I", "I;16"):
                values = np.asarray(file.pixels).astype(np.int64)
                if len(np.unique(values)) <= _IDS:
                    return label_picture(values % 256, palette, hatch=True)
            return np.array(file.pixels.convert("RGB"))
    except (OSError, ValueError):
        return None
