"""Training a recipe without a notebook, in a run folder of its own; needs no Jupyter."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping
from typing import Any

from segbook import recipes
from segbook.builders.check import check
from segbook.preflight.gate import has_begun
from segbook.recipes.file import absolute
from segbook.runs import code
from segbook.runs.attempt import attempt
from segbook.runs.folder import FAILED, RunFolder, named
from segbook.runs.provenance import environment
from segbook.runs.stopping import REASONS, RunStopped, Stopper
from segbook.text import one_line
from segbook.training import identity
from segbook.training.loop import fit
from segbook.training.processes import (
    check_processes,
    has_terminal,
    train_in,
)
from segbook.training.state import TrainingState
from segkit import outside
from segkit.engine import distributed


def create(
    recipe_name: str,
    changes: Mapping[str, str],
    *,
    name: str | None = None,
    time_limit: float | None = None,
    processes: int = 1,
    state: TrainingState | None = None,
) -> RunFolder:
    """Make the run folder of a training; nothing is trained.

    Args:
        recipe_name: a name of `segbook.recipes.names`, or a file of the user's own.
        changes: value by field, as typed.
        name: the run's name; default the recipe's.
        time_limit: seconds for each attempt; None for no limit.
        processes: how many processes of this machine train it together; a resume takes as many.
        state: the recipe as it was built already; None checks whether it can be.

    Raises:
        ValueError: no such recipe or field, a value of another type, or a recipe that cannot be
            built: an unknown model, missing data, weights of another network; or a number of
            processes that cannot share its batches.
    """
    recipe = recipes.override(recipes.get(recipe_name), changes)
    if state is None:
        check(recipe)
    check_processes(recipe, processes)
    recipe = absolute(recipe)  # a resume may come from another folder
    names = code.named(recipe.to_dict())
    if recipes.is_file(recipe_name):
        names["recipe"], recipe_name = recipe_name, outside.short(recipe_name)
        name = name or recipe.name
    folder = RunFolder.create(
        name or recipe_name,
        kind="train",
        recipe_name=recipe_name,
        overrides=dict(changes),
        recipe=recipe.to_dict(),
        steps=recipe.steps,
        time_limit=time_limit,
        processes=processes,
        **environment(),
    )
    code.keep(folder, names)
    return folder


def begun(name: str, recipe: recipes.Recipe, processes: int) -> RunFolder | None:
    """The run that was begun by a name and goes on with a recipe; None where there is none.

    Args:
        name: as `create` was given it.
        recipe: with which it goes on.
        processes: that will train it.

    Raises:
        ValueError: there are several, it is another training, or the processes cannot share its
            batches.
    """
    found = [folder for folder in named(name) if folder.read().get("kind") == "train"]
    if len(found) > 1:
        names = ", ".join(one_line(folder.name) for folder in found)
        raise ValueError(
            f"--resume goes on with the run of its --name, and there are several: {names}. Give "
            "another --name, or go on with one of them by segbook resume"
        )
    if not found:
        return None
    [folder] = found
    differ = identity.differences(folder.read().get("recipe") or {}, absolute(recipe))
    if another := {key: pair for key, pair in differ.items() if key not in identity.FREE}:
        raise ValueError(
            f"{one_line(folder.name)} is a training with {identity.format_differences(another)}: "
            "give this one another --name"
        )
    check_processes(recipe, processes)
    return folder


def going_on(
    folder: RunFolder, changes: Mapping[str, str], processes: int | None = None
) -> recipes.Recipe:
    """The recipe with which a run goes on that is resumed with some fields changed.

    Args:
        folder: made by `create`.
        changes: value by field, as typed.
        processes: that will train it; None for as many as before.

    Raises:
        ValueError: a field that would make it another training, a recipe that cannot be built, or
            processes that cannot share its batches.
    """
    described = folder.read()
    recipe = identity.going_on(code.available(folder, described.get("recipe") or {}), changes)
    if processes:
        check_processes(recipe, processes)
    return checked(folder, recipe)


def checked(folder: RunFolder, recipe: recipes.Recipe) -> recipes.Recipe:
    """A recipe with whole paths, with which a run can go on.

    Raises:
        ValueError: the run has made more steps already, or the recipe cannot be built.
    """
    described = folder.read()
    if recipe.steps < (made := described.get("step") or 0):
        raise ValueError(
            f"steps={recipe.steps}: {folder.name} has made {made}; give as many or more"
        )
    check(recipe, begun=has_begun(folder))
    return absolute(recipe)


def execute(
    folder: RunFolder,
    *,
    recipe: recipes.Recipe | None = None,
    state: TrainingState | None = None,
    show: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train to the end, from the folder's newest checkpoint where there is one.

    Args:
        folder: made by `create`.
        recipe: with what a resume changes; None for that in ``run.json``.
        state: the recipe as it was built already; None builds it.
        show: is told what happens, a line at a time.

    Returns:
        ``run.json`` at the end; "status" is "finished", "failed" or "stopped".

    Raises:
        RunBusyError: another process trains it.
        ValueError: the recipe in ``run.json`` is damaged, or code of it is not trusted.
    """
    described = folder.read()
    if recipe is None:
        recipe = recipes.Recipe.from_dict(code.available(folder, described.get("recipe") or {}))
    processes, joined = described.get("processes") or 1, distributed.world_size() > 1
    first = distributed.rank() == 0
    request = _Request()
    stopper = Stopper(
        request if processes == 1 or joined else _interrupt,
        _interrupt,
        limit=described.get("time_limit") if first else None,
    )
    with stopper.watch(), attempt(folder, stopper) as outcome:
        if processes > 1 and not joined:
            error = train_in(processes, folder, recipe, stopper)
            outcome |= {"status": FAILED, "error": error} if error else {}
            outcome["result"] = folder.read().get("result")
        else:
            try:
                with distributed.explain_lost_peer():
                    outcome["result"] = fit(
                        recipe,
                        folder,
                        state=state,
                        show=_shown(show) if first else _hide,
                        progress=first and has_terminal(),
                        stop=request.due,
                    )
            except KeyboardInterrupt:
                if joined and request.agreed:  # maybe one of them alone was asked
                    reasons = distributed.all_gather(stopper.reason)
                    raise RunStopped(next(filter(None, reasons))) from None
                if not joined or stopper.reason != REASONS[signal.SIGTERM]:
                    raise
                raise RunStopped(
                    f"{stopper.reason}; a launcher sends it, too, where another process ended: "
                    "see what it said"
                ) from None
    return {**folder.read(), **outcome}  # of several processes only the first has written it


class _Request:
    """A polite request to stop: between two steps once there are steps, at once before."""

    stepping = made = agreed = False

    def __call__(self) -> None:
        if not self.stepping:
            raise KeyboardInterrupt
        self.made = True

    def due(self) -> bool:
        """Whether to stop now; asked after each step, by all processes that train together."""
        self.stepping = True
        self.agreed = distributed.any_of(self.made)
        return self.agreed


def _shown(show: Callable[[str], None]) -> Callable[[str], None]:
    """A training outlives its reader, as in ``segbook train ... | head``."""

    def without_reader(line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            show(line)

    return without_reader


def _hide(line: str) -> None:
    pass


def _interrupt() -> None:
    raise KeyboardInterrupt
