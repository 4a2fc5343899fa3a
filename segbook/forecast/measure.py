"""`segbook forecast RECIPE`: a recipe's cost, measured in a temporary folder before it is paid."""

from __future__ import annotations

import tempfile
import time
from typing import Any

from segbook.builders.batches import train_batches
from segbook.builders.loss import build_loss
from segbook.recipes.recipe import Recipe
from segbook.runs.folder import RunFolder, runs_root
from segbook.training import costs
from segbook.training.costs import FEWEST, WARM_UP, measured_of
from segbook.training.forecast import Forecast
from segbook.training.state import build
from segkit import engine


def measure(recipe: Recipe) -> dict[str, Any]:
    """Make a recipe's first steps in a temporary folder, as far as a run forecasts itself.

    Nothing is left behind. Memory is the most that this process ever had: a fresh one gives the
    recipe's own.

    Args:
        recipe: what would be trained.

    Returns:
        What `segbook.training.forecast.Forecast` records, and "step", seconds of a step with its
        data; "waiting", those of them that it waits for data, reading included; "parts", seconds by
        part of what is still to do then; "busy", a word where others use the machine, else "".

    Raises:
        ValueError: a recipe too short for a forecast, or one that cannot be built.
    """
    if not (measured := measured_of(recipe.steps)):
        raise ValueError(f"steps={recipe.steps}: a forecast takes {4 * FEWEST} steps or more")
    root = runs_root()  # where the checkpoints would go: that disk's speed counts
    with tempfile.TemporaryDirectory(
        prefix=".forecast-", dir=root if root.is_dir() else None
    ) as scratch:
        folder = RunFolder.create(recipe.name, root=scratch, kind="train")
        state = build(recipe, folder)
        forecast = Forecast(state, folder, show=lambda line: None)
        for step in engine.train(
            state.model,
            train_batches(recipe, state.sets["train"]),
            loss=build_loss(recipe, state.model, state.class_counts()),
            optimizer=state.optimizer,
            schedule=lambda index: 1e-3,  # a step takes as long, and no loss can diverge
            steps=WARM_UP + measured,
            accumulate=recipe.accumulate,
            clip=recipe.clip,
            ema=state.ema,
            precision=state.settings.precision,
            scaler=state.scaler,
            channels_last=state.settings.channels_last,
        ):
            state.cpu_seconds = time.process_time()
            forecast.add(step)
        return forecast.forecast | {
            "step": costs.trimmed_mean([step.seconds for step in forecast.steps]),
            "waiting": costs.trimmed_mean([step.waited for step in forecast.steps]),
            "parts": forecast.parts,
            "busy": forecast.busy,
        }
