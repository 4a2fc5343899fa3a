"""Our solutions in a student's copy: there for the check, and not to be read by accident."""

from __future__ import annotations

import base64
import sys
import textwrap
import zlib


def seal(source: str) -> str:
    """Source code as a cell's source that runs it and does not show it."""
    packed = base64.b85encode(zlib.compress(source.encode(), 9)).decode()
    lines = "\n".join(textwrap.wrap(packed, 88))
    imports = "# Ours, sealed: the check compares with it.\nfrom segbook import course\n\n"
    return f'{imports}course.sealed("""\n{lines}\n""")'


def unseal(text: str) -> str:
    """The source code that `seal` packed.

    Raises:
        ValueError: somebody changed it.
    """
    try:
        return zlib.decompress(base64.b85decode("".join(text.split()))).decode()
    except (ValueError, zlib.error):
        raise ValueError(
            "the sealed solution was changed; take its cell from a fresh copy"
        ) from None


def sealed(text: str) -> None:
    """Run a sealed solution in the notebook that calls this.

    Raises:
        ValueError: somebody changed it.
    """
    exec(compile(unseal(text), "<sealed>", "exec"), sys._getframe(1).f_globals)
