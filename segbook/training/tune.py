"""How a run makes its steps: what its recipe says, and what it leaves open by measurement.

    choice = choose(recipe, model, sample, loss)
    print(choice)   # bfloat16, channels_last: 2.0x float32, planes; measured over 20 steps in 9 s

A measurement may end differently tomorrow, so a run keeps its choice, in ``run.json`` and in its
checkpoints, and takes it up again on resume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from segbook.builders.batches import train_batches
from segbook.builders.build import build_optimizer, choose_precision
from segbook.recipes.recipe import Recipe
from segkit.engine import best_precision, distributed
from segkit.engine.probe import Setting, can_fuse, probe, set_fused
from segkit.engine.train import PRECISIONS

if TYPE_CHECKING:
    from segbook.training.run import Run

STEPS = 20
"""Steps that a probe makes."""
SHARE = 0.05
"""Share of a run's steps that a probe may make."""
SECONDS = 30.0
"""Seconds after which a probe begins no step: on a busy machine `STEPS` may take minutes. Steps of
two seconds still give four settings the three turns that each needs."""
COMPILE_FROM = 5000
"""Steps of a run on a GPU from which compiling is tried: it takes a minute or more."""


@dataclass(frozen=True)
class Choice:
    """How a run makes its steps, and why.

    Attributes:
        precision: "float32", "bfloat16" or "float16".
        channels_last: memory format of images and weights.
        fused: whether the optimizer's fused kernels are used.
        compiled: whether the network is compiled for training.
        reason: for a person.
        measured: milliseconds of a step by setting, in words; empty where nothing was measured.
    """

    precision: str
    channels_last: bool
    fused: bool
    compiled: bool
    reason: str
    measured: dict[str, float]

    @property
    def setting(self) -> Setting:
        """What was chosen, without the reason."""
        return Setting(self.precision, self.channels_last, self.fused, self.compiled)

    def __str__(self) -> str:
        return f"{self.setting}: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """The fields, as JSON knows them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Choice:
        """The choice that `to_dict` described.

        Raises:
            ValueError: a field is missing, unknown or of another type, or an unknown precision.
        """
        try:
            choice = cls(**fields)
        except TypeError as error:
            raise ValueError(f"not a choice of precision and memory format: {error}") from None
        flags = choice.channels_last, choice.fused, choice.compiled
        if choice.precision not in list(PRECISIONS) or {type(flag) for flag in flags} != {bool}:
            raise ValueError(
                f"not a choice of precision and memory format: precision is one of "
                f"{list(PRECISIONS)}, the others are true or false; got {choice.setting!r}"
            )
        return choice


def choose(
    recipe: Recipe,
    model: nn.Module,
    sample: Callable[[], tuple[Tensor, Tensor]],
    loss: Callable[..., tuple[Tensor, dict[str, Tensor]]],
) -> Choice:
    """Choose what a recipe leaves open: precision "auto", channels_last None, the fused optimizer.

    What the recipe says is respected. The rest is measured where `STEPS` steps are at most `SHARE`
    of the run; a shorter one takes the machine's rule, which is also what another setting must beat
    by more than noise: bfloat16 where the hardware has it, channels_last, and the fused optimizer
    except for SGD on a CPU, whose fused kernel is slower once the weights left the caches.
    Compiling is tried on GPUs only: on a CPU it takes minutes and gains nothing.

    Args:
        recipe: of the run.
        model: its network, on the device where it will be trained; not changed.
        sample: gives a batch of the training's size; called only where something is measured.
        loss: of the run.

    Returns:
        The choice; where several processes train together, all must call this, and all get that of
        the first one.
    """
    batches = recipe.steps * recipe.accumulate
    settings = candidates(recipe, model)
    chosen, plain = settings[0], settings[-1]._replace(fused=False)
    measured: dict[str, float] = {}
    if len({setting._replace(fused=False) for setting in settings}) == 1:
        reason = "as the recipe says"
    elif batches * SHARE < STEPS:
        reason = f"the rule for this machine; {batches} batches are too few to measure"
    else:
        try:
            found = probe(
                model,
                sample(),
                loss=loss,
                optimizer=lambda copied: build_optimizer(recipe, copied),
                settings=settings,
                steps=STEPS,
                limit=SECONDS,
                run=batches,
            )
        except torch.OutOfMemoryError:
            reason = "the rule for this machine; there was no memory to measure"
        else:
            chosen = found.best
            if found.decided:
                measured = {
                    str(setting): round(1000 * seconds, 2)
                    for setting, seconds in found.seconds.items()
                    if setting not in found.failed
                }
                times = found.seconds[plain] / found.seconds[chosen]
                reason = (
                    f"{times:.1f}x {plain}; measured over {found.steps} steps in {found.took:.0f} s"
                )
            else:
                reason = (
                    "the rule for this machine; steps are too slow to measure, "
                    f"{found.steps} took {found.took:.0f} s"
                )
            for setting, error in found.failed.items():
                reason += f"; {setting} does not run here ({error})"
    return distributed.gather(Choice(*chosen, reason=reason, measured=measured))[0]


