"""What a training writes into its folder about itself, and how it ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch

from segbook.recipes.recipe import Recipe
from segbook.runs import code
from segbook.runs.folder import FAILED, FOLDER_VARIABLE, RUNNING, STOPPED, RunFolder
from segbook.runs.provenance import environment
from segbook.text import one_line
from segbook.training.identity import differences
from segbook.training.state import TrainingState, resume, save
from segkit.engine import distributed

HEADLESS_VARIABLE = "SEGBOOK_HEADLESS"


@contextlib.contextmanager
def recorded(state: TrainingState, folder: RunFolder) -> Iterator[list[str]]:
    """Own the folder, go on from its checkpoint, and write down what is trained and how it ends.

    Nothing is written before the checkpoint is found to be of this training.

    Yields:
        Lines for the log about the checkpoint.

    Raises:
        ValueError: as `segbook.training.state.resume`; the folder is as it was.
    """
    with folder.own() as variables:
        names = code.named(state.recipe.to_dict())
        try:
            lines = resume(state, folder)
        except RuntimeError as error:
            if not (changed := code.changed(folder, names)):
                raise
            raise ValueError(
                f"{'; '.join(changed)}, and the checkpoint does not fit it: put that back, or "
                f"train this in a run of its own ({str(error).splitlines()[-1].strip()})"
            ) from error
        if distributed.rank() == 0:
            lines += code.keep(folder, names)
        # Else the process that started this kernel has described itself.
        described: dict[str, Any] = environment() if variables else {}
        if state.data_before:
            described["data_before"] = state.data_before
        if state.step < state.recipe.steps:
            described["result"] = None  # that of fewer steps
        try:
            folder.update(
                **described,
                **_overrides(folder, state.recipe),
                recipe=state.recipe.to_dict(),
                seed=state.recipe.seed,
                threads=torch.get_num_threads(),
                data_manifest=state.data["manifest"],
                status=RUNNING,
                step=state.step,
                steps=state.recipe.steps,
                error=None,
            )
            yield lines
        except GeneratorExit:  # between two steps, or within one of the user's own
            if state.whole and state.step > state.saved:
                save(state, folder)
            folder.update(status=STOPPED)
            raise
        except BaseException as error:
            # Outside of a step, as in a long validation, the state is whole, too. Of several
            # processes maybe one alone comes here, and saving takes them all.
            if state.whole and state.step > state.saved and distributed.world_size() == 1:
                with contextlib.suppress(OSError):
                    save(state, folder)
            if isinstance(error, KeyboardInterrupt):
                folder.update(status=STOPPED)
                raise
            described = {"name": type(error).__name__, "message": str(error)}
            folder.update(status=FAILED, error=described)
            folder.log(f"{type(error).__name__}: {error}")
            raise


def _overrides(folder: RunFolder, recipe: Recipe) -> dict[str, Any]:
    """What ``--set`` changed of a recipe, with what a resume has changed since."""
    described = folder.read()
    before, overrides = described.get("recipe"), described.get("overrides")
    if not before or overrides is None:
        return {}
    changed = {name: str(now) for name, (_, now) in differences(before, recipe).items()}
    return {"overrides": {**overrides, **changed}}


def log_line(folder: RunFolder, show: Callable[[str], None], line: str) -> None:
    """Show a line, and log it where nobody logs what is shown, as for a notebook's own folder."""
    line = one_line(line)
    show(line)
    if HEADLESS_VARIABLE not in os.environ or os.environ.get(FOLDER_VARIABLE) != str(folder.path):
        folder.log(line)
