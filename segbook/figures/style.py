"""One look for all figures, and small outputs for notebooks."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

P = ParamSpec("P")

BLUE, VERMILION, GREEN, YELLOW, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"
"""Five colours of Okabe and Ito's set, told apart with any colour vision."""
INK, GREY, PALE = "#222222", "#767676", "#E4E4E4"

WIDEST, TALLEST = 40.0, 100.0
"""Inches that a figure takes at most, whatever was counted or divided: 3,600 by 9,000 pixels."""
SLIMMEST = 0.125
"""Height by width, or width by height, of the room that a picture gets at least; see `panel`."""

STYLE: dict[Any, Any] = {
    "figure.dpi": 90,
    "figure.facecolor": "white",
    "figure.titlesize": 11,
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=[BLUE, VERMILION, GREEN, YELLOW, PURPLE, GREY]),
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "text.usetex": False,
}
"""The rcParams that every figure of this package is drawn with."""


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a drawing function under STYLE, and leave the caller's rcParams as they were."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(STYLE):
            figure = draw(*args, **kwargs)
            # Ticks are made when they are first needed: now, while the style still holds.
            figure.draw_without_rendering()
            return figure

    return wrapper


def sized(width: float, height: float, **options: Any) -> Figure:
    """A new figure of so many inches, or what a page can hold of it."""
    return Figure(figsize=(min(width, WIDEST), float(np.clip(height, 0.5, TALLEST))), **options)


@functools.lru_cache
def _letters(font: str) -> frozenset[int]:
    return frozenset(get_font(font).get_charmap())


def drawable(name: str, k: int) -> str:
    """A class's name, or ``class k`` where matplotlib would draw boxes or letters out of order.

    Args:
        name: in any script; the font has few, and matplotlib writes all from left to right.
        k: the class's id.
    """
    known = _letters(findfont(FontProperties()))
    plain = all(ord(letter) in known and unicodedata.bidirectional(letter) not in ("R", "AL")
                for letter in name)  # fmt: skip
    return name if plain else f"class {k}"


def panel(*shapes: tuple[int, int]) -> float:
    """Height by width of the room for pictures of these shapes, (H, W) in pixels.

    The highest decides. A line of pixels gets more room than it fills, or less than it asks for.
    """
    return float(np.clip(max(height / width for height, width in shapes), SLIMMEST, 2.5))


def said(figure: Figure) -> str:
    """A figure in words, for those who do not see it: titles, or else what its axes measure."""
    lines = [figure.get_suptitle()]
    for axes in figure.axes:
        titles = [axes.get_title(loc=loc) for loc in ("left", "center", "right")]
        measured = " against ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel())))
        lines.append(" ".join(filter(None, titles)) or measured)
    return "; ".join(dict.fromkeys(filter(None, map(str.strip, lines)))) or "a figure"


def use_style(*, format: str = "jpeg", dpi: int = 90, quality: int = 88) -> None:
    """Give a notebook's own plots the look of these figures, and keep its outputs small.

    Outside IPython only the style is set. A row of four street images takes about 100 KB as JPEG
    and five times that as PNG, which is why JPEG is the default.

    Args:
        format: ``"jpeg"`` or ``"png"``, the format of the figures stored in the notebook.
        dpi: dots per inch of the notebook's own figures.
        quality: of JPEG, 1..95.

    Raises:
        ValueError: a format that is neither ``"jpeg"`` nor ``"png"``.
    """
    if format not in ("jpeg", "png"):
        raise ValueError(f"format is {format!r}; allowed are 'jpeg' and 'png'")
    rc: dict[Any, Any] = {**STYLE, "figure.dpi": dpi}
    matplotlib.rcParams.update(rc)
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:  # a plain script on a machine without Jupyter
        return
    shell = get_ipython()
    if shell is None:
        return
    from IPython.core.pylabtools import select_figure_formats
    from matplotlib_inline.config import InlineBackend

    pil = {"quality": quality, "optimize": True} if format == "jpeg" else {"optimize": True}
    inline = InlineBackend.instance(parent=shell)
    # The settings are for a pyplot imported later, which reads them when it sets itself up; the
    # call is for figures that pyplot never sees, which IPython would otherwise show as text.
    inline.figure_formats = {format}
    inline.print_figure_kwargs = {"bbox_inches": "tight", "pil_kwargs": pil}
    select_figure_formats(shell, {format}, **inline.print_figure_kwargs)
    display: Any = shell.display_formatter
    formatter = display.formatters[f"image/{format}"]
    encode = formatter.lookup_by_type(Figure)
    formatter.for_type(Figure, lambda figure: (encode(figure), {"alt": said(figure)}))
