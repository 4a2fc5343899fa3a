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
from segbook.runs.folder import FAILED, RunFolder
from segbook.runs.provenance import environment
from segbook.runs.stopping import REASONS, RunStopped, Stopper
from segbook.training import identity
from segbook.training.loop import fit
from segbook.training.processes import (
    check_processes,
    has_terminal,
    started_by_hand,
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


def going_on(folder: RunFolder, changes: Mapping[str, str]) -> recipes.Recipe:
    """The recipe with which a run goes on that is resumed with some fields changed.

    Args:
        folder: made by `create`.
        changes: value by field, as typed.

    Raises:
        ValueError: a field that would make it another training, or a recipe that cannot be built.
    """
    described = folder.read()
    recipe = identity.going_on(code.available(folder, described.get("recipe") or {}), changes)
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
    processes = described.get("processes") or 1
    by_hand = started_by_hand()
    request = _Request()
    stopper = Stopper(
        request if processes == 1 and not by_hand else _interrupt,
        _interrupt,
        limit=described.get("time_limit"),
    )
    with stopper.watch(), attempt(folder, stopper) as outcome:
        if processes > 1 and not by_hand:
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
                        show=_shown(show),
                        progress=has_terminal(),
                        stop=request.due,
                    )
            except KeyboardInterrupt:
                if not by_hand or stopper.reason != REASONS[signal.SIGTERM]:
                    raise
                raise RunStopped(
                    f"{stopper.reason}; torchrun sends it, too, where another process ended: "
                    "see what it said"
                ) from None
    return folder.read()


class _Request:
    """A polite request to stop: between two steps once there are steps, at once before."""

    stepping = made = False

    def __call__(self) -> None:
        if not self.stepping:
            raise KeyboardInterrupt
        self.made = True

    def due(self) -> bool:
        """Whether to stop now; asked after each step."""
        self.stepping = True
        return self.made


def _shown(show: Callable[[str], None]) -> Callable[[str], None]:
    """A training outlives its reader, as in ``segbook train ... | head``."""

    def without_reader(line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            show(line)

    return without_reader


def _interrupt() -> None:
    raise KeyboardInterrupt
