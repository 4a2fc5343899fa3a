"""What a training measures of its network and writes down: validation, test, the loss's means."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from segbook.builders.batches import eval_batches
from segbook.builders.data import build_normalisation
from segbook.builders.model import build_model
from segbook.recipes.recipe import Recipe
from segbook.runs.folder import RunFolder
from segbook.training.identity import folder_of
from segbook.training.progress import first_predictions, grow
from segbook.training.state import BEST, TrainingState
from segkit import engine
from segkit.engine import distributed
from segkit.engine.settings import lay_out_channels_last, memory_format
from segkit.metrics import CaseScores, ConfusionMatrix
from segkit.weights import load_weights, save_weights


def evaluate(
    model: nn.Module,
    recipe: Recipe,
    dataset: Any,
    settings: engine.Settings,
    batches: Iterator[tuple[Tensor, Tensor]] | None = None,
) -> ConfusionMatrix:
    """Count a split's pixels, images whole and at their own size.

    Where several processes train together all of them must call it; each gets all counts.
    """
    return engine.evaluate(
        model,
        batches or eval_batches(recipe, dataset),
        num_classes=dataset.num_classes,
        precision=settings.precision,
        channels_last=settings.channels_last,
        window=recipe.windows,
    )


def evaluate_cases(
    model: nn.Module, recipe: Recipe, dataset: Any, settings: engine.Settings
) -> CaseScores:
    """Score a split of volumes case by case, predicted as `evaluate` predicts them."""
    device, cases = next(model.parameters()).device, CaseScores(dataset.classes)
    normalised = dataset.with_transform(build_normalisation(recipe))
    dtype = engine.PRECISIONS[settings.precision]
    for index in range(len(dataset)):
        image, _ = normalised[index]
        layout = memory_format(image[None], settings.channels_last)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            labels = engine.predict(
                model, image[None].to(device, memory_format=layout), window=recipe.windows
            )
        truth = dataset.raw(index)[1]
        cases.add(dataset.stem(index), labels[0].cpu(), truth, dataset.spacing(index))
    return cases


def is_due(recipe: Recipe, step: int) -> bool:
    """Whether a validation follows a step: every ``evaluate_every`` steps, and the last."""
    every = recipe.evaluate_every
    return step == recipe.steps or bool(every and step and step % every == 0)


def is_missing(state: TrainingState, folder: RunFolder) -> bool:
    """Whether a run was stopped in the validation after its newest step; all processes ask."""
    done = any(r.get("step") == state.step and "val_miou" in r for r in folder.metrics())
    return distributed.all_gather(is_due(state.recipe, state.step) and not done)[0]


def validate(state: TrainingState, folder: RunFolder, show: Callable[[str], None]) -> None:
    """Evaluate on the val split, write the scores down, and keep the weights if they are the best.

    Raises:
        ValueError: no pixel of the val split is labelled.
    """
    recipe, val_set = state.recipe, state.sets["val"]
    with first_predictions(state.averaged, eval_batches(recipe, val_set)) as (batches, noted):
        counts = evaluate(state.averaged, recipe, val_set, state.settings, batches)
    found = scores(counts, recipe.policy)
    miou = found["miou"]
    if miou != miou:
        raise ValueError(
            "no pixel of the val split is labelled, so there is nothing to choose the best "
            "weights by: look at its masks (is everything 255, void?)"
        )
    folder.append_metrics(
        step=state.step,
        val_miou=round(miou, 5),
        policy=recipe.policy,
        val_accuracy=round(found["accuracy"], 5),
        seconds=round(state.seconds, 1),
    )
    if distributed.rank() == 0:
        with contextlib.suppress(OSError):  # a training is not stopped for want of its picture
            grow(folder, recipe, state.step, noted, val_set.palette)
    if miou > state.best.get("miou", -1.0):
        state.best = {**found, "step": state.step, "classes": list(val_set.classes)}
        if distributed.rank() == 0:
            save_weights(state.averaged, folder.checkpoints / BEST, header=state.header())
        distributed.barrier()  # all may read it from here on
    show(
        f"step {state.step}/{recipe.steps}  val mIoU {100 * miou:.1f} ({recipe.policy})  "
        f"best {100 * state.best['miou']:.1f}  {state.seconds:.0f} s"
    )


def best_model(state: TrainingState, folder: RunFolder) -> nn.Module:
    """The network with the weights that were best on validation; before that, the current one."""
    run = folder_of(folder, state.recipe, state.folder, read=True)
    if run is None or not (path := run.checkpoints / BEST).exists():
        return state.averaged
    model = build_model(state.recipe, state.num_classes, pretrained=False)
    load_weights(model, path)
    model.to(state.device)
    if state.settings.channels_last:
        lay_out_channels_last(model)
    return model.eval()


def evaluate_best(state: TrainingState, folder: RunFolder, split: str = "test") -> ConfusionMatrix:
    """Evaluate the best weights on a split, once, and store the scores in ``run.json``.

    Raises:
        ValueError: the data have no such split, or nothing was validated yet.
    """
    recipe = state.recipe
    if split not in state.sets:
        raise ValueError(f"there is no split {split!r}; choose from {', '.join(state.sets)}")
    run = folder_of(folder, state.recipe, state.folder, read=True)
    if run is None or not (run.checkpoints / BEST).exists():
        raise ValueError(f"{folder.name} has no best weights of this training: train it first")
    counts = evaluate(best_model(state, run), recipe, state.sets[split], state.settings)
    result = dict(run.read().get("result") or {})
    RunFolder(run.path).update(result={**result, split: scores(counts, recipe.policy)})
    return counts


def scores(counts: ConfusionMatrix, policy: str) -> dict[str, Any]:
    """An evaluation's scores: mIoU under a policy, pixel accuracy, and each class's IoU."""
    return {
        "miou": counts.miou(policy),
        "policy": policy,
        "accuracy": counts.pixel_accuracy(),
        "iou": [None if v != v else round(v, 5) for v in counts.iou().tolist()],
    }


def summarise(window: list[engine.Step]) -> dict[str, Any]:
    """One record of several steps: means, the last learning rate, and the time of all."""
    count = len(window)
    parts = {
        name: round(sum(step.parts[name] for step in window) / count, 5) for name in window[0].parts
    }
    return {
        "step": window[-1].index,
        "loss": round(sum(step.loss for step in window) / count, 5),
        "parts": parts,
        "lr": window[-1].lr,
        "images_per_second": round(sum(s.images_per_second for s in window) / count, 2),
        "waited": round(sum(s.waited for s in window) / sum(s.seconds for s in window), 4),
        "time": round(time.time(), 1),
    }
