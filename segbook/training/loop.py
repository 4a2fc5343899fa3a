"""The loop of every training, whoever started it: a notebook, the command line, one of processes.

    folder = RunFolder.for_notebook(recipe.name)    # one for each training
    state = build(recipe, folder)
    for step in train(state, folder):    # goes on from the newest checkpoint of the folder
        ...
    counts = evaluate_best(state, folder)  # by the weights that were best on validation

What a step does is in `segkit.engine.train`; what is done between two steps is here. Needs torch,
but neither Jupyter nor matplotlib.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, cast

import torch
from torch import nn

from segbook.builders.batches import train_batches
from segbook.builders.loss import build_loss
from segbook.builders.optimizer import build_schedule
from segbook.preflight.gate import preflight
from segbook.recipes.file import absolute
from segbook.recipes.recipe import Recipe
from segbook.runs.folder import FINISHED, RUNNING, RunFolder
from segbook.training.evaluation import evaluate_best, is_due, is_missing, summarise, validate
from segbook.training.forecast import Forecast
from segbook.training.identity import only_loop, settle
from segbook.training.record import log_line, recorded
from segbook.training.state import TrainingState, build, save
from segbook.training.watched import is_watched, watch
from segkit import engine

LOG_EVERY = 10
"""Steps between two records of the loss."""
SHOW_EVERY = 10.0
"""Seconds between two lines about a training whose progress bar nobody would see."""


def train(
    state: TrainingState,
    folder: RunFolder,
    *,
    show: Callable[[str], None] = print,
    batches: Callable[..., Iterator[tuple[torch.Tensor, torch.Tensor]]] = train_batches,
) -> Generator[engine.Step, None, None]:
    """Train to the last step, from the folder's newest checkpoint where there is one.

    Writes metrics, checkpoints and the best weights on the way. Leaving the loop early, an
    exception or a signal leaves the run ``stopped`` or ``failed`` and its checkpoints whole.

    Args:
        state: as `build` made it.
        folder: of the run. One that `RunFolder.for_notebook` gave becomes this training's, which
            may be another one than the notebook's.
        show: is told what happens, a line at a time.
        batches: the stream of batches, `segbook.builders.batches.train_batches` or another.

    Raises:
        PreflightError: the doctor found what it must fail by.
        RunBusyError: another process is writing the folder.
        ValueError: the folder holds another training, or the data have other classes than it began
            with; nothing was written.
    """
    settle(folder, state.recipe, state.folder)
    return only_loop(folder, _steps(state, folder, show, batches))


def own_loop(
    state: TrainingState,
    folder: RunFolder,
    *,
    show: Callable[[str], None] = print,
    batches: Callable[..., Iterator[tuple[torch.Tensor, torch.Tensor]]] = train_batches,
) -> Generator[tuple[int, torch.Tensor, torch.Tensor], None, None]:
    """A run whose steps are your own code: a batch each, and all else is kept as by `train`.

        for step, images, labels in training.own_loop(state, folder):
            loss = my_loss(state.model(images), labels)
            ...                                  # and state.optimizer.step(), as you like
            folder.append_metrics(step=step, loss=loss.item())

    Validations, the best weights, checkpoints and the result come between two steps, so that the
    run is listed, compared and predicted from as any other. What the next step depends on must be
    in the state (its network, ``ema``, optimizer) or be computed from ``step``: of a step that was
    not finished nothing is kept. The recipe's optimizer, schedule and loss are yours to follow; its
    moving average, ``state.ema``, is updated after each step in which you did not do so yourself.

    Args:
        state: as `build` made it.
        folder: as for `train`.
        show: is told what happens, a line at a time.
        batches: as for `train`.

    Yields:
        The step, counted from 1 or from where a checkpoint stopped; images (B, C, H, W), float32,
        and labels (B, H, W), int64, on the network's device.

    Raises:
        NonFiniteLossError: a step left a weight that is no finite number; of it nothing is kept.
        PreflightError, RunBusyError, ValueError: as `train`.
    """
    settle(folder, state.recipe, state.folder)
    return only_loop(folder, _own_steps(state, folder, show, batches))


def _own_steps(
    state: TrainingState,
    folder: RunFolder,
    show: Callable[[str], None],
    batches: Callable[..., Iterator[tuple[torch.Tensor, torch.Tensor]]],
) -> Generator[tuple[int, torch.Tensor, torch.Tensor], None, None]:
    """The loop of `own_loop`, in a folder that is settled."""
    recipe = state.recipe
    with _opened(state, folder, show) as log:
        folder.update(own_loop=True)
        stream = batches(recipe, state.sets["train"], start=state.step, show=log)
        for step in range(state.step + 1, recipe.steps + 1):
            images, labels = next(stream)
            began, cpu, state.whole = time.perf_counter(), time.process_time(), False
            updates = state.ema and int(state.ema.n_averaged)
            yield step, images.to(state.device), labels.to(state.device)
            _refuse_non_finite(state.model, step)
            if state.ema and int(state.ema.n_averaged) == updates:
                state.ema.update_parameters(state.model)
            state.step, state.whole = step, True
            state.seconds += time.perf_counter() - began
            state.cpu_seconds += time.process_time() - cpu
            _keep(state, folder, log)


def _refuse_non_finite(model: nn.Module, step: int) -> None:
    """Stop at weights that are no finite numbers: their scores would look like any other."""
    if not torch.stack([weight.isfinite().all() for weight in model.parameters()]).all():
        raise engine.NonFiniteLossError(
            f"a weight is NaN or infinite after step {step}: skip steps whose loss is not finite, "
            "lower the learning rate or clip the gradient. Of this step nothing is kept"
        )


def _steps(
    state: TrainingState,
    folder: RunFolder,
    show: Callable[[str], None],
    batches: Callable[..., Iterator[tuple[torch.Tensor, torch.Tensor]]],
) -> Generator[engine.Step, None, None]:
    """The loop of `train`, in a folder that is settled."""
    recipe = state.recipe
    with _opened(state, folder, show) as log:
        settings = state.settings  # a resumed run keeps its precision
        stream = engine.train(
            cast(nn.Module, torch.compile(state.model)) if recipe.compile else state.model,
            batches(recipe, state.sets["train"], start=state.step, show=log),
            loss=build_loss(recipe, state.model, state.class_counts()),
            optimizer=state.optimizer,
            schedule=build_schedule(recipe),
            steps=recipe.steps,
            start=state.step,
            accumulate=recipe.accumulate,
            clip=recipe.clip,
            ema=state.ema,
            precision=settings.precision,
            scaler=state.scaler,
            channels_last=settings.channels_last,
        )
        forecast = Forecast(state, folder, log)
        window: list[engine.Step] = []
        began = time.process_time()
        for step in stream:
            state.step, state.whole = step.index, True
            state.seconds += step.seconds
            state.cpu_seconds += time.process_time() - began
            window.append(step)
            # Log the mean loss of the steps since the last record.
            if step.index in (1, recipe.steps) or step.index % LOG_EVERY == 0:
                folder.append_metrics(**summarise(window))
                window = []
            _keep(state, folder, log)
            forecast.add(step)
            with forecast.elsewhere():
                yield step
            began, state.whole = time.process_time(), False
        forecast.finish()


@contextlib.contextmanager
def _opened(
    state: TrainingState, folder: RunFolder, show: Callable[[str], None]
) -> Iterator[Callable[[str], None]]:
    """What comes before a run's first step and after its last; yields what its lines are told."""
    recipe, log = state.recipe, functools.partial(log_line, folder, show)
    engine.keep_memory()
    with recorded(state, folder) as lines:
        if parent := folder.read().get("parent"):
            log(f"a further training of {parent}, in {folder.path}")
        for line in (*state.remarks, *lines):
            log(line)
        # The doctor looks before anything is computed, and stops what must fail.
        preflight(recipe, folder, state.sets, state.model, log)
        state.folder = folder.path
        folder.update(precision=state.settings.precision, settings=str(state.settings))
        folder.forget_after(state.step)
        if is_missing(state, folder):
            validate(state, folder, log)
        yield log
        if not state.best:  # a run that was finished before, resumed without its best
            validate(state, folder, log)
        folder.update(
            status=FINISHED,
            step=state.step,
            seconds=round(state.seconds, 1),
            cpu_seconds=round(state.cpu_seconds, 1),
            result={"split": "val", **state.best},
        )


