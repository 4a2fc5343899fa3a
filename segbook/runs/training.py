"""A training run: a recipe, a run folder, and the loop that fills it.

A notebook and the command line use the same class:

    run = Run(recipe)                    # in the folder that `segbook run` made, else in a new one
    for step in run.train():             # goes on from the newest checkpoint of the folder
        ...
    counts = run.evaluate("test")        # by the best weights

Needs torch, but neither Jupyter nor matplotlib.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from segbook.doctor.preflights import has_begun, preflight
from segbook.recipes.recipe import Recipe
from segbook.runs.build import (
    build_data,
    build_loss,
    build_model,
    build_optimizer,
    build_schedule,
    check,
    choose_precision,
    count_classes,
    load_start,
)
from segbook.runs.describe import environment
from segbook.runs.feed import eval_batches, train_batches
from segbook.runs.folder import (
    FAILED,
    FINISHED,
    FOLDER_VARIABLE,
    RUNNING,
    STOPPED,
    RunFolder,
)
from segbook.runs.forecast import Forecast
from segbook.runs.records import scores, summarise
from segbook.runs.state import collect, header, put_back
from segbook.runs.tune import Choice, settle
from segkit import engine, random_state
from segkit.engine import distributed
from segkit.engine.freeze import freeze
from segkit.metrics import ConfusionMatrix
from segkit.weights import load_weights, read_header, save_weights

HEADLESS_VARIABLE = "SEGBOOK_HEADLESS"
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
        self.choice: Choice | None = None
        self.step = self.saved = 0
        self.seconds = self.cpu_seconds = 0.0
        self.best: dict[str, Any] = {}
        random_state.seed(recipe.seed)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # this process's own
        begun = has_begun(folder)
        self.model = build_model(recipe, self.num_classes, pretrained=not begun)
        if recipe.weights and not begun:
            self._tell(str(load_start(recipe, self.model, self.sets["train"].classes)))
        if frozen := freeze(self.model, recipe.freeze):
            self._tell(frozen)
        self.model = distributed.synchronise_norms(self.model, recipe.sync_bn, device)
        self.model.to(device)
        if self.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.ema = engine.averaged(self.model, recipe.ema) if recipe.ema else None
        self.optimizer = build_optimizer(recipe, self.model)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "float16")
        if distributed.rank():  # all built the same network, but each drops out its own units
            random_state.seed((recipe.seed + distributed.rank()) % 2**32)

    @functools.cached_property
    def counts(self) -> list[Tensor]:
        """What class weights are made from: read from all masks, which the doctor has seen then.

        Counted once a run and kept in its checkpoints.
        """
        return count_classes(self.recipe, self.sets["train"])

    @functools.cached_property
    def loss(self) -> Callable[..., Any]:
        """The recipe's loss."""
        return build_loss(self.recipe, self.model, self.counts)

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
                saved = {"step": self.saved} if self.saved else {}  # 0: not yet looked
                self.folder.update(status=FAILED, error=described, **saved)
                self.folder.log(f"{type(error).__name__}: {error}")
                raise

    def _train(self) -> Iterator[engine.Step]:
        recipe, folder = self.recipe, self.folder
        folder.update(
            recipe=recipe.to_dict(),
            seed=recipe.seed,
            threads=torch.get_num_threads(),
            data_manifest={split: subset.manifest() for split, subset in self.sets.items()},
            status=RUNNING,
            steps=recipe.steps,
            error=None,
        )
        preflight(recipe, folder, self.sets, self.model, self._tell)
        self._resume()
        folder.forget_after(self.step)
        compiled = self.choice is not None and self.choice.compiled
        stream = engine.train(
            torch.compile(self.model) if compiled else self.model,
            train_batches(self),
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
        forecast = Forecast(self)
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
            if last or step.index % recipe.save_every == 0 or self.best.get("step") == step.index:
                self.save()
            forecast.add(step)
            with forecast.elsewhere():
                yield step
            busy = time.process_time()
        if not self.best:  # a run that was finished before, resumed without its best
            self._validate()
        forecast.finish()
        result = {"split": "val", **self.best}
        folder.update(
            status=FINISHED,
            step=self.step,
            seconds=round(self.seconds, 1),
            cpu_seconds=round(self.cpu_seconds, 1),
            result=result,
        )

    def _validate(self) -> None:
        counts = self.evaluate("val", best=False)
        found = scores(counts, self.recipe.policy)
        miou = found["miou"]
        if miou != miou:
            raise ValueError(
                "no pixel of the val split is labelled, so there is nothing to choose the best "
                "weights by: look at its masks (is everything 255, void?)"
            )
        self.folder.append_metrics(
            step=self.step,
            val_miou=round(miou, 5),
            policy=self.recipe.policy,
            val_accuracy=round(found["accuracy"], 5),
            seconds=round(self.seconds, 1),
        )
        if miou > self.best.get("miou", -1.0):
            self.best = {**found, "step": self.step, "classes": list(self.sets["val"].classes)}
            if distributed.rank() == 0:
                path = self.folder.checkpoints / "best.safetensors"
                save_weights(self.averaged, path, header=header(self))
            distributed.wait()  # all may read it from here on
        line = (
            f"step {self.step}/{self.recipe.steps}  val mIoU {100 * miou:.1f} "
            f"({self.recipe.policy})  best {100 * self.best['miou']:.1f}  {self.seconds:.0f} s"
        )
        self._tell(line)

    def _tell(self, line: str) -> None:
        """Show a line, and log it where nobody logs what is shown, as for a notebook's run."""
        self.show(line)
        if HEADLESS_VARIABLE not in os.environ:
            self.folder.log(line)

    def evaluate(self, split: str, *, best: bool = True) -> ConfusionMatrix:
        """Count a split's pixels, images whole and at their own size.

        Where several processes train together all of them must call it; each gets all counts.

        Args:
            split: "train", "val" or "test".
            best: by the weights that were best on validation, else by the current ones.
        """
        model = self.averaged
        if best and (self.folder.checkpoints / "best.safetensors").exists():
            model = self.best_model()
        return engine.evaluate(
            model,
            eval_batches(self.recipe, self.sets[split]),
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
        result[split] = scores(counts, self.recipe.policy)
        self.folder.update(result=result)

    def save(self) -> None:
        """Write a checkpoint of everything that the next step depends on."""
        state = collect(self)
        if distributed.rank() == 0:
            engine.save_checkpoint(self.folder.checkpoints, state)
        self.saved = self.step
        self.folder.update(step=self.step, seconds=round(self.seconds, 1))

    def _resume(self) -> None:
        state = engine.load_checkpoint(self.folder.checkpoints, tell=self._tell)
        settle(self, state)
        if state is None:
            return
        remark = put_back(self, state)
        path = self.folder.checkpoints / "best.safetensors"
        if self.best and not (path.exists() and read_header(path)["step"] == self.best["step"]):
            self.best = {}  # a kill came between the best weights and their checkpoint
            remark += "; the best weights are of a later step and will be chosen anew"
        self.saved = self.step
        self._tell(f"resumed at step {self.step} of {self.recipe.steps}{remark}")
