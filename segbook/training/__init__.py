"""A training: its state, its loop, the processes that share it, and the proof that it resumes.

    from segbook import recipes, training
    from segbook.runs.folder import RunFolder

    recipe = recipes.get("unet_synthetic")
    folder = RunFolder.for_notebook(recipe.name)
    state = training.build(recipe, folder)
    for step in training.train(state, folder):
        ...
    counts = training.evaluate_best(state, folder, "test")

`segbook train` runs the same loop.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "TrainingState": "state",
    "best_model": "evaluation",
    "build": "state",
    "evaluate_best": "evaluation",
    "fit": "loop",
    "train": "loop",
}
"""Imported when they are asked for: the command line starts without torch."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
