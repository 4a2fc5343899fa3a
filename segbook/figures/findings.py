"""What the doctor found, as pictures: the bad file with its bad pixels marked."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from segbook.figures.overlays import show
from segbook.figures.pictures import WRONG, Picture, label_picture
from segbook.figures.style import GREY, INK, PALE, VERMILION, YELLOW, styled
from segkit.data.images import MAX_PIXELS
from segkit.data.layout import distinct
from segkit.doctor.finding import Finding, Place

_COLOURS = {"error": VERMILION, "warning": YELLOW, "note": GREY}
_LARGEST = 480
"""Pictures are shown with at most so many pixels a side."""
_IDS = 64
"""A grey picture with more values than these is a photograph, one with fewer a mask."""
_PALETTE = [distinct(index) for index in range(255)]


@styled
def findings(found: Sequence[Finding], *, pictures: int = 3, notes: bool = False) -> Figure:
    """A row for each finding: what, why and the fix, and the worst files with bad pixels marked.

    The marked pixels are vermilion, the others of the picture pale. A file that is no picture any
    more is an empty tile with its name.

    Args:
        found: from `segkit.doctor`.
        pictures: how many files are shown of each finding.
        notes: whether what is neither error nor warning is shown too.

    Returns:
        A figure of one row a finding; one that says so where nothing was found.
    """
    rows = [one for one in found if notes or one.severity != "note"]
    if not rows:
        figure = Figure(figsize=(6, 0.6))
        figure.text(0.01, 0.5, "The doctor found nothing to mend.", va="center")
        return figure
    columns = max((min(len(one.places), pictures) for one in rows), default=0)
    figure = Figure(figsize=(5.2 + 2.3 * columns, 1.95 * len(rows)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.05)
    grid = figure.add_gridspec(len(rows), 1 + columns, width_ratios=[5.2] + [2.3] * columns)
    for row, one in enumerate(rows):
        _tell(figure.add_subplot(grid[row, 0]), one)
        for column, place in enumerate(one.places[:pictures]):
            _draw(figure.add_subplot(grid[row, 1 + column]), place)
    return figure


def _tell(axes: Axes, finding: Finding) -> None:
    axes.axis("off")
    axes.axvline(0, color=_COLOURS[finding.severity], linewidth=6)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    title = f"{finding.severity}: {finding.check.replace('_', ' ')}"
    axes.text(0.03, 1, title, va="top", weight="bold", color=INK)
    said = [
        *textwrap.wrap(finding.what, 68)[:3],
        *textwrap.wrap(f"Why: {finding.why}", 68)[:3],
        *textwrap.wrap(f"Fix: {finding.fix}", 68)[:2],
    ]
    axes.text(0.03, 0.86, "\n".join(said), va="top", fontsize=8.5, color=INK, linespacing=1.3)


def _draw(axes: Axes, place: Place) -> None:
    name = " = ".join(Path(part).name for part in place.file.split(" = "))
    title = f"{textwrap.shorten(name, 30, placeholder='…')}"
    if place.pixels:
        title += f"\n{place.pixels:,} px"
    paths = place.file.split(" = ")  # so are files written that show the same
    seen = [_picture(Path(path)) for path in paths]
    shown = seen[0]
    if len(seen) > 1 and all(one is not None and one.shape == shown.shape for one in seen):
        shown = np.concatenate(seen, axis=1)
    if shown is None:
        axes.set(xticks=[], yticks=[], facecolor=PALE)
        axes.spines[:].set_visible(False)
        axes.text(0.5, 0.5, "cannot be shown", ha="center", va="center", color=GREY)
    elif place.marked is not None and place.marked.shape == shown.shape[:2]:
        marked = place.marked.numpy()
        pale = (0.35 * shown.astype(np.float32) + 0.65 * 255).astype(np.uint8)
        step = max(1, -(-max(marked.shape) // _LARGEST))
        # A block is marked where one of its pixels is: a single bad pixel must be seen.
        tall, wide = (-(-side // step) * step for side in marked.shape)
        padded = np.zeros((tall, wide), dtype=bool)
        padded[: marked.shape[0], : marked.shape[1]] = marked
        blocks = padded.reshape(tall // step, step, wide // step, step).any(axis=(1, 3))
        small = pale[::step, ::step]
        small[blocks[: small.shape[0], : small.shape[1]]] = WRONG
        show(axes, small)
    else:
        step = max(1, -(-max(shown.shape[:2]) // _LARGEST))
        show(axes, shown[::step, ::step])
    axes.set_title(title, fontsize=7.5)


def _picture(path: Path) -> Picture | None:
    """A file as RGB; few grey values are class ids and get colours. None: it cannot be read."""
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                return None
            if opened.mode in ("1", "L", "I", "I;16"):
                values = np.asarray(opened).astype(np.int64)
                if len(np.unique(values)) <= _IDS:
                    return label_picture(values % 256, _PALETTE)
            return np.array(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
