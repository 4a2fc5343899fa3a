"""A run from its first step to its test, with nobody beside it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

from segbook.recipes.recipe import Recipe
from segbook.runs.folder import FINISHED, RUNNING, RunFolder
from segbook.training.run import Run

SPEAK_EVERY = 10.0
"""Seconds between two lines about a training whose progress bar nobody would see."""


def train_run(
    recipe: Recipe,
    folder: RunFolder | None = None,
    *,
    show: Callable[[str], None] = print,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train a recipe to its end without a notebook, then test it once.

    Args:
        recipe: what to train.
        folder: the run folder; None makes a new one.
        show: is told what happens, a line at a time.
        progress: whether a progress bar is drawn on standard error.
        stop: is asked after each step; True writes a checkpoint and raises KeyboardInterrupt.

    Returns:
        The run's result: "miou", "policy" and "split" of validation, and "test".
    """
    from tqdm import tqdm

    folder = folder or RunFolder.create(recipe.name, kind="train")
    with folder.own():
        run = Run(recipe, folder, show=(lambda text: tqdm.write(text)) if progress else show)
        bar = tqdm(total=recipe.steps, unit="step", disable=not progress, dynamic_ncols=True)
        with bar, contextlib.closing(run.train()) as steps:
            spoken = -math.inf
            for step in steps:
                bar.update(step.index - bar.n)
                bar.set_postfix(loss=f"{step.loss:.3f}", images=f"{step.images_per_second:.1f}/s")
                if not progress and time.monotonic() - spoken >= SPEAK_EVERY:
                    spoken = time.monotonic()
                    show(
                        f"step {step.index}/{recipe.steps}  loss {step.loss:.3f}  "
                        f"{step.images_per_second:.1f} images/s"
                    )
                if stop():
                    raise KeyboardInterrupt
        if "test" in run.sets:
            folder.update(status=RUNNING)  # a kill from here on is no finished run
            counts = run.evaluate("test")
            run.report("test", counts)
            folder.update(status=FINISHED)
            show(f"test mIoU {100 * counts.miou(recipe.policy):.1f} ({recipe.policy})")
    return folder.read().get("result") or {}  # of several processes only the first writes it
