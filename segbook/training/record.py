"""What a training writes into its folder about itself, and how it ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch

from segbook.runs.folder import FAILED, RUNNING, STOPPED, RunFolder
from segbook.runs.provenance import environment
from segbook.text import one_line
from segbook.training.state import TrainingState, save
from segkit.engine import distributed

HEADLESS_VARIABLE = "SEGBOOK_HEADLESS"


@contextlib.contextmanager
def recorded(state: TrainingState, folder: RunFolder) -> Iterator[None]:
    """Own the folder, and write into ``run.json`` what is trained and how it ends."""
    with folder.own() as variables:
        # Else the process that started this kernel has described itself.
        described: dict[str, Any] = environment() if variables else {}
        try:
            folder.update(
                **described,
                recipe=state.recipe.to_dict(),
                seed=state.recipe.seed,
                threads=torch.get_num_threads(),
                data_manifest={split: subset.manifest() for split, subset in state.sets.items()},
                status=RUNNING,
                steps=state.recipe.steps,
                error=None,
            )
            yield
        except GeneratorExit:  # between two steps: the state is whole
            if state.step > state.saved:
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


def log_line(folder: RunFolder, show: Callable[[str], None], line: str) -> None:
    """Show a line, and log it where nobody logs what is shown, as for a notebook's run."""
    line = one_line(line)
    show(line)
    if HEADLESS_VARIABLE not in os.environ:
        folder.log(line)
