"""The training loop, as a generator: what a step does is here, what is done with it is yours.

    stream = train(model, batches, loss=loss, optimizer=optimizer, schedule=poly(900), steps=900)
    for step in stream:
        print(step.index, step.loss)

No trainer, no hooks, no callbacks: a notebook draws inside an ordinary ``for``, the headless
runner writes its metrics and checkpoints inside the same ``for``.

Where several processes train together (`segkit.engine.distributed`) each runs this loop over its
part of each batch: gradients and what is reported are averages over all of them.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from segkit.engine import distributed
from segkit.engine.autocast import autocast
from segkit.engine.freeze import train_mode
from segkit.engine.memory import explain_out_of_memory
from segkit.engine.schedules import Schedule
from segkit.engine.settings import lay_out_channels_last, memory_format
from segkit.inputs import check_batch, explain_misfit
from segkit.outputs import SegOutput

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Names of the precisions, with the dtype that autocast takes for each."""


class Step(NamedTuple):
    """One optimizer step that has been made.

    Attributes:
        index: how many steps have been made, this one included; the first is 1.
        loss: the weighted sum of all parts, in the loss's unit (nats for cross-entropies).
        parts: the loss of the main output and of each auxiliary one, unweighted.
        lr: learning rate of the first parameter group.
        seconds: wall time of the step, waiting for data included.
        images_per_second: images of the step, those of all processes, over its seconds.
        waited: seconds of the step that went into waiting for data.
    """

    index: int
    loss: float
    parts: dict[str, float]
    lr: float
    seconds: float
    images_per_second: float
    waited: float


class NonFiniteLossError(ArithmeticError):
    """The loss is not a finite number; the weights are those before the step."""


