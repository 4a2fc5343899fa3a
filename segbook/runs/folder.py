"""A run folder: one shape for every run, whoever started it.

    run.json          recipe, overrides, seed, versions, git commit, data hash, status, result
    metrics.jsonl     one record a logged step or evaluation
    checkpoints/      last, previous, best
    log.txt           what the run said
    notebook.ipynb    of a notebook run, with its report notebook.html

Only the run that owns the folder writes it. Ownership is a lock that the kernel frees when the
process dies, however it dies, so that a folder is never left locked. A notebook's kernel writes on
behalf of the process that started it, and shows that process's token.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RUNNING, FINISHED, FAILED, STOPPED, INTERRUPTED = (
    "running", "finished", "failed", "stopped", "interrupted",
)  # fmt: skip
"""``stopped``: by the user or the time limit. ``interrupted``: it died without a word."""

FOLDER_VARIABLE, TOKEN_VARIABLE = "SEGBOOK_RUN_FOLDER", "SEGBOOK_RUN_TOKEN"


class RunBusyError(RuntimeError):
    """Another live process owns the run folder."""


def runs_root() -> Path:
    """Where new run folders go: ``$SEGBOOK_RUNS``, else ``runs`` in the current folder."""
    return Path(os.environ.get("SEGBOOK_RUNS", "runs"))


def now() -> str:
    """The time, ISO 8601 with its zone, to the second."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class RunFolder:
    """The files of one run.

    Args:
        path: the folder; it must hold a ``run.json`` (see `create` for a new one).

    Raises:
        ValueError: there is no run in that folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        if not (self.path / "run.json").is_file():
            raise ValueError(
                f"{path} is not a run folder: it has no run.json. "
                "`segbook list` shows the runs there are."
            )

    @classmethod
    def create(cls, name: str, *, root: str | Path | None = None, **fields: Any) -> RunFolder:
        """Make a new, empty run folder ``<root>/<name>-<date>-<time>`` and describe it.

        Args:
            name: the recipe's or the notebook's name.
            root: the folder of runs; default `runs_root()`.
            **fields: what goes into ``run.json``.
        """
        root = Path(root) if root else runs_root()
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        for suffix in ("", *(f"-{n}" for n in range(2, 1000))):
            path = root / f"{name}-{stamp}{suffix}"
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                continue
            except OSError as error:
                raise ValueError(
                    f"cannot make the run folder {path}: {error.strerror}. "
                    "Set SEGBOOK_RUNS to a folder you may write."
                ) from error
        (path / "checkpoints").mkdir()
        return cls.describe(path, name=path.name, created=now(), status=STOPPED, **fields)

    @classmethod
    def describe(cls, path: Path, **fields: Any) -> RunFolder:
        """Write the first ``run.json`` of a folder."""
        write_atomic(path / "run.json", json.dumps(fields, indent=1) + "\n")
        return cls(path)

    @property
    def name(self) -> str:
        """The folder's name, which is the run's."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def read(self) -> dict[str, Any]:
        """``run.json``, with a run that died without a word shown as ``interrupted``."""
        try:
            described = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.path / 'run.json'} is damaged: {error}") from error
        if described.get("status") == RUNNING and not self.is_locked():
            described["status"] = INTERRUPTED
        return described

    def update(self, **fields: Any) -> None:
        """Change fields of ``run.json``, atomically."""
        described = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        described.update(fields, updated=now())
        write_atomic(self.path / "run.json", json.dumps(described, indent=1) + "\n")

    def append_metrics(self, **record: Any) -> None:
        """Add one record to ``metrics.jsonl``; a whole line at a time."""
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All records; a last line that a kill cut short is left out."""
        try:
            lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        records = []
        for line in lines:
            with contextlib.suppress(json.JSONDecodeError):
                records.append(json.loads(line))
        return records

    def forget_after(self, step: int) -> None:
        """Drop the records of steps that a resume will do again (those after ``step`` steps)."""
        kept = [r for r in self.metrics() if r.get("step", 0) <= step]
        write_atomic(
            self.path / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in kept)
        )

    def log(self, text: str) -> None:
        """Add a line with the time to ``log.txt``."""
        with open(self.path / "log.txt", "a", encoding="utf-8") as file:
            file.write(f"{now()} {text}\n")

    def is_locked(self) -> bool:
        """Whether a live process owns the folder."""
        try:
            with open(self.path / ".lock", "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextlib.contextmanager
    def own(self) -> Iterator[dict[str, str]]:
        """Own the folder while the context lasts.

        Inside a kernel that the folder's owner started (it hands its token through the
        environment), this shares the owner's right instead of asking for a second lock.

        Yields:
            The environment variables that let a child process write on this process's behalf.

        Raises:
            RunBusyError: a live process owns the folder; the message names it.
        """
        lock = self.path / ".lock"
        if os.environ.get(FOLDER_VARIABLE) == str(self.path) and self.is_locked():
            owner = json.loads(lock.read_text(encoding="utf-8") or "{}")
            if owner.get("token") == os.environ.get(TOKEN_VARIABLE):
                yield {}
                return
        with open(lock, "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read() or "{}"
                owner = json.loads(owner)
                raise RunBusyError(
                    f"run {self.name} is being written by process {owner.get('pid', '?')} on "
                    f"{owner.get('host', '?')} since {owner.get('since', '?')}. "
                    "Wait for it, or stop it with `kill <pid>`, then try again."
                ) from None
            token = secrets.token_hex(8)
            file.truncate(0)
            json.dump(
                {"pid": os.getpid(), "host": socket.gethostname(), "since": now(), "token": token},
                file,
            )
            file.flush()
            yield {FOLDER_VARIABLE: str(self.path), TOKEN_VARIABLE: token}


def find(name: str, *, root: str | Path | None = None) -> RunFolder:
    """A run by its folder's path or name, or by the start of its name where that is unique.

    Raises:
        ValueError: no such run, or several; the message lists what there is.
    """
    if (Path(name) / "run.json").is_file():
        return RunFolder(name)
    folders = all_runs(root=root)
    matches = [f for f in folders if f.name == name] or [
        f for f in folders if f.name.startswith(name)
    ]
    if len(matches) == 1:
        return matches[0]
    where = Path(root) if root else runs_root()
    if matches:
        raise ValueError(f"{name!r} fits several runs: {', '.join(f.name for f in matches)}")
    there = ", ".join(f.name for f in folders[-5:]) or "none"
    raise ValueError(f"no run {name!r} in {where}; the newest there: {there}")


def all_runs(*, root: str | Path | None = None) -> list[RunFolder]:
    """Every run folder below ``root``, oldest first."""
    root = Path(root) if root else runs_root()
    files = sorted(root.glob("*/run.json"), key=lambda p: (p.parent.stat().st_ctime, p))
    return [RunFolder(file.parent) for file in files]
