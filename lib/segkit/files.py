"""Files from elsewhere: opened only where they are plain files, and named as can be printed.

A path may lead to a pipe, a device or 40 GB of zeros, and a name need not be text at all.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from io import BufferedReader
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "is a folder, not a file"),
    (stat.S_ISFIFO, "is a pipe (FIFO), not a file"),
    (stat.S_ISSOCK, "is a socket, not a file"),
    (stat.S_ISCHR, "is a device, not a file"),
    (stat.S_ISBLK, "is a device, not a file"),
)


class FileError(ValueError):
    """A file that cannot be used; the message is its path and the reason.

    Attributes:
        path: of the file.
        reason: what is wrong with it and what to do, to be read after the path.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{shown(self.path)} {self.reason}"


def shown(name: object) -> str:
    r"""A name or path on one line that can be printed: what cannot be is shown as ``\udcff``."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))


def open_regular(path: str | Path, most: int | None = None) -> BufferedReader:
    """Open a plain file to read its bytes; a pipe is not waited for, a device not touched.

    Args:
        path: of the file, or of a link to it.
        most: bytes that it may have; None for any number.

    Raises:
        FileError: there is none, it is something else, larger, or may not be read.
    """
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY", "O_CLOEXEC"):  # not every system has each
        flags |= getattr(os, name, 0)
    try:
        # Asked twice: to open a device may do something, and what lies there may change meanwhile.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FileError(path, what_is_there(path))
        descriptor = os.open(path, flags)
    except PermissionError as error:
        raise FileError(path, "may not be read (permission denied): chmod u+r allows it") from error
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(path, what_is_there(path)) from error
    file = os.fdopen(descriptor, "rb")
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or (most is not None and found.st_size > most):
        file.close()
        if not stat.S_ISREG(found.st_mode):
            raise FileError(path, what_is_there(path))
        raise FileError(path, f"has {found.st_size:,} bytes, at most {most:,} are read")
    return file


def read_text(path: str | Path, most: int, *, errors: str = "strict") -> str:
    """Read a small text file in UTF-8, with one line break, whoever wrote it.

    Args:
        path: of the file.
        most: bytes that it may have.
        errors: what is done with other bytes, as `bytes.decode` takes it.

    Raises:
        FileError: as `open_regular`, or no text in UTF-8 (the mark with which Windows begins one is
            no text).
    """
    with open_regular(path, most) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise FileError(path, f"is no text in UTF-8 ({error}): save it as such") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def what_is_there(path: str | Path) -> str:
    """What a message says of a path that is no plain file, and which file lies near it."""
    path = Path(path)
    try:
        mode = path.stat().st_mode
        return next((said for holds, said in _KINDS if holds(mode)), "cannot be opened")
    except (OSError, ValueError) as error:
        try:
            if path.is_symlink():
                return f"is a link to {shown(os.readlink(path))}, where no file is"
            near = nearby_said(path)
        except (OSError, ValueError):
            near = ""
        known = isinstance(error, FileNotFoundError | NotADirectoryError)
        return f"is missing{near}" if known or near else f"cannot be opened ({shown(error)})"


def nearby(path: str | Path) -> Path | None:
    r"""What somebody may have meant by a path that leads nowhere; None where nothing is like it.

    That is a path in quotes, with spaces around it, ``~`` or ``\``; a name in other case, in the
    other Unicode form, with another ending or without one.
    """
    text = str(path).strip().strip("\"'").strip()
    meant = Path(text.replace("\\", "/")).expanduser()
    found = Path(meant.anchor)
    for part in meant.parts[bool(meant.anchor) :]:
        if part == ".." or (found / part).exists():
            found /= part
            continue
        if not found.is_dir():
            return None
        names = sorted(os.listdir(found))
        like = [name for name in names if folded(name) == folded(part)]
        like += [name for name in names if folded(Path(name).stem) == folded(Path(part).stem)]
        like += [name for name in names if folded(Path(name).stem) == folded(part)]
        if not like:
            return None
        found /= like[0]
    return found if str(found) != str(path) and found.exists() else None


def nearby_said(path: str | Path) -> str:
    """What lies `nearby`, as the end of "there is no such file"; "" for nothing."""
    near = nearby(path)
    return f", but {shown(near)} lies there" if near else ""


def folded(name: str) -> str:
    """A name without what is easily mistaken: its case, its Unicode form, space around it."""
    return unicodedata.normalize("NFC", name.strip().casefold())
