"""A training run: a recipe, a run folder, and the loop that fills it.

A notebook and the command line use the same class:

    run = Run(recipe)                    # in the folder that `segbook run` made, else in a new one
    for step in run.train():             # goes on from the newest checkpoint of the folder
        ...
    counts = run.evaluate("test")        # by the best weights

Needs torch, but neither Jupyter nor matplotlib.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from segbook.recipes.recipe import Recipe
from segbook.runs.build import (
    build_augmentation,
    build_data,
    build_loss,
    build_model,
    build_optimizer,
    build_schedule,
    check,
    choose_precision,
    seed_everything,
)
from segbook.runs.describe import environment
from segbook.runs.folder import (
    FAILED,
    FINISHED,
    FOLDER_VARIABLE,
    RUNNING,
    STOPPED,
    RunFolder,
)
from segkit import data, engine, transforms
from segkit.engine.checkpoint import LAST, PREVIOUS
from segkit.metrics import ConfusionMatrix
from segkit.weights import load_weights, save_weights

SPEAK_EVERY = 10.0
"""Seconds between two lines about a training whose progress bar nobody would see."""
LOG_EVERY = 10
"""Steps between two records of the loss."""


class Run:
    """One training run.

    Args:
        recipe: what to train and how.
        folder: the run folder; None takes the one that `segbook run` made for this notebook, or
            makes a new one.
        show: is told what happens, a line at a time.

    Attributes:
        model: the network that is trained.
        averaged: the network that is evaluated: its moving average, or ``model`` itself.
        sets: the data sets by split: "train", "val" and "test".
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder | None = None,
        *,
        show: Callable[[str], None] = print,
    ) -> None:
        check(recipe)
        self.recipe = recipe
        self.sets = build_data(recipe)
        self.num_classes = self.sets["train"].num_classes
        self.precision = choose_precision(recipe.precision)
        self.channels_last = recipe.channels_last is not False
        if folder is None:
            given = os.environ.get(FOLDER_VARIABLE)
            folder = RunFolder(given) if given else RunFolder.create(recipe.name, kind="notebook")
        self.folder = folder
        self.show = show
        self.step = self.saved = 0
        self.seconds = self.cpu_seconds = 0.0
        self.best: dict[str, Any] = {}
        seed_everything(recipe.seed)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        begun = any((folder.checkpoints / name).exists() for name in (LAST, PREVIOUS))
        self.model = build_model(recipe, self.num_classes, pretrained=not begun)
        if recipe.weights:
            load_weights(self.model, recipe.weights)
        self.model.to(device)
        if self.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.ema = engine.averaged(self.model, recipe.ema) if recipe.ema else None
        self.optimizer = build_optimizer(recipe, self.model)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "float16")
        self.loss = build_loss(recipe, self.model, self.sets["train"])

    @property
    def averaged(self) -> nn.Module:
        """The network that is evaluated."""
        return self.ema.module if self.ema else self.model

    def train(self) -> Iterator[engine.Step]:
        """Train to the last step, from the folder's newest checkpoint where there is one.

        Writes metrics, checkpoints and the best weights on the way. Leaving the loop early, an
        exception or a signal leaves the run ``stopped`` or ``failed`` and its checkpoints whole.

        Raises:
            RunBusyError: another process is writing the folder.
        """
        with self.folder.own() as variables:
            if variables:  # else the process that started this kernel has described itself
                self.folder.update(**environment())
            try:
                yield from self._train()
            except GeneratorExit:  # between two steps: the state is whole
                if self.step > self.saved:
                    self.save()
                self.folder.update(status=STOPPED)
                raise
            except KeyboardInterrupt:  # maybe inside a step: the last checkpoint counts
                self.folder.update(status=STOPPED)
                raise
            except BaseException as error:
                described = {"name": type(error).__name__, "message": str(error)}
                self.folder.update(status=FAILED, step=self.step, error=described)
                self.folder.log(f"{type(error).__name__}: {error}")
                raise

    def _train(self) -> Iterator[engine.Step]:
        recipe, folder = self.recipe, self.folder
        folder.update(
            recipe=recipe.to_dict(),
            seed=recipe.seed,
            precision=self.precision,
            threads=torch.get_num_threads(),
            data_manifest={split: subset.manifest() for split, subset in self.sets.items()},
            status=RUNNING,
            steps=recipe.steps,
            error=None,
        )
        self._resume()
        folder.forget_after(self.step)
        stream = engine.train(
            self.model,
            self._batches(),
            loss=self.loss,
            optimizer=self.optimizer,
            schedule=build_schedule(recipe),
            steps=recipe.steps,
            start=self.step,
            accumulate=recipe.accumulate,
            clip=recipe.clip,
            ema=self.ema,
            precision=self.precision,
            scaler=self.scaler,
            channels_last=self.channels_last,
        )
        window: list[engine.Step] = []
        busy = time.process_time()
        for step in stream:
            self.step = step.index
            self.seconds += step.seconds
            self.cpu_seconds += time.process_time() - busy
            window.append(step)
            last = step.index == recipe.steps
            if step.index == 1 or step.index % LOG_EVERY == 0 or last:
                folder.append_metrics(**summarise(window))
                window = []
            if last or (recipe.evaluate_every and step.index % recipe.evaluate_every == 0):
                self._validate()
            if last or step.index % recipe.save_every == 0:
                self.save()
            yield step
            busy = time.process_time()
        if not self.best:  # a run that was finished before, resumed without its best
            self._validate()
        result = {"split": "val", **self.best}
        folder.update(
            status=FINISHED,
            step=self.step,
            seconds=round(self.seconds, 1),
            cpu_seconds=round(self.cpu_seconds, 1),
            result=result,
        )

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The stream of batches from the current step on, through the recipe's phases."""
        recipe = self.recipe
        plan = recipe.schedule_of_crops()
        ends = [begins for begins, *_ in plan[1:]] + [None]
        pieces = []
        for (begins, crop, scale), end in zip(plan, ends, strict=True):
            first = max(begins, self.step)
            if end is not None and first >= end:
                continue
            augment = build_augmentation(recipe, crop, scale)
            pieces.append(
                data.batches(
                    self.sets["train"].with_transform(augment),
                    batch_size=recipe.batch_size,
                    seed=recipe.seed,
                    start=first * recipe.accumulate,
                    stop=None if end is None else end * recipe.accumulate,
                    workers=recipe.workers,
                )
            )
        try:
            yield from itertools.chain.from_iterable(pieces)
        finally:
            for piece in pieces:
                piece.close()

    def _validate(self) -> None:
        counts = self.evaluate("val", best=False)
        miou = counts.miou(self.recipe.policy)
        if miou != miou:
            raise ValueError(
                "no pixel of the val split is labelled, so there is nothing to choose the best "
                "weights by: look at its masks (is everything 255, void?)"
            )
        self.folder.append_metrics(
            step=self.step,
            val_miou=round(miou, 5),
            policy=self.recipe.policy,
            val_accuracy=round(counts.pixel_accuracy(), 5),
            seconds=round(self.seconds, 1),
        )
        if miou > self.best.get("miou", -1.0):
            self.best = {
                "miou": miou,
                "policy": self.recipe.policy,
                "step": self.step,
                "accuracy": counts.pixel_accuracy(),
                "iou": [None if v != v else round(v, 5) for v in counts.iou().tolist()],
                "classes": list(self.sets["val"].classes),
            }
            save_weights(
                self.averaged, self.folder.checkpoints / "best.safetensors", header=self.header()
            )
        line = (
            f"step {self.step}/{self.recipe.steps}  val mIoU {100 * miou:.1f} "
            f"({self.recipe.policy})  best {100 * self.best['miou']:.1f}  {self.seconds:.0f} s"
        )
        self._tell(line)

    def _tell(self, line: str) -> None:
        """Show a line, and log it where nobody logs what is shown."""
        self.show(line)
        if FOLDER_VARIABLE not in os.environ:
            self.folder.log(line)

    def evaluate(self, split: str, *, best: bool = True) -> ConfusionMatrix:
        """Count a split's pixels, images whole and at their own size.

        Args:
            split: "train", "val" or "test".
            best: by the weights that were best on validation, else by the current ones.
        """
        model = self.averaged
        if best and (self.folder.checkpoints / "best.safetensors").exists():
            model = self.best_model()
        return engine.evaluate(
            model,
            data.sequential(
                self.sets[split].with_transform(transforms.evaluate()),
                batch_size=self.recipe.eval_batch_size or self.recipe.batch_size,
                workers=self.recipe.workers,
            ),
            num_classes=self.num_classes,
            precision=self.precision,
            channels_last=self.channels_last,
        )

    def best_model(self) -> nn.Module:
        """A network with the weights that were best on validation."""
        model = build_model(self.recipe, self.num_classes, pretrained=False)
        load_weights(model, self.folder.checkpoints / "best.safetensors")
        model.to(next(self.model.parameters()).device)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        return model.eval()

    def report(self, split: str, counts: ConfusionMatrix) -> None:
        """Store a final evaluation in ``run.json``."""
        result = dict(self.folder.read().get("result") or {})
        result[split] = {
            "miou": counts.miou(self.recipe.policy),
            "policy": self.recipe.policy,
            "accuracy": counts.pixel_accuracy(),
            "iou": [None if v != v else round(v, 5) for v in counts.iou().tolist()],
        }
        self.folder.update(result=result)

    def header(self) -> dict[str, Any]:
        """What is needed to use the weights: stored in their file."""
        train_set = self.sets["train"]
        return {
            "builder": self.recipe.model,
            "arguments": {"num_classes": self.num_classes, **self.recipe.model_options},
            "classes": list(train_set.classes),
            "palette": [list(colour) for colour in train_set.palette],
            "normalisation": {"mean": list(transforms.MEAN), "std": list(transforms.STD)},
            "metric": {
                "name": "mIoU",
                "policy": self.best.get("policy"),
                "value": self.best.get("miou"),
                "split": "val",
            },
            "recipe": self.recipe.name,
            "step": self.step,
        }

    def save(self) -> None:
        """Write a checkpoint of everything that the next step depends on."""
        engine.save_checkpoint(
            self.folder.checkpoints,
            {
                "step": self.step,
                "seconds": self.seconds,
                "cpu_seconds": self.cpu_seconds,
                "best": self.best,
                "precision": self.precision,
                "model": dict(self.model.state_dict()),
                "ema": dict(self.ema.state_dict()) if self.ema else None,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
            },
        )
        self.saved = self.step
        self.folder.update(step=self.step, seconds=round(self.seconds, 1))

    def _resume(self) -> None:
        state = engine.load_checkpoint(self.folder.checkpoints)
        if state is None:
            return
        self.step = self.saved = state["step"]
        self.seconds, self.best = state["seconds"], state["best"]
        self.cpu_seconds = state.get("cpu_seconds", 0.0)
        self.precision = state["precision"]
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        line = f"resumed at step {self.step} of {self.recipe.steps}"
        self._tell(line)


