"""A training: its state, its loop, the processes that share it, and the proof that it resumes.

    from segbook import recipes, training
    from segbook.runs.folder import RunFolder

    recipe = recipes.get("unet_synthetic")
    folder = RunFolder.for_notebook(recipe.name)  # one for each training
    state = training.build(recipe, folder)
    for step in training.train(state, folder):
        ...
    counts = training.evaluate_best(state, folder, "test")

`segbook train` runs the same loop.
"""

from __future__ import annotations

from segbook import lazy

__getattr__ = lazy(
    __name__,
    {
        "TrainingState": "state",
        "best_model": "evaluation",
        "build": "state",
        "evaluate_best": "evaluation",
        "fit": "loop",
        "lesson_run": "lesson",
        "own_loop": "loop",
        "train": "loop",
    },
)
