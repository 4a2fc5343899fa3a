"""Run folders for the reader: the rows of ``segbook list`` and the page of ``segbook show``."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from segbook.runs.files import regular
from segbook.runs.folder import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    SOURCE,
    STOPPED,
    DamagedRunError,
    RunFolder,
    run_folders,
    runs_root,
    sha256,
)
from segbook.runs.record import metrics_of
from segbook.runs.stopping import format_duration
from segbook.text import one_line, shell

TAIL_BYTES = 65536
"""How much of ``metrics.jsonl`` is read to know where a run stands."""
MOST_FILES = 200


class Row(NamedTuple):
    """One run in the list; what is not known is None.

    Attributes:
        name: of the run folder.
        kind: "notebook" or "train".
        status: "running", "finished", "failed", "stopped", "interrupted", or "damaged".
        step: optimizer steps done.
        steps: optimizer steps planned.
        miou: in 0..1: the result's, or the newest evaluation's.
        policy: the mIoU policy.
        created: ISO 8601.
        damage: what is wrong with a damaged one.
        parent: the notebook's run in which this training is a further one.
    """

    name: str
    kind: str | None = None
    status: str = "damaged"
    step: int | None = None
    steps: int | None = None
    miou: float | None = None
    policy: str | None = None
    created: str | None = None
    damage: str | None = None
    parent: str | None = None


def rows(root: Path | None = None) -> list[Row]:
    """All runs, the oldest first, and below a notebook's its further trainings.

    A damaged one is a row that says why.
    """
    found = map(row, run_folders(root or runs_root()))
    found = sorted(found, key=lambda row: (row.created or "", row.name))
    parents = {one.name for one in found if one.parent is None}
    place = {one.name: index for index, one in enumerate(found)}

    def key(one: Row) -> tuple[int, bool]:
        below = one.parent in parents
        return place[one.parent if below and one.parent else one.name], below

    return sorted(found, key=key)


def row(folder: RunFolder) -> Row:
    """One run."""
    try:
        return _row(folder)
    except DamagedRunError as error:
        return Row(folder.name, damage=error.why)


def _row(folder: RunFolder) -> Row:
    described = folder.read()
    if not (status := described.get("status")):
        raise DamagedRunError(folder.path, ValueError("run.json has no status"))
    newest = newest_metrics(folder)
    recipe = described.get("recipe") or {}
    result = described.get("result") or {}
    return Row(
        name=folder.name,
        kind=described.get("kind"),
        status=status,
        step=max(newest.get("step") or 0, described.get("step") or 0) or None,
        steps=described.get("steps") or recipe.get("steps"),
        miou=result.get("miou", newest.get("val_miou")),
        policy=result.get("policy", newest.get("policy")),
        created=described.get("created"),
        parent=described.get("parent"),
    )


def newest_metrics(folder: RunFolder) -> dict[str, Any]:
    """The newest of the keys that a row shows, from the last part of ``metrics.jsonl``.

    Nothing where that is damaged as a whole: `RunFolder.metrics` says how.
    """
    try:
        with open(folder.path / "metrics.jsonl", "rb", opener=regular) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).decode(errors="replace").split("\n")
    except (OSError, ValueError):
        return {}
    newest: dict[str, Any] = {}
    for line in reversed(lines):
        if newest and '"val_miou"' not in line:  # nothing more that is shown
            continue
        newest = (metrics_of(line) or {}) | newest  # None: cut short at either end
        if {"step", "val_miou", "policy"} <= newest.keys():
            break
    return newest


def table(found: list[Row]) -> str:
    """The rows as aligned text."""
    if not found:
        return "no runs yet; start one with `segbook run NOTEBOOK` or `segbook train RECIPE`"
    names = {run.name for run in found if run.parent is None}
    lines = [["RUN", "KIND", "STATUS", "STEP", "mIoU", "STARTED", ""]]
    for run in found:
        steps = f"{'?' if run.step is None else run.step}/{run.steps}" if run.steps else "-"
        miou = "-" if run.miou is None else f"{100 * run.miou:.1f}"
        started = (run.created or "-")[:16].replace("T", " ")
        name = f"└ {run.name}" if run.parent in names else run.name
        cells = (name, run.kind or "-", run.status, steps, miou, started, run.damage or "")
        lines.append([*map(one_line, cells)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def page(folder: RunFolder) -> str:
    """Everything worth reading about one run.

    Raises:
        ValueError: ``run.json`` is damaged.
    """
    described, now = folder.read(), row(folder)
    head = {
        "run": str(folder.path),
        "status": now.status + (f" ({described['reason']})" if described.get("reason") else ""),
        "kind": now.kind,
        "parent": now.parent and one_line(now.parent),
        "trainings": ", ".join(one_line(one.name) for one in folder.children()),
        "notebook": described.get("notebook"),
        "recipe": described.get("recipe_name") or (described.get("recipe") or {}).get("name"),
        "created": now.created,
        "step": f"{now.step or 0} of {now.steps}" if now.steps else None,
        "time": _format_seconds(described.get("seconds_total") or described.get("seconds")),
        "result": format_result(described.get("result")),
        "error": format_run_error(described.get("error")),
        "warnings": "; ".join(described.get("warnings") or []),
        "data": ", ".join(f"{k} {v[:12]}" for k, v in _mapping(described, "data_manifest")),
        "code": ", ".join(
            f"{one['name']} {one['sha256'][:12]}" for one in (described.get("code") or {}).values()
        ),
        "source": _format_source(described),
        "versions": ", ".join(f"{k} {v}" for k, v in _mapping(described, "versions")),
        "owner": (owner := folder.other_owner()) and f"{owner}, who is not you",
        "how to resume": "not needed" if now.status == FINISHED else advice(folder, described),
        "resume runs": None if now.status == FINISHED else program(folder),
    }
    lines = [f"{key:<14}{one_line(value)}" for key, value in head.items() if value]
    for title in ("parameters", "recipe"):
        lines += _section(title, described.get(title))
    lines += _classes(described.get("result") or {})
    return "\n".join([*lines, "", "files", *_files(folder)])


def _format_seconds(seconds: float | None) -> str | None:
    return None if seconds is None else format_duration(seconds)


def format_result(result: dict[str, Any] | None) -> str | None:
    """``mIoU 52.3 (dataset, val); test 48.1``, or None where there is no mIoU."""
    if not result or result.get("miou") is None:
        return None
    text = f"mIoU {100 * result['miou']:.1f} ({result.get('policy')}, {result.get('split')})"
    test = result.get("test")
    if isinstance(test, dict) and test.get("miou") is not None:
        text += f"; test {100 * test['miou']:.1f}"
    return one_line(text)


def format_run_error(error: dict[str, Any] | str | None) -> str | None:
    """One line: what went wrong, and in which cell."""
    if not isinstance(error, dict):
        return error
    where = ""
    if error.get("cell"):
        where = f" in cell {error['cell']} (In [{error.get('execution_count')}])"
    return f"{error.get('name')}{where}: {error.get('message')}"


def _mapping(described: dict[str, Any], key: str) -> list[tuple[str, str]]:
    return [(k, str(v)) for k, v in (described.get(key) or {}).items()]


def _format_source(described: dict[str, Any]) -> str | None:
    commit = described.get("git_commit")
    changed = " with changes that are not committed" if described.get("git_dirty") else ""
    return f"commit {commit[:12]}{changed}" if commit else None


def ending(folder: RunFolder, described: dict[str, Any]) -> list[str]:
    """Lines about how an attempt ended."""
    lines = [
        f"{described['status']} after {format_duration(described.get('seconds_total') or 0.0)}"
    ]
    if described.get("reason"):
        lines[0] += f": {one_line(described['reason'])}"
    error = described.get("error")
    if isinstance(error, dict) and error.get("traceback"):
        lines += ["", *error["traceback"], ""]
    return [
        *lines,
        *filter(None, (format_run_error(error), format_result(described.get("result")))),
    ]


def advice(folder: RunFolder, described: dict[str, Any]) -> str | None:
    """How to go on with a run that has not finished, where that can help."""
    status, error, step = (described.get(key) for key in ("status", "error", "step"))
    refused = isinstance(error, dict) and error.get("name") == "SettingsRefusedError"
    if status not in (FAILED, STOPPED, INTERRUPTED) or refused:
        return None
    if parent := _unfinished_parent(folder, described):
        return f"{shell('segbook', 'resume', parent)}   (the notebook in which it is trained)"
    if not can_resume(folder, described):
        loop = "own_loop" if described.get("own_loop") else "train"
        return (
            f"in Python, where it was started: training.{loop}(training.build(recipe, folder), "
            f"folder) with folder = RunFolder({str(folder.path)!r})"
        )
    where = "(from the start: there is no checkpoint yet)"
    if step:
        where = f"(from step {step} of {described.get('steps')})"
    words, cause = [], "   once the cause is mended" if status == FAILED else ""
    root = (described.get("recipe") or {}).get("data_root")
    if is_training(folder, described) and root and not os.path.isdir(root):
        words = ["--set", "data_root=FOLDER"]
        cause = f"   where FOLDER is that of the data now; they were in {one_line(root)}"
    return f"{shell('segbook', 'resume', folder.argument, *words)}   {where}{cause}"


def can_resume(folder: RunFolder, described: dict[str, Any]) -> bool:
    """Whether ``segbook resume`` can go on with a run: it holds all that is executed."""
    executes = described.get("kind") == "notebook" and (folder.path / SOURCE).is_file()
    return executes or is_training(folder, described)


def is_training(folder: RunFolder, described: dict[str, Any]) -> bool:
    """Whether a run is its recipe alone, by whatever it was begun: Jupyter, papermill, a script."""
    if described.get("kind") == "train":
        return True
    others = described.get("own_loop") or _unfinished_parent(folder, described)
    return bool(described.get("recipe")) and not others and not (folder.path / SOURCE).exists()


def program(folder: RunFolder) -> str | None:
    """What a resume of a notebook run executes; None for another run."""
    if not (folder.path / SOURCE).exists():
        return None
    try:
        return f"{SOURCE} in the run's folder, sha256 {sha256(folder.source())}"
    except ValueError as error:
        return f"nothing: {error}"


def _unfinished_parent(folder: RunFolder, described: dict[str, Any]) -> str | None:
    """The notebook's run that a training belongs to, where that can be resumed."""
    name = Path(described.get("parent") or "").name
    with contextlib.suppress(ValueError, OSError):
        if name and RunFolder(folder.path.parent / name).read().get("status") != FINISHED:
            return name
    return None


