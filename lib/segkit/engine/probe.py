"""Which way of making a training step is the fastest here: some steps of each, on a copy.

    found = probe(model, batch, loss=loss, optimizer=make_optimizer, settings=settings)
    found.best, found.seconds

Nothing of the run is touched: not the network, its running statistics or its gradients, and no
random generator.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from segkit import random_state
from segkit.engine import distributed
from segkit.engine.train import PRECISIONS, _train_mode
from segkit.outputs import SegOutput

TURNS = 3
"""Fewest turns of a setting: the first is not counted, and of one alone noise would decide."""


class Setting(NamedTuple):
    """A way of making a training step.

    Attributes:
        precision: a name of `PRECISIONS`.
        channels_last: memory format of images and weights; else planes.
        fused: whether the optimizer updates all of a weight in one kernel.
        compiled: whether the network goes through ``torch.compile``.
    """

    precision: str = "float32"
    channels_last: bool = False
    fused: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        extras = [word for word in ("fused", "compiled") if getattr(self, word)]
        layout = "channels_last" if self.channels_last else "planes"
        return ", ".join([self.precision, layout, *extras])


class Probe(NamedTuple):
    """What was measured, and what follows from it.

    Attributes:
        best: the setting to train with.
        seconds: of one step by setting, each the fastest of its turns: whatever disturbs a
            measurement makes it longer.
        steps: how many steps were made.
        took: seconds that all of them took.
        failed: the error of each setting that does not run here.
        decided: whether every setting had enough turns; else ``best`` is the default.
    """

    best: Setting
    seconds: dict[Setting, float]
    steps: int
    took: float
    failed: dict[Setting, str]
    decided: bool = True


def probe(
    model: nn.Module,
    batch: tuple[Tensor, Tensor],
    *,
    loss: Callable[[SegOutput, Tensor], tuple[Tensor, dict[str, Tensor]]],
    optimizer: Callable[[nn.Module], Optimizer],
    settings: Sequence[Setting],
    steps: int = 20,
    limit: float = math.inf,
    run: int = 1000,
    margin: float = 0.07,
    clock: Callable[[], float] = time.perf_counter,
) -> Probe:
    """Time settings in turn on a copy of a network, and choose.

    All settings share one copy, whose weights never move: the learning rates are 0. Beyond what
    training itself takes, the probe needs the memory of that copy. Updates are timed apart from
    the rest of the step, but behind it, where the weights have left the processor's caches.

    Where several processes train together all of them must call it at the same time, since losses
    and synchronised batch normalisation ask all; then let one of them decide for the others.

    Args:
        model: the network, on the device where it will be trained.
        batch: images (B, C, H, W) and labels (B, H, W), of the size that will be trained.
        loss: as `train` takes it.
        optimizer: makes the optimizer of the copy that it is given.
        settings: what may be chosen; the first is the default.
        steps: to make in all, the first of each network's included, which is not counted; at least
            `TURNS` of each are made.
        limit: seconds of steps after which none is begun. A network's compiling is not counted: it
            may take longer than all steps.
        run: length of the training in steps, over which compiling must pay.
        margin: least share of the default's time that another setting must save to be chosen, so
            that noise does not decide; more where the default's own steps vary more.
        clock: seconds that have passed.

    Returns:
        The choice and its reasons.

    Raises:
        ValueError: no settings, or an unknown precision in one.
    """
    if not settings:
        raise ValueError("settings is empty: give at least the default")
    if unknown := {s.precision for s in settings} - PRECISIONS.keys():
        raise ValueError(f"precision {unknown.pop()!r} is unknown; choose from {list(PRECISIONS)}")
    networks = list(dict.fromkeys(s._replace(fused=False) for s in settings))
    updates = list(dict.fromkeys(s.fused for s in settings))
    turns = max(TURNS, steps // len(networks))
    device = next(model.parameters()).device
    passes: dict[Setting, list[float]] = {network: [] for network in networks}
    steppings: dict[bool, list[float]] = {fused: [] for fused in updates}
    failed: dict[Setting, str] = {}
    spent, began = 0.0, clock()

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock()

    with random_state.preserved():
        trained = copy.deepcopy(model)
        _train_mode(trained)
        stepper = optimizer(trained)
        for group in stepper.param_groups:
            group["lr"] = 0.0
        # Compiles when it is first called; asking for it costs the import of the compiler.
        compiled = torch.compile(trained) if any(s.compiled for s in settings) else trained
        for turn in range(turns):
            for number, network in enumerate(networks):
                if network in failed:
                    continue
                if distributed.gather(spent)[0] > limit:  # else processes might wait for others
                    break
                channels_last = network.channels_last
                layout = torch.channels_last if channels_last else torch.contiguous_format
                trained.to(memory_format=layout)
                set_fused(stepper, fused := updates[(turn + number) % len(updates)])
                stepper.zero_grad(set_to_none=True)
                dtype = PRECISIONS[network.precision]
                start = now()
                try:
                    images = batch[0].to(device, memory_format=layout)
                    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                        output = (compiled if network.compiled else trained)(images)
                    loss(output, batch[1].to(device))[0].backward()
                except Exception as error:
                    if not network.compiled:
                        raise
                    failed[network] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                    continue
                middle = now()
                stepper.step()
                passes[network].append(middle - start)
                end = now()
                if turn:  # the first one makes the optimizer's state
                    steppings[fused].append(end - middle)
                if turn or not network.compiled:
                    spent += end - start

    seconds, whole = {}, {}
    for setting in settings:
        first, *times = passes[setting._replace(fused=False)] or (0.0,)
        seconds[setting] = min(times, default=math.inf)
        seconds[setting] += min(steppings[setting.fused], default=math.inf)
        compiling = max(0.0, first - seconds[setting]) if setting.compiled else 0.0
        whole[setting] = seconds[setting] + compiling / run
    decided = all(len(passes[n]) >= TURNS for n in networks if n not in failed)
    best = min(settings, key=lambda setting: whole[setting])
    # On a busy machine one lucky step decides nothing: a gain has to exceed the default's spread.
    usual = passes[settings[0]._replace(fused=False)][1:]
    spread = 1 - min(usual) / statistics.median(usual) if usual else 0.0
    if not decided or whole[best] > (1 - max(margin, spread)) * whole[settings[0]]:
        best = settings[0]
    made = sum(len(times) for times in passes.values())
    return Probe(best, seconds, made, clock() - began, failed, decided)


def can_fuse(optimizer: Optimizer) -> bool:
    """Whether an optimizer has a fused form for its weights: float ones, on a CPU or CUDA GPU."""
    return all(
        "fused" in group
        and all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in group["params"])
        for group in optimizer.param_groups
    )


def set_fused(optimizer: Optimizer, fused: bool) -> None:
    """Let an optimizer use its fused kernels, or its ordinary ones; what it remembers is kept.

    Args:
        optimizer: SGD, AdamW or another with a fused form; without one it cannot be switched on.
        fused: which.

    Raises:
        ValueError: there is no fused form to switch on.
    """
    if fused and not can_fuse(optimizer):
        raise ValueError(f"{type(optimizer).__name__} has no fused form for these weights")
    for group in optimizer.param_groups:
        if "fused" not in group:
            continue
        group["fused"] = fused or None  # None leaves torch its own choice among the others
        for weight in group["params"]:
            state = optimizer.state.get(weight, {})
            if (
                "step" in state
            ):  # the fused kernels count where the weight is, the others on the CPU
                state["step"] = state["step"].to(weight.device if fused else "cpu")
