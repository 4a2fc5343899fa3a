"""The user's own code that a run executes: a copy in the run's folder, and whose it is.

    code/3f2a9c…/my_net.py    what `segkit.outside` read, by the sha256 of all of it

A training goes on with the files where they are; what only looks at a run (prediction, report,
comparison) executes the run's own copy.

A run may come from somebody else, so neither is executed unless its user trusts it. That is so once
he has trained with this very code, by this name, on this machine, or has said so (``--trust``);
both are written down in a file of his, as Jupyter does for the notebooks that he made.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from stat import S_IFDIR
from typing import Any

from segbook.runs import files
from segbook.runs.folder import RunFolder
from segbook.schema import OUTSIDE
from segbook.text import one_line
from segkit import outside

FOLDER = "code"
_trusted: set[str] = set()
"""Of this process, as its file has it: a machine may have no home that can be written."""


def named(fields: Mapping[str, Any]) -> dict[str, str]:
    """The names of outside code among a recipe's fields, by field."""
    return {key: fields[key] for key in OUTSIDE if outside.is_outside(fields.get(key))}


def keep(folder: RunFolder, names: Mapping[str, str]) -> list[str]:
    """Copy the code with which a run goes on into its folder; its user trusts it from here on.

    Args:
        folder: of the run.
        names: of outside code, by the field of the recipe; "recipe" for its own file.

    Returns:
        Lines for the log about what has changed since the run began.

    Raises:
        ValueError: a file is missing.
    """
    described = folder.read()
    before, step = described.get("code") or {}, described.get("step") or 0
    now, lines, past = dict(before), [], list(described.get("code_before") or [])
    for field, name in names.items():
        code, old = outside.read(name), before.get(field)
        now[field] = {
            "name": outside.short(name),
            "main": code.main,
            "sha256": code.sha256,
            "files": {file: outside.sha256(content) for file, content in code.files.items()},
        }
        if code.root != (place := _place(folder, code.sha256)):
            _copy(code, folder, place)
        elif old:
            lines.append(f"{outside.short(name)} is gone: the run goes on with its own copy")
        if old and old != now[field]:
            past.append({"field": field, "until": step, **old})
    lines += changed(folder, names)
    if now != before:
        folder.update(code=now, **({"code_before": past} if past else {}))
    _remember(_mark(name, now[field]["sha256"]) for field, name in names.items())
    return lines


def changed(folder: RunFolder, names: Mapping[str, str]) -> list[str]:
    """What has changed of the code with which a run has been trained, a line for each file.

    Args:
        folder: of the run.
        names: as for `keep`.
    """
    described = folder.read()
    lines = []
    for field, name in names.items():
        old, now = (described.get("code") or {}).get(field), outside.read(name).sha256
        if old and old["sha256"] != now:
            lines.append(
                f"the code of {outside.short(name)} has changed since step "
                f"{described.get('step') or 0}: its sha256 is {now[:12]} and was "
                f"{old['sha256'][:12]}, of which {FOLDER}/ has a copy"
            )
    return lines


