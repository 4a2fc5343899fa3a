"""Who owns a run folder.

Ownership is a lock that the operating system frees when the process dies, however it dies, so that
a folder is never left locked. A notebook's kernel writes on behalf of the process that started it,
and shows that process's token.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypedDict

import msgspec

from segbook.runs import files
from segbook.runs.files import regular
from segbook.text import one_line

FOLDER_VARIABLE, TOKEN_VARIABLE = "SEGBOOK_RUN_FOLDER", "SEGBOOK_RUN_TOKEN"

_held: dict[Path, tuple[IO[str], dict[str, str]]] = {}
"""By run folder: the lock file that this process holds, and its children's environment."""


class Owner(TypedDict, total=False):
    """What ``.lock`` holds."""

    pid: int
    host: str
    since: str  # ISO 8601
    token: str


class RunBusyError(RuntimeError):
    """Another live process owns the run folder."""


def _close_in_child() -> None:
    # A forked loader process that outlives a killed run must not keep the run locked. Closing
    # leaves the parent's lock as it is.
    for file, _ in _held.values():
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


def now() -> str:
    """The time, ISO 8601 with its zone, to the second."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


@contextlib.contextmanager
def own(folder: Path) -> Iterator[dict[str, str]]:
    """Own a run folder while the context lasts.

    Where this process owns it already, and inside a kernel that its owner started, this shares the
    owner's right instead of asking for a second lock.

    Yields:
        The environment variables that let a child process write on this process's behalf; none
        in such a child.

    Raises:
        RunBusyError: a live process owns the folder; the message names it.
    """
    if folder in _held:
        yield _held[folder][1]
        return
    if is_ours(folder):
        yield {}
        return
    with open(folder / ".lock", "a+", encoding="utf-8", opener=regular) as file:
        _acquire(file, folder)
        token = secrets.token_hex(8)
        environment = {FOLDER_VARIABLE: str(folder), TOKEN_VARIABLE: token}
        _held[folder] = file, environment
        try:
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}
            file.truncate(0)
            file.write(json.dumps({**owner, "token": token}))
            file.flush()
            yield environment
        finally:
            _held.pop(folder, None)


def is_held(folder: Path) -> bool:
    """Whether this very process owns a run folder."""
    return folder in _held


def is_ours(folder: Path) -> bool:
    """Whether this process descends from a run folder's owner, by the owner's token."""
    token = os.environ.get(TOKEN_VARIABLE)
    if token is None or os.environ.get(FOLDER_VARIABLE) != str(folder) or not is_locked(folder):
        return False
    return owner_of(folder).get("token") == token


def is_locked(folder: Path) -> bool:
    """Whether a live process owns a run folder."""
    try:
        with open(folder / ".lock", "rb", opener=regular) as file:
            _flock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def owner_of(folder: Path) -> Owner:
    """Who owns a run folder, or owned it last; nothing where that cannot be known."""
    try:
        return msgspec.convert(files.read_json(folder / ".lock"), Owner)
    except (OSError, ValueError, msgspec.ValidationError):
        return {}


def _flock(file: IO[Any], operation: int) -> None:
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        raise ValueError(
            f"the file system of {one_line(file.name)} has no file locks ({error.strerror}), so "
            "that two processes could write one run: mount it with them (Lustre: -o flock), or "
            "set SEGBOOK_RUNS to a folder elsewhere"
        ) from error


def _acquire(file: IO[str], folder: Path) -> None:
    for attempt in range(10):  # `is_locked` of another process takes the lock for an instant
        with contextlib.suppress(BlockingIOError):
            _flock(file, fcntl.LOCK_EX)
            return
        time.sleep(0.02 * attempt)
    owner = owner_of(folder)
    pid = owner.get("pid", "?")
    host, since = (one_line(owner.get(key, "?")) for key in ("host", "since"))
    elsewhere = host != one_line(socket.gethostname())
    raise RunBusyError(
        f"run {one_line(folder.name)} is being written by process {pid} on {host} "
        f"since {since}. Wait for it, or stop it with `kill {pid}`{' there' * elsewhere}, "
        "then try again."
    )