def _section(title: str, values: Any) -> list[str]:
    if not isinstance(values, dict) or not values:
        return []
    shown = {one_line(key): one_line(value) for key, value in values.items()}
    width = max(map(len, shown)) + 2
    return ["", title, *(f"  {key:<{width}}{value}" for key, value in shown.items())]


def _classes(result: dict[str, Any]) -> list[str]:
    """IoU by class: of validation, and of the test where it was made."""
    classes, val = [one_line(name) for name in result.get("classes") or []], result.get("iou")
    if not classes or not val:
        return []
    test = (result.get("test") or {}).get("iou") or []
    width = max(map(len, classes)) + 2
    lines = ["", f"IoU by class{'':<{max(0, width - 10)}}   val" + ("   test" if test else "")]
    for index, name in enumerate(classes):
        figures = [column[index] for column in (val, test) if index < len(column)]
        cells = ["     -" if f is None else f"{100 * f:6.1f}" for f in figures]
        lines.append(f"  {name:<{width}}{' '.join(cells)}")
    return lines


def _files(folder: RunFolder) -> list[str]:
    lines = []
    for path in sorted(_visible(folder.path)):
        try:
            status = path.lstat()
            when = format(datetime.datetime.fromtimestamp(status.st_mtime), "%F %H:%M")
        except OSError:  # it has gone since
            continue
        except (ValueError, OverflowError):  # a time that no calendar has
            when = "?"
        relative = one_line(path.relative_to(folder.path))
        lines.append(f"  {relative:<32}{format_bytes(status.st_size):>10}  {when}")
        if len(lines) == MOST_FILES:
            return [*lines, "  and more"]
    return lines


def _visible(folder: Path) -> Iterator[Path]:
    """What a folder holds and does not hide: files of any kind, and links, which lead nowhere."""
    for where, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(where, name))]
        yield from (Path(where, name) for name in (*names, *links) if not name.startswith("."))
        folders[:] = [name for name in folders if not name.startswith(".")]


def format_bytes(count: float) -> str:
    """A number of bytes for a reader: ``812 B``, ``14 kB``, ``130 MB``, ``1.9 GB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
