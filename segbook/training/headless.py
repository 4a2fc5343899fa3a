"""Training a recipe without a notebook, in a run folder of its own; needs no Jupyter."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from segbook import recipes
from segbook.runs.folder import FAILED, FINISHED, RUNNING, STOPPED, RunFolder
from segbook.runs.provenance import environment
from segbook.runs.stopping import REASONS, Stopper
from segbook.training.processes import check_processes, describe, started_by_hand, train_in


def create(
    recipe_name: str,
    changes: Mapping[str, str],
    *,
    name: str | None = None,
    time_limit: float | None = None,
    processes: int = 1,
) -> RunFolder:
    """Make the run folder of a training; nothing is trained.

    Args:
        recipe_name: a name of `segbook.recipes.names`.
        changes: value by field, as typed.
        name: the run's name; default the recipe's.
        time_limit: seconds for each attempt; None for no limit.
        processes: how many processes of this machine train it together; a resume takes as many.

    Raises:
        ValueError: no such recipe or field, a value of another type, or a recipe that cannot be
            built: an unknown model, missing data, weights of another network; or a number of
            processes that cannot share its batches.
    """
    recipe = recipes.override(recipes.get(recipe_name), changes)
    from segbook.builders.build import check

    check(recipe)
    check_processes(recipe, processes)
    return RunFolder.create(
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


def execute(folder: RunFolder, *, show: Callable[[str], None] = print) -> dict[str, Any]:
    """Train to the end, from the folder's newest checkpoint where there is one.

    Args:
        folder: made by `create`.
        show: is told what happens, a line at a time.

    Returns:
        ``run.json`` at the end; "status" is "finished", "failed" or "stopped".

    Raises:
        RunBusyError: another process trains it.
        ValueError: the recipe in ``run.json`` is damaged.
    """
    with folder.own():
        described = folder.read()
        recipe = recipes.Recipe.from_dict(described.get("recipe") or {})
        processes = described.get("processes") or 1
        asked = _Asked() if processes == 1 and not started_by_hand() else None
        stopper = Stopper(asked or _interrupt, _interrupt, limit=described.get("time_limit"))
        began = time.monotonic()
        with stopper.watch():
            try:
                folder.update(
                    status=RUNNING,
                    attempts=(described.get("attempts") or 0) + 1,
                    reason=None,
                    error=None,
                    result=None,
                )
                outcome = _train(recipe, folder, processes, show, asked, stopper)
            except KeyboardInterrupt:
                outcome = {"status": STOPPED, "reason": _reason(stopper)}
            except Exception as error:
                outcome = {"status": FAILED, "error": describe(error)}
                with contextlib.suppress(OSError):  # a full disk is being reported already
                    folder.log(traceback.format_exc())
            stopper.interrupt = stopper.kill = _nothing  # it has ended: only that is to be told
            seconds = (described.get("seconds_total") or 0.0) + time.monotonic() - began
            folder.update(**outcome, seconds_total=round(seconds, 1))
        return folder.read()


def _reason(stopper: Stopper) -> str:
    reason = stopper.reason or "stopped by Ctrl-C"
    if started_by_hand() and reason == REASONS[signal.SIGTERM]:
        reason += "; torchrun sends it, too, where another process ended: see what it said"
    return reason


def _train(
    recipe: recipes.Recipe,
    folder: RunFolder,
    processes: int,
    show: Callable[[str], None],
    asked: _Asked | None,
    stopper: Stopper,
) -> dict[str, Any]:
    """Train, here or in processes of their own; the fields of ``run.json`` about the end."""
    if processes == 1 or started_by_hand():
        from segbook.training.unattended import train_run
        from segkit.engine import distributed

        options: dict[str, Any] = {"stop": asked.stop} if asked else {}
        with distributed.losses_explained():
            result = train_run(recipe, folder, show=show, progress=sys.stderr.isatty(), **options)
        return {"status": FINISHED, "result": result}
    if error := train_in(processes, folder, stopper):
        return {"status": FAILED, "error": error}
    return {"status": FINISHED, "result": folder.read().get("result")}


class _Asked:
    """A polite request: between two steps once there are steps, at once before."""

    stepping = asked = False

    def __call__(self) -> None:
        if not self.stepping:
            raise KeyboardInterrupt
        self.asked = True

    def stop(self) -> bool:
        """Whether to stop now; asked after each step."""
        self.stepping = True
        return self.asked


def _interrupt() -> None:
    raise KeyboardInterrupt


def _nothing() -> None:
    pass