def candidates(recipe: Recipe, model: nn.Module) -> list[Setting]:
    """The settings that a recipe leaves open, the machine's rule first and the plainest last."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    precisions = dict.fromkeys([choose_precision(recipe.precision)])
    if recipe.precision == "auto":
        precisions["float32"] = None
    layouts = [True, False] if recipe.channels_last is None else [recipe.channels_last]
    updates = [False]
    if can_fuse(build_optimizer(recipe, model)):
        updates = [True, False] if on_gpu or recipe.optimizer != "sgd" else [False, True]
    settings = [
        Setting(precision, channels_last, fused)
        for precision in precisions
        for channels_last in layouts
        for fused in updates
    ]
    one_size = len(recipe.schedule_of_crops()) == 1  # another one compiles anew
    if on_gpu and recipe.steps >= COMPILE_FROM and one_size and distributed.ranks() == 1:
        settings.insert(1, settings[0]._replace(compiled=True))
    return settings


def settle(run: Run, state: Mapping[str, Any] | None) -> None:
    """Give a run its choice: the one that it keeps, else a new one, which is shown and kept.

    To be called once before the first step of an attempt and before the state is put back, by all
    processes. Sets ``choice``, ``precision`` and ``channels_last``, and brings network, average,
    optimizer and scaler in line. A run goes on exactly, so it keeps its choice on a machine that is
    bad at it, too, and says so.

    Args:
        run: whose folder is owned.
        state: of its checkpoint; None where there is none.

    Raises:
        ValueError: what is kept is no choice, or does not run on this machine.
    """
    device = next(run.model.parameters()).device
    kept = (state or {}).get("choice") or run.folder.read().get("choice")
    kept = distributed.gather(kept)[0]  # the others may have read before it was written
    if kept:
        try:
            choice = Choice.from_dict(kept)
            if run.recipe.precision not in ("auto", choice.precision):
                raise ValueError(
                    f"{choice.setting}, and its recipe says precision={run.recipe.precision!r}: "
                    "make both the same in run.json, or begin a new run"
                )
            try_out(choice.setting, device)
        except ValueError as error:
            raise ValueError(f"{run.folder.path}: what the run keeps is {error}") from None
        if (drawbacks := spell_drawbacks(choice.setting, device)) and distributed.rank() == 0:
            run._tell(drawbacks)
    elif state is not None:
        return  # a checkpoint from before there were choices: the run goes on as it was
    else:
        choice = choose(run.recipe, run.model, lambda: first_batch(run), run.loss)
        if distributed.rank() == 0:
            run._tell(str(choice))
            run.folder.update(choice=choice.to_dict())
    run.choice = choice
    run.precision, run.channels_last = choice.precision, choice.channels_last
    layout = torch.channels_last if choice.channels_last else torch.contiguous_format
    for network in (run.model, run.ema):
        if network is not None:
            network.to(memory_format=layout)
    set_fused(run.optimizer, choice.fused)
    run.scaler = torch.amp.GradScaler(device.type, enabled=choice.precision == "float16")
    if distributed.rank() == 0:
        run.folder.update(precision=choice.precision)


def try_out(setting: Setting, device: torch.device) -> None:
    """Make a smallest step of a setting, without random numbers.

    Raises:
        ValueError: it does not run on the device.
    """
    images, weight = (torch.ones(1, 3, 8, 8, device=device, requires_grad=True) for _ in range(2))
    dtype = PRECISIONS[setting.precision]

    def score() -> Tensor:
        return nn.functional.conv2d(images, weight).relu()

    try:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            scores = (torch.compile(score) if setting.compiled else score)()
        scores.sum().backward()
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ValueError(
            f"{setting}, which does not run on this machine ({type(error).__name__}: {reason}); "
            "resume it where it began, or begin a new run with --set precision=auto"
        ) from None


def spell_drawbacks(setting: Setting, device: torch.device) -> str:
    """What is slow about a setting that a run keeps, and what to do; usually nothing."""
    slow, own = [], best_precision(device)
    # Any machine computes in float32, and a GPU as fast in float16 as in bfloat16.
    fine = {own, "float32"} | ({"float16"} if device.type == "cuda" else set())
    if setting.precision not in fine:
        slow.append(f"in {setting.precision}, though this machine is faster in {own}")
    if setting.compiled and device.type == "cpu":
        slow.append("compiled, which takes minutes on a CPU")
    if not slow:
        return ""
    return (
        f"goes on {' and '.join(slow)}: a run keeps what it began with; "
        "a new one with --set precision=auto chooses for this machine"
    )


def first_batch(run: Run) -> tuple[Tensor, Tensor]:
    """The batch of a run's next step."""
    stream = train_batches(run)
    try:
        return next(stream)
    finally:
        stream.close()
