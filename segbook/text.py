"""Text from elsewhere (names of classes, files, runs; notes; commands) put where it is read.

A name may hold anything: a dollar sign that matplotlib takes for mathematics, a ``|`` that splits a
table, an escape sequence that sets a terminal's title. Each place has one function.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TextIO, cast

__all__ = [
    "code",
    "columns",
    "figure",
    "markdown",
    "on_terminal",
    "one_line",
    "operand",
    "shell",
    "terminal",
]

JOINERS = "\u200c\u200d"
"""Format characters that words of Persian, Hindi and others are written with."""
MARKUP = r"[\\`*\[\]<>&|$~#!]|(?<![^\W_])_|_(?![^\W_])"
"""What Markdown may take for markup; inside a word ``_`` is none."""
BAR = r"\r|\n*(?:\x1b\[A)*\Z"
"""How tqdm begins what it writes: back to the line's start, or by lines down and up."""


def terminal(text: object) -> str:
    r"""Text of several lines for a terminal: what is not printable is shown as ``\x1b``."""
    return "".join(c if c in "\n\t" else _visible(c) for c in str(text))


def one_line(text: object) -> str:
    r"""Text for one line of a terminal or a log: line breaks are shown as ``\n``."""
    return "".join(map(_visible, str(text)))


def markdown(text: object) -> str:
    """Text for a line or a table's cell of Markdown, where it stands for itself."""
    return re.sub(MARKUP, r"\\\g<0>", one_line(text))


def code(text: object) -> str:
    """Text as a code span of Markdown, not for tables: there a ``|`` splits code, too."""
    shown = one_line(text)
    longest = max(map(len, re.findall("`+", shown)), default=0)
    return f"{'`' * (longest + 1)} {shown} {'`' * (longest + 1)}" if longest else f"`{shown}`"


def figure(text: object, *, most: int = 80) -> str:
    """Text for matplotlib, which would set what stands between dollar signs as mathematics.

    A figure grows with its names: of a longer one ``most`` letters are kept.
    """
    shown = one_line(text)
    shown = shown if len(shown) <= most else f"{shown[: most - 1]}…"
    return shown.replace("$", r"\$")


def columns(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table for a terminal: names at the left, numbers below each other."""
    cells = [[one_line(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *rest in cells:
        padded = (f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True))
        yield "  ".join([f"{first:<{widths[0]}}", *padded]).rstrip()


def shell(*words: object) -> str:
    r"""A command that can be pasted into a shell; a control character stands as ``$'\033'``."""
    return " ".join(map(_word, map(str, words)))


def operand(path: object) -> str:
    """A path for a command line, never taken for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


@contextlib.contextmanager
def on_terminal() -> Iterator[None]:
    r"""Meanwhile what is written to standard output and error is shown and does nothing.

    A character that the terminal does not know is shown as ``\u202e``, too, and raises nothing.
    Progress bars move as ever.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = ours = _wrap(sys.stdout), _wrap(sys.stderr, may_begin=BAR)
    try:
        yield
    finally:  # click puts streams of its own there when a reader is gone
        if (sys.stdout, sys.stderr) == ours:
            sys.stdout, sys.stderr = before


class _Terminal(io.TextIOBase):
    """Writes to a stream; only what matches ``may_begin`` acts there."""

    def __init__(self, stream: TextIO, may_begin: str) -> None:
        self._stream, self._may_begin = stream, re.compile(may_begin)

    def write(self, text: str, /) -> int:
        """Write it, escaped."""
        if not isinstance(text, str):  # click asks so whether a stream is one of bytes
            raise TypeError(f"a terminal takes text, got {type(text).__name__}")
        found = self._may_begin.match(text)
        end = found.end() if found else 0
        encoding = self.encoding or "utf-8"
        shown = text[:end] + terminal(text[end:])
        self._stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    @property
    def encoding(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the stream."""
        return getattr(self._stream, "encoding", None)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's file."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Yes."""
        return True


def _wrap(stream: TextIO | None, may_begin: str = "") -> TextIO:
    # A closed standard stream is None, and stays so.
    return cast(TextIO, stream and _Terminal(stream, may_begin))


def _visible(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character if character in JOINERS else ascii(character)[1:-1]
    return character


def _word(word: str) -> str:
    return shlex.quote(word) if one_line(word) == word else f"$'{''.join(map(_quoted, word))}'"


def _quoted(character: str) -> str:
    if " " <= character <= "~" and character not in "'\\":
        return character
    # A surrogate of U+DC80 and up is a byte of a file's name that is no UTF-8.
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", errors))