def train_run(
    recipe: Recipe,
    folder: RunFolder | None = None,
    *,
    show: Callable[[str], None] = print,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a recipe to its end without a notebook, then test it once.

    Args:
        recipe: what to train.
        folder: the run folder; None makes a new one.
        show: is told what happens, a line at a time.
        progress: whether a progress bar is drawn on standard error.

    Returns:
        The run's result: "miou", "policy" and "split" of validation, and "test".
    """
    from tqdm import tqdm

    folder = folder or RunFolder.create(recipe.name, kind="train")
    with folder.own():
        run = Run(recipe, folder, show=(lambda text: tqdm.write(text)) if progress else show)
        bar = tqdm(total=recipe.steps, unit="step", disable=not progress, dynamic_ncols=True)
        with bar:
            spoken = -math.inf
            for step in run.train():
                bar.update(step.index - bar.n)
                bar.set_postfix(loss=f"{step.loss:.3f}", images=f"{step.images_per_second:.1f}/s")
                if not progress and time.monotonic() - spoken >= SPEAK_EVERY:
                    spoken = time.monotonic()
                    show(
                        f"step {step.index}/{recipe.steps}  loss {step.loss:.3f}  "
                        f"{step.images_per_second:.1f} images/s"
                    )
        if "test" in run.sets:
            folder.update(status=RUNNING)  # a kill from here on is no finished run
            counts = run.evaluate("test")
            run.report("test", counts)
            folder.update(status=FINISHED)
            show(f"test mIoU {100 * counts.miou(recipe.policy):.1f} ({recipe.policy})")
    return folder.read()["result"]


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
