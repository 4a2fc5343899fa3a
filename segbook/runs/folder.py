"""A run folder: one shape for every run, whoever started it.

    run.json          recipe, overrides, seed, versions, git commit, data hash, status, result
    metrics.jsonl     one record a logged step or evaluation
    validation.png    what the network said of some images at its validations
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
import hashlib
import json
import os
import pwd
import re
import shutil
import stat
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from segbook.runs import files, lock, record
from segbook.runs.files import regular, write_atomic
from segbook.runs.lock import FOLDER_VARIABLE, TOKEN_VARIABLE, RunBusyError, now
from segbook.runs.record import metrics_of
from segbook.text import one_line, shell

RUNNING, FINISHED, FAILED, STOPPED, INTERRUPTED = (
    "running", "finished", "failed", "stopped", "interrupted",
)  # fmt: skip
"""``stopped``: by the user or the time limit. ``interrupted``: it died without a word."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
RESERVE_BYTES = 65536
"""Kept in each owned folder, so that the last word of a run still fits on a full disk."""
SOURCE = "source.ipynb"
PICTURE = "validation.png"
"""Of a training, see `segbook.training.progress`."""
STAMP = r"-\d{8}-\d{6}(-\d+)?"
"""What `RunFolder.create` appends to a name."""
LARGEST_NOTEBOOK = 2**28
"""Bytes; pictures in a notebook's outputs take many."""
IN_PLACE = (".lock", "log.txt", "*.jsonl")
REPLACED = ("run.json", "doctor.json", ".reserve", PICTURE, "*.ipynb", "notebook.html", ".*.tmp")
CHECKPOINTS = ("last.safetensors", "previous.safetensors", "best.safetensors", ".*.tmp")
"""What a run writes: opened and changed, or written anew, in its folder and in ``checkpoints``."""

__all__ = [
    "DISK_FULL", "FAILED", "FINISHED", "FOLDER_VARIABLE", "INTERRUPTED", "RUNNING", "STOPPED",
    "TOKEN_VARIABLE", "DamagedRunError", "RunBusyError", "RunFolder", "all_runs", "find", "now",
    "runs_root", "write_atomic",
]  # fmt: skip


class DamagedRunError(ValueError):
    """A run's record cannot be read; ``why`` says what is wrong with which file of the folder."""

    def __init__(self, folder: Path, error: OSError | ValueError) -> None:
        where, cure = one_line(folder), ". Mend it by hand, or delete the folder."
        self.why = one_line(str(error).replace(f"{where}/", ""))
        if isinstance(error, OSError):
            self.why = one_line(f"{os.path.basename(error.filename or '')}: {error.strerror}")
            cure = ""
        super().__init__(f"{where}/run.json is damaged: {self.why}{cure}")


def runs_root() -> Path:
    """Where new run folders go: ``$SEGBOOK_RUNS``, else ``runs`` in the current folder."""
    return Path(os.path.expanduser(os.environ.get("SEGBOOK_RUNS") or "runs"))