def train(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    loss: Callable[[SegOutput, Tensor], tuple[Tensor, dict[str, Tensor]]],
    optimizer: Optimizer,
    schedule: Schedule | None = None,
    steps: int,
    start: int = 0,
    accumulate: int = 1,
    clip: float | None = None,
    ema: AveragedModel | None = None,
    precision: str = "float32",
    scaler: GradScaler | None = None,
    channels_last: bool = False,
) -> Generator[Step, None, None]:
    """Train a network, one optimizer step for each turn of the ``for`` loop around it.

    Args:
        model: the network, on the device where it is to be trained. Modules with a true attribute
            ``frozen`` stay in eval mode.
        batches: yields images (B, C, H, W) and labels (B, H, W); ``accumulate`` batches a step. Of
            several processes each gets its own part of each batch.
        loss: maps a network's output and the labels to the total and its parts
            (`segkit.losses.combine`).
        optimizer: over the parameters of ``model``; its learning rates are the initial ones.
        schedule: factor of the initial learning rates at each step; None keeps them.
        steps: length of the training, in optimizer steps, those before ``start`` included.
        start: steps that were already made (a resumed run); ``batches`` begins after them.
        accumulate: batches whose gradients are averaged into one step.
        clip: largest norm of the whole gradient; None does not clip.
        ema: from `averaged`, updated after each step.
        precision: "float32", "bfloat16" or "float16": what autocast uses for the network; the loss
            is always taken in float32.
        scaler: gradient scaler of float16; made here when None, pass one to keep its state.
        channels_last: memory format of images and weights; it is faster for most networks.

    Yields:
        A `Step` after each optimizer step.

    Raises:
        NonFiniteLossError: names the step and the parts; that step has changed no weight. Of
            several processes all raise it, whichever had the number.
        OutOfMemoryError: a step does not fit into memory.
        ValueError: unknown precision, accumulate < 1, batches that are no pairs of images and
            labels or that the network cannot take, or that ended before the last step.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; choose from {list(PRECISIONS)}")
    if accumulate < 1:
        raise ValueError(f"accumulate is {accumulate}: a step takes 1 batch or more")
    dtype = PRECISIONS[precision]
    device = next(model.parameters()).device
    scaler = scaler or GradScaler(device.type, enabled=dtype is torch.float16)
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])

    was_training = model.training
    iterator = iter(batches)
    try:
        if channels_last:
            lay_out_channels_last(model)
        network = distributed.data_parallel(model)
        frozen = [module for module in model.modules() if getattr(module, "frozen", False)]
        train_mode(model)
        for index in range(start, steps):
            began, waited, count = time.perf_counter(), 0.0, 0
            # Somebody may have evaluated the network between two steps.
            if not model.training or any(module.training for module in frozen):
                train_mode(model)
            # The learning rate of this step, as a factor of the initial one.
            if schedule is not None:
                _set_lr(optimizer, schedule(index))
            optimizer.zero_grad(set_to_none=True)
            # The sums of all losses stay on the device: to read one waits for the whole step.
            sums = _Sums(device)
            for turn in range(accumulate):
                asked = time.perf_counter()
                batch = check_batch(_next(iterator, index, steps), finite=False)
                waited += time.perf_counter() - asked
                # Processes exchange their gradients with the last batch of a step only.
                last = turn == accumulate - 1
                exchange = contextlib.nullcontext() if last else distributed.no_sync(network)
                with exchange, explain_out_of_memory(index + 1, batch[0]):
                    images = _to_device(
                        batch[0], device, memory_format=memory_format(batch[0], channels_last)
                    )
                    labels = _to_device(batch[1], device)
                    # Autocast for the network; the loss is always taken in float32.
                    with (
                        explain_misfit(model, images),
                        autocast(device, dtype),
                    ):
                        output = network(images)
                    value, parts = loss(output, labels)
                    # The mean over the batches of a step; float16 needs its loss scaled up.
                    scaler.scale(value / accumulate).backward()
                sums.add({_TOTAL: value, **parts}, of=accumulate)
                count += len(images) * distributed.world_size()

            # Clipping changes gradients only: the check below still comes before any weight moves.
            if clip is not None:
                scaler.unscale_(optimizer)
                norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
                if not scaler.is_enabled():  # which skips a step of infinite gradients itself
                    sums.add({_NORM: norm})
            # The step's one exchange between processes, and its one wait for the device.
            means = sums.averaged()
            _refuse_non_finite(means, index + 1)
            # The first step makes the optimizer's state, for which memory may not suffice.
            with explain_out_of_memory(index + 1, batch[0]):
                scaler.step(optimizer)
            scaler.update()
            # BatchNorm's running statistics are those of the first process, as on one GPU.
            distributed.broadcast_buffers(model)
            if ema is not None:
                ema.update_parameters(model)
            seconds = time.perf_counter() - began
            means.pop(_NORM, None)
            yield Step(
                index + 1, means.pop(_TOTAL), means, optimizer.param_groups[0]["lr"],
                seconds, count / seconds, waited,
            )  # fmt: skip
    finally:
        model.train(was_training)
        if close := getattr(iterator, "close", None):
            close()  # ends the loader's workers


_TOTAL, _NORM = "", " gradient"
"""Names of what is summed beside the parts of the loss."""


class _Sums:
    """Numbers of a step by name, summed where they were computed, in float64."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.sums = device, {}

    def add(self, values: Mapping[str, Tensor | float], *, of: int = 1) -> None:
        for name, value in values.items():
            number = torch.as_tensor(value, device=self.device).detach().double() / of
            self.sums[name] = self.sums[name] + number if name in self.sums else number

    def averaged(self) -> dict[str, float]:
        """The sums, averaged over all processes; this waits for the device."""
        means = distributed.average(torch.stack(list(self.sums.values())))
        return dict(zip(self.sums, means.tolist(), strict=True))


def _next(
    iterator: Iterator[tuple[Tensor, Tensor]], index: int, steps: int
) -> tuple[Tensor, Tensor]:
    batch = next(iterator, None)
    if batch is None:
        raise ValueError(
            f"the batches ended at step {index} of {steps}; "
            "hand `train` an endless stream, as segkit.data.batches is"
        )
    return batch


def _to_device(tensor: Tensor, device: torch.device, **options: Any) -> Tensor:
    """Copy to the device; from pinned memory a GPU fetches while the processor goes on."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True, **options)


def _set_lr(optimizer: Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def _refuse_non_finite(means: Mapping[str, float], step: int) -> None:
    """Stop at a loss or a gradient that is no finite number, before it reaches a weight."""
    total, norm = means[_TOTAL], means.get(_NORM, 0.0)
    if not math.isfinite(total):
        parts = ", ".join(f"{k} {v:.4g}" for k, v in means.items() if k not in (_TOTAL, _NORM))
        raise NonFiniteLossError(
            f"the loss is {total} at step {step}: {parts}. Lower the learning rate, clip the "
            "gradient (clip=1.0), or use bfloat16 in place of float16. The weights are those "
            "before this step."
        )
    if not math.isfinite(norm):
        raise NonFiniteLossError(
            f"the gradient's norm is {norm} at step {step} though the loss is {total:.4g}. "
            "Lower the learning rate. The weights are those before this step."
        )