def _keep(state: TrainingState, folder: RunFolder, log: Callable[[str], None]) -> None:
    """What is kept after a step, where it is time: scores and best weights, pictures, all of it."""
    recipe, step = state.recipe, state.step
    if is_due(recipe, step):
        validate(state, folder, log)
    if is_watched(recipe, step):
        watch(state, folder)
    # Save, so that a kill loses little, and the best weights have their checkpoint.
    if step in (recipe.steps, state.best.get("step")) or step % recipe.save_every == 0:
        save(state, folder)


def fit(
    recipe: Recipe,
    folder: RunFolder,
    *,
    state: TrainingState | None = None,
    show: Callable[[str], None] = print,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train a recipe to its end without a notebook, then test it once.

    Args:
        recipe: what to train.
        folder: of the run.
        state: the recipe as it was built already; None builds it.
        show: is told what happens, a line at a time.
        progress: whether a progress bar is drawn on standard error.
        stop: is asked after each step; True writes a checkpoint and raises KeyboardInterrupt.

    Returns:
        The run's result: "miou", "policy" and "split" of validation, and "test".
    """
    from tqdm import tqdm

    settle(folder, absolute(recipe), state and state.folder)
    with folder.own():
        state = state or build(recipe, folder)
        log = (lambda line: tqdm.write(line)) if progress else show
        bar = tqdm(total=recipe.steps, unit="step", disable=not progress, dynamic_ncols=True)
        with bar, contextlib.closing(train(state, folder, show=log)) as steps:
            shown = -math.inf
            for step in steps:
                bar.update(step.index - bar.n)
                bar.set_postfix(loss=f"{step.loss:.3f}", images=f"{step.images_per_second:.1f}/s")
                if not progress and time.monotonic() - shown >= SHOW_EVERY:
                    shown = time.monotonic()
                    show(
                        f"step {step.index}/{recipe.steps}  loss {step.loss:.3f}  "
                        f"{step.images_per_second:.1f} images/s"
                    )
                if stop():
                    raise KeyboardInterrupt
        if "test" in state.sets:
            folder.update(status=RUNNING)  # a kill from here on is no finished run
            counts = evaluate_best(state, folder)
            folder.update(status=FINISHED)
            show(f"test mIoU {100 * counts.miou(recipe.policy):.1f} ({recipe.policy})")
    return folder.read().get("result") or {}  # of several processes only the first writes it