class RunFolder:
    """The files of one run.

    Args:
        path: the folder, or a link to it; it must hold a ``run.json`` (see `create` for a new one).

    Attributes:
        path: the folder, absolute; a link to it keeps its name, by which `find` finds it.

    Raises:
        ValueError: there is no run in that folder.
    """

    pending: str | None = None
    """Of a notebook's folder whose training is not settled: what a folder of its own is named."""

    def __init__(self, path: str | Path) -> None:
        parent, name = os.path.split(os.path.abspath(path))
        self.path = Path(os.path.realpath(parent), name)
        if not has_record(self.path):
            raise ValueError(
                f"{one_line(path)} is not a run folder: it has no run.json. "
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
            ValueError: ``root`` cannot be written, or a field is not what `RunRecord` says.
            OSError: the disk is full.
        """
        record.text_of(fields)  # refused before anything is made
        root = Path(root) if root else runs_root()
        name = _allowed(name)
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
            _make_reserve(path)
            described = {"name": path.name, "created": now(), "status": STOPPED, **fields}
            write_atomic(path / "run.json", record.text_of(described))
            return cls(path)
        except OSError as error:  # no half of a run folder is left behind
            shutil.rmtree(path, ignore_errors=True)
            message = f"cannot make the run folder {path}: {error.strerror}"
            raise OSError(error.errno, message) from error

    @classmethod
    def for_notebook(cls, name: str) -> RunFolder:
        """A folder for a training of this notebook: ask for one before each `training.build`.

        Outside of `segbook run` it is a new one. Inside it is the notebook's own folder, until the
        training begins. The first one stays there; a further one gets a folder of its own, listed
        below the notebook's, and this object becomes that folder. A notebook that is resumed finds
        each training's folder again by its recipe (`segbook.training.identity`).

        Args:
            name: of the new folder, usually the recipe's.

        Raises:
            ValueError: a new folder cannot be made.
        """
        given = os.environ.get(FOLDER_VARIABLE)
        if not given:
            return cls.create(name, kind="notebook")
        folder = cls(given)
        folder.pending = name
        return folder

    def children(self) -> list[RunFolder]:
        """The folders of a notebook's further trainings, the oldest first."""
        found = []
        for folder in run_folders(self.path.parent):
            with contextlib.suppress(ValueError, OSError):  # a damaged one is nobody's
                if folder.read().get("parent") == self.name:
                    found.append(folder)
        return sorted(found, key=lambda one: (one.created(), len(one.name), one.name))

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

    @property
    def argument(self) -> str:
        """What a command calls the run: its name where `find` finds it by that, else its path."""
        for path in (Path(self.name), runs_root() / self.name):
            if (path / "run.json").exists():
                if path.resolve() == self.path and not self.name.startswith("-"):
                    return self.name
                break
        relative = os.path.relpath(self.path)
        return str(self.path) if relative.startswith(os.pardir) else f"{os.curdir}/{relative}"

    def read(self) -> dict[str, Any]:
        """``run.json``, with a run that died without a word shown as ``interrupted``.

        Raises:
            DamagedRunError: it cannot be read, or a field is not what `RunRecord` says.
        """
        described = self._read()
        try:
            if described.get("status") == RUNNING and not self.is_locked():
                described["status"] = INTERRUPTED
        except (OSError, ValueError) as error:  # a lock of another kind
            raise DamagedRunError(self.path, error) from None
        return described

    def created(self) -> str:
        """When the run was made, ISO 8601; empty where ``run.json`` is damaged."""
        try:
            return self._read().get("created") or ""
        except DamagedRunError:
            return ""

    def _read(self) -> dict[str, Any]:
        try:
            return record.check(files.read_json(self.path / "run.json"))
        except (OSError, ValueError) as error:  # of JSON and of UTF-8, too
            raise DamagedRunError(self.path, error) from None

    def source(self) -> str:
        """The notebook that is executed: the one with which the run was made.

        Raises:
            ValueError: there is none, or it has been changed since.
        """
        path, wanted = self.path / SOURCE, self._read().get("source_sha256")
        try:
            text = files.read_text(path, limit=LARGEST_NOTEBOOK)
        except OSError as error:
            raise ValueError(f"{one_line(path)}: {error.strerror}") from None
        found = sha256(text)
        if wanted and found != wanted:
            raise ValueError(
                f"{one_line(path)} is not the notebook with which the run was made: its sha256 is "
                f"{found}, that in run.json {one_line(wanted)}. "
                "Look what it does, then start it as a run of its own: "
                f"{shell('segbook', 'run', path)}"
            )
        return text

    def other_owner(self) -> str | None:
        """Who owns the folder, where that is another user than this one."""
        with contextlib.suppress(OSError):
            user = self.path.stat().st_uid
            if user != os.geteuid():
                try:
                    return pwd.getpwuid(user).pw_name
                except KeyError:
                    return f"user {user}"
        return None

    def update(self, **fields: Any) -> None:
        """Change fields of ``run.json``, atomically, even on a full disk.

        The status is the owner's to write: from inside a notebook that `segbook run` executes it
        is left as it is, for the notebook is not finished when its training is. A result that comes
        before a training begins is a score of its own: it never replaces a training's.
        """
        if self.pending is not None and "result" in fields:
            fields["scored"] = self._settle_score()
        if not lock.is_held(self.path) and lock.is_ours(self.path):
            fields.pop("status", None)
        described = self._read()
        described.update(fields, updated=now())
        text = record.text_of(described)
        try:
            write_atomic(self.path / "run.json", text)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            (self.path / ".reserve").unlink(missing_ok=True)
            write_atomic(self.path / "run.json", text)

    def _settle_score(self) -> str:
        """Become the folder of a score that no training here has made; returns its name."""
        name, self.pending = self.pending or "", None
        for run in (self, *self.children()):
            held = run.read()
            if not held.get("recipe") and held.get("scored", name) == name:
                break
        else:
            run = RunFolder.create(name, root=self.path.parent, kind="notebook", parent=self.name)
        self.path = run.path
        return name

    def append_metrics(self, **record: Any) -> None:
        """Add one record to ``metrics.jsonl``: a whole line or nothing.

        Raises:
            OSError: the disk is full; the records before stay as they are.
        """
        line = (json.dumps(record) + "\n").encode()
        path = self.path / "metrics.jsonl"
        with open(path, "a+b", buffering=0, opener=regular) as file:
            end = file.seek(0, os.SEEK_END)
            if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
                line = b"\n" + line  # a kill cut the last line short
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                with contextlib.suppress(OSError):
                    file.truncate(end)
                error.filename = str(path)
                raise

    def metrics(self) -> list[dict[str, Any]]:
        """All records; a last line that a kill cut short is left out, and so is a damaged one."""
        return [found for line in self._lines("metrics.jsonl") if (found := metrics_of(line))]

    def log_lines(self) -> Iterator[str]:
        """What ``log.txt`` says."""
        return self._lines("log.txt")

    def _lines(self, name: str) -> Iterator[str]:
        with contextlib.suppress(FileNotFoundError):
            yield from files.lines(self.path / name)

    def forget_after(self, step: int) -> None:
        """Drop the records of steps that a resume will do again (those after ``step`` steps)."""
        kept = [r for r in self.metrics() if r["step"] <= step]
        write_atomic(
            self.path / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in kept)
        )

    def log(self, text: str) -> None:
        r"""Add a line with the time to ``log.txt``; a break within the text is shown as ``\n``."""
        with open(self.path / "log.txt", "a", encoding="utf-8", opener=regular) as file:
            file.write(f"{now()} {one_line(text)}\n")

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
            ValueError: something that a run writes is a link there, or no regular file.
        """
        if not lock.is_held(self.path):
            self.check_files()
        with lock.own(self.path) as environment:
            if lock.is_held(self.path):
                for folder in (self.path, self.checkpoints):
                    for leftover in folder.glob(".*.tmp"):  # of a killed process
                        leftover.unlink(missing_ok=True)
                if not (self.path / ".reserve").exists():
                    _make_reserve(self.path)
            yield environment

    def check_files(self) -> None:
        """Refuse a folder in which a run would write through a link, or into a FIFO or a device.

        Raises:
            ValueError: it is such a folder; the message names the file.
        """
        try:
            files.check(self.checkpoints, form=stat.S_IFDIR)
            for names, folder in (
                ((*IN_PLACE, *REPLACED), self.path),
                (CHECKPOINTS, self.checkpoints),
            ):
                for entry in os.listdir(folder) if folder.exists() else ():
                    if any(fnmatch(entry, name) for name in names):
                        in_place = any(fnmatch(entry, name) for name in IN_PLACE)
                        files.check(folder / entry, sole=in_place)
        except ValueError as error:
            raise ValueError(
                f"run {one_line(self.name)} is left as it is: {error}, and a run writes there. "
                "Delete it where the run is your own; one from somebody else should not be run"
            ) from None


def find(name: str, *, root: str | Path | None = None) -> RunFolder:
    """A run by its folder's path or name, or by the start of its name where that is unique.

    No other run's files are read.

    Raises:
        ValueError: no such run, or several; the message lists the closest.
    """
    root = Path(root) if root else runs_root()
    if has_record(Path(name)):
        return RunFolder(name)
    if os.path.basename(name) == name and has_record(root / name):
        return RunFolder(root / name)
    names = run_names(root)
    matches = [other for other in names if name and other.startswith(name)]
    exact = [other for other in matches if re.fullmatch(STAMP, other[len(name) :])]
    if len(matches) == 1 or len(exact) == 1:
        return RunFolder(root / (exact or matches)[0])
    if matches:
        raise ValueError(f"{name!r} fits several runs: {', '.join(map(one_line, matches))}")
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[-3:]
    raise ValueError(
        f"there is no run {name!r} in {root}; "
        + (
            f"the closest: {', '.join(map(one_line, close))}"
            if close
            else "there are no runs there yet"
        )
    )


def named(name: str, *, root: str | Path | None = None) -> list[RunFolder]:
    """The runs that `RunFolder.create` made by a name, the oldest first; damaged ones, too."""
    name, root = _allowed(name), Path(root) if root else runs_root()
    found = [other for other in run_names(root) if other.startswith(name)]
    return [RunFolder(root / one) for one in found if re.fullmatch(STAMP, one[len(name) :])]


def _allowed(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip("._-") or "run"


def all_runs(*, root: str | Path | None = None) -> list[RunFolder]:
    """Every run folder below ``root``, the oldest first; damaged ones, too."""
    found = run_folders(Path(root) if root else runs_root())
    return sorted(found, key=lambda folder: (folder.created(), folder.name))


def run_folders(root: Path) -> Iterator[RunFolder]:
    """Every run folder below ``root``, by name; no file is read."""
    for name in run_names(root):
        with contextlib.suppress(ValueError):  # it has gone since
            yield RunFolder(root / name)


def run_names(root: Path) -> list[str]:
    """The names of the run folders below ``root``, sorted; no file is read."""
    try:
        return sorted(name for name in os.listdir(root) if has_record(root / name))
    except FileNotFoundError:
        return []


def has_record(folder: Path) -> bool:
    """Whether there is a ``run.json``, of whatever kind; a folder that is closed may have one."""
    try:
        os.lstat(folder / "run.json")
    except OSError as error:
        return error.errno in (errno.EACCES, errno.ELOOP, errno.EIO, errno.ESTALE)
    return True


def sha256(text: str) -> str:
    """The sha256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def _make_reserve(folder: Path) -> None:
    with open(folder / ".reserve", "xb") as file:
        file.write(bytes(RESERVE_BYTES))
