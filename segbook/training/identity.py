"""Which training a run folder holds, and which of a notebook's folders a training is in.

A training is known by its recipe, a folder by the recipe in its ``run.json``. `segbook run` makes
one folder for a notebook, and a notebook may train any number of times: its first training is in
that folder, each other one in a folder of its own, whose field ``parent`` names the notebook's.

A notebook that is resumed is executed from its first cell, and each of its trainings finds the
folder of its own recipe, whatever the order; the n-th training of one recipe the n-th of these.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from segbook.recipes.file import absolute
from segbook.recipes.recipe import Recipe, override
from segbook.runs import lock
from segbook.runs.folder import RunBusyError, RunFolder
from segbook.schema import OUTSIDE
from segkit import outside
from segkit.data import catalog as data_catalog

HOW = (
    "note", "paper_miou", "save_every", "eval_batch_size", "workers", "worker_timeout",
    "bad_samples", "doctor", "compile", "watch",
)  # fmt: skip
"""Fields of a recipe about how it is run: another machine may choose others for one training."""
FREE = ("name", "data_root", "steps", "evaluate_every", *HOW)
"""Fields with which a training may go on that are not those it began with. A loop over one of the
first four is several trainings all the same."""

_taken: set[Path] = set()
"""Folders in which this process has begun a training."""
_open: WeakValueDictionary[Path, Generator[Any, None, None]] = WeakValueDictionary()
"""The newest loop over each folder."""


def differences(before: Mapping[str, Any], now: Recipe) -> dict[str, tuple[Any, Any]]:
    """By name the fields in which two recipes differ, as (before, now).

    Args:
        before: as `Recipe.to_dict` described it, perhaps by an older release.
        now: with whole paths.

    Raises:
        ValueError: ``before`` is no recipe.
    """
    old = absolute(Recipe.from_dict(before))
    pairs = {f.name: (getattr(old, f.name), getattr(now, f.name)) for f in dataclasses.fields(now)}
    # Code of the user's own may have moved; what has changed of it `segbook.runs.code` says.
    same = {name for name in OUTSIDE if len(set(map(outside.short, pairs[name]))) == 1}
    return {name: (a, b) for name, (a, b) in pairs.items() if a != b and name not in same}


def format_differences(differ: Mapping[str, tuple[Any, Any]]) -> str:
    """``lr 0.1 (now 0.01), ema 0.9 (now None)``."""
    return ", ".join(f"{name} {a!r} (now {b!r})" for name, (a, b) in differ.items())


def going_on(before: Mapping[str, Any], changes: Mapping[str, str]) -> Recipe:
    """The recipe of a run that goes on with some fields changed.

    Args:
        before: the run's recipe, as ``run.json`` keeps it.
        changes: value by field, as typed.

    Raises:
        ValueError: a field that would make it another training, that there is not, or a value of
            another type.
    """
    recipe = override(Recipe.from_dict(before), changes)
    if fixed := [name for name in changes if name not in FREE]:
        raise ValueError(
            f"a training cannot go on with another {' and '.join(fixed)}: that is another "
            f"training, for `segbook train`. It can with another {', '.join(FREE)}"
        )
    if "data_root" in changes and not data_catalog.find(recipe.data).needs_root:
        raise ValueError(f"data={recipe.data!r} are drawn, not read: they have no data_root")
    return recipe


def folder_of(
    folder: RunFolder, recipe: Recipe, begun_in: Path | None = None, *, read: bool = False
) -> RunFolder | None:
    """Where a recipe is trained that is given this folder; nothing is settled yet.

    Args:
        folder: as `RunFolder.for_notebook` gives it, or any other one, which is itself the answer.
        recipe: with whole paths.
        begun_in: where this very training has begun already.
        read: whether nothing will be trained, and what this process has trained is asked for too.

    Returns:
        The folder; None where a notebook has none for this recipe yet.

    Raises:
        ValueError: the training has begun in another folder; or the notebook's ``run.json`` is
            damaged, or holds no recipe of this release.
    """
    if folder.pending is None:
        if begun_in not in (None, folder.path):
            raise ValueError(
                f"this is the training in {begun_in}, and the folder is {folder.path}: build it "
                "again for that folder, state = training.build(recipe, folder)"
            )
        return folder
    if begun_in:
        return RunFolder(begun_in)
    matching = []
    for run in (folder, *folder.children()):
        described = run.read()
        held = described.get("recipe")
        if described.get("scored") is not None:  # of no training here
            continue
        if not read and (run.path in _taken or _is_others(run)):
            continue
        if held is None:  # no training has begun in it
            matching.append((len(FREE), run))
        elif (differ := differences(held, recipe)).keys() <= {*HOW}:
            matching.append((len(differ), run))
    return min(matching, key=lambda one: one[0], default=(0, None))[1]


def _is_others(run: RunFolder) -> bool:
    """Whether another process trains in a notebook's folder, or may.

    The notebook's own folder is its kernel's: the processes that a cell starts share the right to
    write it, and would not see each other.
    """
    if lock.is_ours(run.path):
        return lock.owner_of(run.path).get("pid") != os.getppid()
    return run.is_locked()


def settle(folder: RunFolder, recipe: Recipe, begun_in: Path | None = None) -> None:
    """Settle where a recipe is trained: from here on, ``folder`` is that folder.

    Args:
        folder: as for `folder_of`.
        recipe: with whole paths.
        begun_in: where this very training has begun already.

    Raises:
        ValueError: as `folder_of`; or no folder can be made.
        OSError: the disk is full.
    """
    run = folder_of(folder, recipe, begun_in) or RunFolder.create(
        folder.pending or "",
        root=folder.path.parent,
        kind="notebook",
        parent=folder.name,
        recipe=recipe.to_dict(),
        steps=recipe.steps,
    )
    folder.path, folder.pending = run.path, None
    _taken.add(run.path)


def only_loop(folder: RunFolder, steps: Generator[Any, None, None]) -> Generator[Any, None, None]:
    """Make this the one loop over a folder in this process.

    A cell that was interrupted leaves its loop standing between two steps, with the folder in its
    hands. That one is closed first, as ``break`` would have: it saves its last step.

    Raises:
        RunBusyError: another thread is in that loop's step.
    """
    if before := _open.get(folder.path):
        if inspect.getgeneratorstate(before) == inspect.GEN_RUNNING:
            raise RunBusyError(
                f"run {folder.name} is being trained by another loop of this process; wait for it"
            )
        before.close()
    _open[folder.path] = steps
    return steps
