"""A run folder: one shape for every run, whoever started it.

    run.json          recipe, overrides, seed, versions, git commit, data hash, status, result
    metrics.jsonl     one record a logged step or evaluation
    checkpoints/      last, previous, best
    log.txt           what the run said
    notebook.ipynb    of a notebook run, with its report notebook.html

Only the run that owns the folder writes it (`segbook.runs.lock`).
"""

from __future__ import annotations

import contextlib
import datetime
import difflib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from segbook.runs import lock
from segbook.runs.lock import FOLDER_VARIABLE, TOKEN_VARIABLE, RunBusyError, now

RUNNING, FINISHED, FAILED, STOPPED, INTERRUPTED = (
    "running", "finished", "failed", "stopped", "interrupted",
)  # fmt: skip
"""``stopped``: by the user or the time limit. ``interrupted``: it died without a word."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
RESERVE_BYTES = 65536
"""Kept in each owned folder, so that the last word of a run still fits on a full disk."""

__all__ = [
    "DISK_FULL", "FAILED", "FINISHED", "FOLDER_VARIABLE", "INTERRUPTED", "RUNNING", "STOPPED",
    "TOKEN_VARIABLE", "RunBusyError", "RunFolder", "all_runs", "find", "now", "runs_root",
    "write_atomic",
]  # fmt: skip


class Scores(TypedDict, total=False):
    """What was measured on a split; any field may be missing or null."""

    miou: float | None
    accuracy: float | None
    policy: str | None


class Result(Scores, total=False):
    """The scores on validation, and on test where there is one."""

    classes: list[str] | None
    test: Scores | None


class RunRecord(TypedDict, total=False):
    """The fields of ``run.json`` that others read; any may be missing or null."""

    status: str | None
    kind: str | None  # "train" or "notebook"
    created: str | None  # ISO 8601
    reason: str | None  # why it stopped
    attempts: int | None
    processes: int | None
    threads: int | None
    precision: str | None
    step: int | None
    steps: int | None
    seconds: float | None  # in training steps
    seconds_total: float | None
    notebook: str | None
    recipe_name: str | None
    recipe: dict | None
    parameters: dict | None
    overrides: dict | None
    versions: dict | None
    data_manifest: dict | None
    result: Result | None
    error: dict | str | None
    forecast: dict | None


def runs_root() -> Path:
    """Where new run folders go: ``$SEGBOOK_RUNS``, else ``runs`` in the current folder."""
    return Path(os.path.expanduser(os.environ.get("SEGBOOK_RUNS") or "runs"))


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a failed write does not name its file
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
            name: the recipe's or the notebook's name; what a folder's name should not hold
                becomes ``_``.
            root: the folder of runs; default `runs_root()`.
            **fields: what goes into ``run.json``.

        Raises:
            ValueError: ``root`` cannot be written.
            OSError: the disk is full.
        """
        root = Path(root) if root else runs_root()
        name = re.sub(r"[^\w.-]+", "_", name).strip("._-") or "run"
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        path, number = root / f"{name}-{stamp}", 1
        while True:
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:  # the second of a second
                number += 1
                path = root / f"{name}-{stamp}-{number}"
            except OSError as error:
                raise ValueError(
                    f"cannot make the run folder {path}: {error.strerror}. "
                    "Set SEGBOOK_RUNS to a folder you may write."
                ) from error
        try:
            (path / "checkpoints").mkdir()
            (path / ".reserve").write_bytes(bytes(RESERVE_BYTES))
            return cls.describe(path, name=path.name, created=now(), status=STOPPED, **fields)
        except OSError as error:  # no half of a run folder is left behind
            shutil.rmtree(path, ignore_errors=True)
            message = f"cannot make the run folder {path}: {error.strerror}"
            raise OSError(error.errno, message) from error

    @classmethod
    def describe(cls, path: Path, **fields: Any) -> RunFolder:
        """Write the first ``run.json`` of a folder."""
        write_atomic(path / "run.json", json.dumps(fields, indent=1) + "\n")
        return cls(path)

    @classmethod
    def for_notebook(cls, name: str) -> RunFolder:
        """The folder that `segbook run` made for this notebook; elsewhere a new one."""
        given = os.environ.get(FOLDER_VARIABLE)
        return cls(given) if given else cls.create(name, kind="notebook")

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

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
        described = self._read()
        if described.get("status") == RUNNING and not self.is_locked():
            described["status"] = INTERRUPTED
        return described

    def created(self) -> str:
        """When the run was made, ISO 8601; empty where ``run.json`` is damaged."""
        try:
            return str(self._read().get("created", ""))
        except ValueError:
            return ""

    def _read(self) -> dict[str, Any]:
        file = self.path / "run.json"
        try:
            described = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(described, dict):
                raise ValueError("it holds no JSON object")
            msgspec.convert(described, RunRecord)
        except (ValueError, msgspec.ValidationError) as error:  # of JSON and of UTF-8, too
            raise ValueError(
                f"{file} is damaged: {error}. Mend it by hand, or delete the folder."
            ) from error
        return described

    def update(self, **fields: Any) -> None:
        """Change fields of ``run.json``, atomically, even on a full disk.

        The status is the owner's to write: from inside a notebook that `segbook run` executes it
        is left as it is, for the notebook is not finished when its training is.
        """
        if not lock.is_held(self.path) and lock.is_ours(self.path):
            fields.pop("status", None)
        described = self._read()
        described.update(fields, updated=now())
        text = json.dumps(described, indent=1) + "\n"
        try:
            write_atomic(self.path / "run.json", text)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            (self.path / ".reserve").unlink(missing_ok=True)
            write_atomic(self.path / "run.json", text)

    def append_metrics(self, **record: Any) -> None:
        """Add one record to ``metrics.jsonl``: a whole line or nothing.

        Raises:
            OSError: the disk is full; the records before stay as they are.
        """
        line = (json.dumps(record) + "\n").encode()
        with open(self.path / "metrics.jsonl", "a+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
                line = b"\n" + line  # a kill cut the last line short
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                with contextlib.suppress(OSError):
                    file.truncate(end)
                error.filename = str(self.path / "metrics.jsonl")
                raise

    def metrics(self) -> list[dict[str, Any]]:
        """All records; a last line that a kill cut short is left out."""
        try:
            file = self.path / "metrics.jsonl"
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        records = []
        for line in lines:
            with contextlib.suppress(json.JSONDecodeError):
                record = json.loads(line)
                if isinstance(record, dict):
                    records.append(record)
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
        return lock.is_locked(self.path)

    @contextlib.contextmanager
    def own(self) -> Iterator[dict[str, str]]:
        """Own the folder while the context lasts; see `segbook.runs.lock.own`.

        Yields:
            The environment variables that let a child process write on this process's behalf.

        Raises:
            RunBusyError: a live process owns the folder; the message names it.
        """
        with lock.own(self.path) as environment:
            if lock.is_held(self.path):
                for leftover in self.path.glob(".*.tmp"):  # of a killed process
                    leftover.unlink(missing_ok=True)
                if not (self.path / ".reserve").exists():
                    (self.path / ".reserve").write_bytes(bytes(RESERVE_BYTES))
            yield environment


def find(name: str, *, root: str | Path | None = None) -> RunFolder:
    """A run by its folder's path or name, or by the start of its name where that is unique.

    Raises:
        ValueError: no such run, or several; the message lists the closest.
    """
    if (Path(name) / "run.json").is_file():
        return RunFolder(name)
    folders = {folder.name: folder for folder in all_runs(root=root)}
    if name in folders:
        return folders[name]
    matches = [other for other in folders if name and other.startswith(name)]
    named = [other for other in matches if re.fullmatch(r"-\d{8}-\d{6}(-\d+)?", other[len(name) :])]
    if len(matches) == 1 or len(named) == 1:
        return folders[(named or matches)[0]]
    if matches:
        raise ValueError(f"{name!r} fits several runs: {', '.join(matches)}")
    where = Path(root) if root else runs_root()
    close = difflib.get_close_matches(name, folders, n=3, cutoff=0.3) or [*folders][-3:]
    raise ValueError(
        f"there is no run {name!r} in {where}; "
        + (f"the closest: {', '.join(close)}" if close else "there are no runs there yet")
    )


def all_runs(*, root: str | Path | None = None) -> list[RunFolder]:
    """Every run folder below ``root``, the oldest first."""
    root = Path(root) if root else runs_root()
    return sorted(
        (RunFolder(file.parent) for file in root.glob("*/run.json")),
        key=lambda folder: (folder.created(), folder.name),
    )
