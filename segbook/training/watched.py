"""Some validation images watched over a training: what the network says of them, step after step.

A run's folder ``watched/`` holds ``STEP_I.png``, the class ids of image I of the recipe's ``watch``
as `segkit.engine.predict` gives them, by the weights that are evaluated (the moving average where
there is one). The training scrubber shows them.
"""

from __future__ import annotations

import stat
from typing import Any

from segbook.builders.data import build_normalisation, watched_indices
from segbook.recipes.recipe import Recipe
from segbook.runs import files, recording
from segbook.runs.folder import RunFolder
from segbook.training.evaluation import is_due
from segbook.training.state import TrainingState
from segkit import engine
from segkit.engine import distributed


def is_watched(recipe: Recipe, step: int) -> bool:
    """Whether predictions are kept after a step: 1, 2, 5, 10, 20, 50 ..., and each validation.

    Early steps change most, so they are looked at most often.
    """
    first, rest = str(step)[0], str(step)[1:]
    return bool(recipe.watch) and ((first in "125" and not rest.strip("0")) or is_due(recipe, step))


def watch(state: TrainingState, folder: RunFolder) -> None:
    """Write what the network says now; an earlier attempt's files of this step are replaced."""
    if distributed.rank():
        return
    val_set: Any = state.sets["val"].with_transform(build_normalisation(state.recipe))
    place = folder.path / recording.FOLDER
    files.check(place, form=stat.S_IFDIR)
    place.mkdir(exist_ok=True)
    for i, index in enumerate(watched_indices(state.recipe, val_set)):
        labels = engine.predict(state.averaged, val_set[index][0][None].to(state.device))[0]
        kept = recording.coloured(labels.cpu().numpy(), val_set.palette)
        with open(place / recording.frame(state.step, i), "wb", opener=files.regular) as file:
            kept.save(file, format="png", optimize=True)
