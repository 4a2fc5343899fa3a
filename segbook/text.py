"""Text from elsewhere (names of classes, files, runs; notes; commands) put where it is read.

A name may hold anything: a dollar sign that matplotlib takes for mathematics, a ``|`` that splits a
table, an escape sequence that sets a terminal's title. Each place has one function.
"""

from __future__ import annotations

import re
import shlex
import unicodedata

__all__ = ["figure", "markdown", "one_line", "shell", "terminal"]

JOINERS = "\u200c\u200d"
"""Format characters that words of Persian, Hindi and others are written with."""


def terminal(text: object) -> str:
    r"""Text of several lines for a terminal: what is not printable is shown as ``\x1b``."""
    return "".join(c if c in "\n\t" else _visible(c) for c in str(text))


def one_line(text: object) -> str:
    r"""Text for one line of a terminal or a log: line breaks are shown as ``\n``."""
    return "".join(map(_visible, str(text)))


def markdown(text: object) -> str:
    """Text for a line or a table's cell of Markdown, where it stands for itself."""
    return re.sub(r"([\\`*_\[\]<>&|$~#!])", r"\\\1", one_line(text))


def figure(text: object) -> str:
    """Text for matplotlib, which would set what stands between dollar signs as mathematics."""
    return one_line(text).replace("$", r"\$")


def shell(*words: object) -> str:
    """A command that can be pasted into a shell."""
    return shlex.join(map(str, words))


def _visible(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character if character in JOINERS else ascii(character)[1:-1]
    return character
