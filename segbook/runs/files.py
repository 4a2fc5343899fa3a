"""The files of a run folder, which may come from somebody else: opened only as what they seem.

A link would have a run write to wherever it points, and a FIFO or a device would have it wait for
ever. So a file is opened by ``open(path, ..., opener=regular)``, which takes regular files only.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from segbook.text import one_line

LARGEST = 2**24
"""Bytes of a file that is read whole: a record, a lock, the doctor's findings."""
LONGEST = 2**32
"""Bytes of one that is read line by line: metrics, a log."""
LONGEST_LINE = 2**20
KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular(path: str | Path, flags: int) -> int:
    """An ``opener`` for `open`, which neither follows a link nor waits for a FIFO.

    Raises:
        ValueError: it is no regular file, or it would be written and has a second name.
    """
    check(path, sole=bool(flags & (os.O_WRONLY | os.O_RDWR)))
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    try:
        check(path, descriptor=descriptor)  # it may have been exchanged in between
    except ValueError:
        os.close(descriptor)
        raise
    return descriptor


def check(
    path: str | Path,
    *,
    form: int = stat.S_IFREG,
    sole: bool = False,
    descriptor: int | None = None,
) -> None:
    """Refuse what is there and no regular file; what is not there may be made.

    Args:
        path: the file.
        form: another form than a regular file's, such as ``stat.S_IFDIR``.
        sole: whether a file that has a second name (a hard link) is refused, too.
        descriptor: the file, where it is open already.

    Raises:
        ValueError: it is a link, a FIFO, a device ...
    """
    try:
        status = os.lstat(path) if descriptor is None else os.fstat(descriptor)
    except FileNotFoundError:
        return
    found = stat.S_IFMT(status.st_mode)
    if found == form:
        if sole and status.st_nlink > 1:
            raise ValueError(
                f"{one_line(path)} has a second name elsewhere (a hard link; a copy has not)"
            )
        return
    what = KINDS.get(found, "something else")
    if found == stat.S_IFLNK:
        with contextlib.suppress(OSError):
            what += f" to {one_line(os.readlink(path))}"
    raise ValueError(f"{one_line(path)} is {what}, not {KINDS[form]}")


def read_text(path: Path, *, limit: int = LARGEST) -> str:
    """The text of a regular file of at most ``limit`` bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, too large, or not UTF-8.
    """
    with open(path, "rb", opener=regular) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{one_line(path)} is larger than {limit >> 20} MiB")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{one_line(path)} is not UTF-8: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a regular file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: as `read_text`, or it holds something else.
    """
    try:
        content = json.loads(read_text(path))
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    return content


def lines(path: Path) -> Iterator[str]:
    """The lines of a regular file, one that is very long in pieces; what is not UTF-8 as ``�``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or too large.
    """
    with open(path, encoding="utf-8", errors="replace", opener=regular) as file:
        if os.fstat(file.fileno()).st_size > LONGEST:
            raise ValueError(f"{one_line(path)} is larger than {LONGEST >> 30} GiB")
        while line := file.readline(LONGEST_LINE):
            yield line


def write_atomic(path: Path, text: str) -> None:
    """Write a text file, see `write_whole`."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    A link in its place is replaced, not followed.

    Args:
        path: of the file, in a folder that is there.
        write: writes the content to the file that it is given.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # as short as a name may be long
    try:
        with open(temporary, "xb") as file:  # never one that is there
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a failed write does not name its file
        raise