def own(folder: RunFolder, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A run's recipe with the run's own copies in the place of outside code.

    Args:
        folder: of the run.
        fields: of its recipe, or some of them.

    Raises:
        ValueError: the code is not trusted, there is no copy, or it has been changed.
    """
    names = named(fields)
    return {**fields, **_copies(folder, names)} if names else dict(fields)


def available(folder: RunFolder, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A run's recipe as it goes on: with the run's own copies of files that are gone.

    Raises:
        ValueError: as `own`.
    """
    names = named(fields)
    check_trust(folder, names)
    gone = {}
    for field, name in names.items():
        try:
            outside.path_of(name)
        except ValueError:
            gone[field] = name
    return {**fields, **_copies(folder, gone)}


def check_trust(folder: RunFolder, names: Mapping[str, str]) -> None:
    """Refuse a run whose code its user has neither trained with nor said to trust.

    Raises:
        ValueError: it is refused.
    """
    record = folder.read().get("code") or {}
    for field, name in names.items():
        entry = record.get(field)
        if entry is None:
            raise ValueError(
                f"run {one_line(folder.name)} names code outside of segkit, "
                f"{one_line(outside.short(name))}, and holds no copy of it: train it again"
            )
        if not _is_trusted(_mark(name, entry["sha256"])):
            raise ValueError(
                f"run {one_line(folder.name)} would execute {one_line(outside.short(name))}, with "
                "which you have not trained on this machine, and which can do whatever you can: "
                f"read {one_line(folder.path / FOLDER)}, then say --trust once (in Python "
                "segbook.runs.code.trust(folder))"
            )


def trust(folder: RunFolder) -> None:
    """Trust the code of a run, now and later, as one's own."""
    described = folder.read()
    record = described.get("code") or {}
    names = named(described.get("recipe") or {})
    _remember(_mark(name, record[key]["sha256"]) for key, name in names.items() if key in record)


def shown(folder: RunFolder, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A run's recipe to be read and compared: outside code by its file, function and sha256."""
    record = folder.read().get("code") or {}
    names = named(fields)
    said = {key: f"{outside.short(name)} {record[key]['sha256'][:7]}" for key, name in names.items()
            if key in record}  # fmt: skip
    return {**fields, **said}


def _copies(folder: RunFolder, names: Mapping[str, str]) -> dict[str, str]:
    check_trust(folder, names)
    record, copies = folder.read().get("code") or {}, {}
    for field, name in names.items():
        entry = record[field]
        if outside.is_installed(name):
            with contextlib.suppress(ValueError):
                if outside.read(name).sha256 == entry["sha256"]:
                    copies[field] = name
                    continue
        place = _place(folder, entry["sha256"])
        _check_tree(folder, place, entry)
        path = place / entry["main"]
        code = outside.read(str(path))
        if (code.sha256, code.main) != (entry["sha256"], entry["main"]):
            raise ValueError(
                f"{one_line(path)} is not the code with which run {one_line(folder.name)} was "
                "trained: its sha256 is another than run.json has; put it back"
            )
        copies[field] = f"{path}:{name.rpartition(':')[2]}"
    return copies


def _check_tree(folder: RunFolder, place: Path, entry: Mapping[str, Any]) -> None:
    """Refuse a copy that holds anything but the files that run.json names.

    Raises:
        ValueError: it does, or has not all of them.
    """
    for each in (folder.path / FOLDER, place):
        files.check(each, form=S_IFDIR)
    there = set()
    for inside, folders, names in os.walk(place):
        for name in folders:
            files.check(Path(inside, name), form=S_IFDIR)
        for name in names:
            files.check(Path(inside, name))
            there.add(Path(inside, name).relative_to(place).as_posix())
    if wrong := sorted(there ^ entry["files"].keys() | {entry["main"]} - entry["files"].keys()):
        raise ValueError(
            f"{one_line(place)} is not what run.json of run {one_line(folder.name)} names: "
            f"{one_line(', '.join(wrong)):.200} is there too, or missing; put the copy back"
        )


def _place(folder: RunFolder, digest: str) -> Path:
    return folder.path / FOLDER / digest[:16]


def _copy(code: outside.Code, folder: RunFolder, place: Path) -> None:
    files.check(folder.path / FOLDER, form=S_IFDIR)
    files.check(place, form=S_IFDIR)
    for name, content in code.files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, lambda file, content=content: file.write(content))


def _mark(name: str, digest: str) -> str:
    return outside.sha256(f"{name}\n{digest}".encode())


def _ledger() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state, "segbook", "trusted_code").expanduser()


def _is_trusted(mark: str) -> bool:
    with (
        contextlib.suppress(OSError, ValueError),  # it is no regular file
        open(_ledger(), encoding="utf-8", errors="replace", opener=files.regular) as file,
    ):
        _trusted.update(file.read(files.LARGEST).split())
    return mark in _trusted


def _remember(marks: Any) -> None:
    new = [mark for mark in marks if not _is_trusted(mark)]
    _trusted.update(new)
    if new:
        with contextlib.suppress(OSError, ValueError):  # then --trust is needed once more
            _ledger().parent.mkdir(parents=True, exist_ok=True)
            with open(_ledger(), "a", encoding="utf-8", opener=files.regular) as file:
                file.writelines(f"\n{mark}" for mark in new)  # behind a line that was cut off
                file.write("\n")
