"""Questions and answers in words: `code` between backticks is all the markup they have."""

from __future__ import annotations

import html
import io
import re
import textwrap
from collections.abc import Sequence

from matplotlib import rc_context
from PIL import Image

from segbook import text
from segbook.figures.style import STYLE, sized
from segbook.widgets.widget import png


def paragraph(words: object) -> str:
    """One line of words, however they were broken into lines."""
    return text.one_line(" ".join(str(words).split()))


def sentence(words: object) -> str:
    """A paragraph with a capital at its start and a stop at its end; nothing stays nothing."""
    line = paragraph(words)
    stop = "" if not line or line.endswith((".", "!", "?")) else "."
    return f"{line[:1].upper()}{line[1:]}{stop}"


def to_html(words: str) -> str:
    """Words as HTML, with what stands between backticks as code."""
    parts = re.split("`", html.escape(words, quote=False))
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def to_png(words: str) -> bytes:
    """Words of several lines as a picture, PNG bytes."""
    lines = [
        part
        for line in words.splitlines()
        for part in textwrap.wrap(
            line, 96, subsequent_indent=" " * (4 + len(line) - len(line.lstrip()))
        )
        or [""]
    ]
    drawn = io.BytesIO()
    with rc_context(STYLE):
        figure = sized(8, 0.2 * len(lines) + 0.2)
        shown = "\n".join(text.figure(line, most=200) for line in lines)
        figure.text(0.01, 0.98, shown, va="top", linespacing=1.4)
        figure.savefig(drawn, format="png", bbox_inches="tight")
    return png(Image.open(drawn).convert("L"))


def letters(choices: Sequence[str]) -> list[str]:
    """The choices as lines, each behind its letter: ``a) first``."""
    return [f"{chr(ord('a') + i)}) {choice}" for i, choice in enumerate(choices)]


def check_choices(choices: Sequence[str], of: str) -> None:
    """Raise a ValueError unless there are 2 to 26 choices that differ."""
    if not 2 <= len(choices) <= 26:
        raise ValueError(f"{of} has {len(choices)} choices; give 2 to 26")
    if len(set(choices)) < len(choices):
        raise ValueError(f"{of} has the same choice twice; make them differ: {list(choices)}")
