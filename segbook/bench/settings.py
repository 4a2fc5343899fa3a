"""`segbook bench settings RECIPE`: other settings of its training steps, beside the rule's."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from segbook.bench.clock import Clock, Spread, median, ratio, take_turns
from segbook.bench.train import our_stepper
from segbook.builders.batches import train_batches
from segbook.builders.loss import build_loss
from segbook.builders.optimizer import build_optimizer
from segbook.recipes.recipe import Recipe
from segbook.text import shell
from segbook.training.state import build
from segkit import engine

NOISE = 1.03
"""A ratio that two equal settings reach, too."""


class Measured(NamedTuple):
    """One way of making a recipe's steps.

    Attributes:
        name: of the settings.
        seconds: of a step, median.
        ratio: how many times faster than the rule's.
        changes: fields of the recipe that choose it, beyond the rule.
    """

    name: str
    seconds: float
    ratio: Spread
    changes: dict[str, Any]


def bench_settings(
    recipe: Recipe, *, rounds: int = 9, tick: Callable[[], Any] = lambda: None
) -> list[Measured]:
    """Time a recipe's own steps by each setting in turn; nothing of them is kept.

    Args:
        recipe: whose network, loss, optimizer and batches; a setting that it names is not varied.
        rounds: steps timed of each.
        tick: is called after each step.

    Returns:
        The rule's settings first, then the others, the fastest first.

    Raises:
        ValueError: a recipe that cannot be built.
    """
    state = build(recipe)
    batch = next(train_batches(recipe, state.sets["train"]))
    rule = state.settings
    precisions = {rule.precision, "float32"} if recipe.precision == "auto" else {rule.precision}
    layouts = {True, False} if recipe.channels_last is None else {rule.channels_last}
    kernels = {True, False} if recipe.fused is None else {rule.fused}
    ways = [
        (engine.Settings(*choice), False)
        for choice in itertools.product(sorted(precisions), sorted(layouts), sorted(kernels))
    ]
    if state.device.type == "cuda":  # on a CPU it takes minutes, and gains nothing
        ways.append((rule, True))
    steppers = {}
    for settings, compiled in ways:
        network = copy.deepcopy(state.model)
        steppers[settings, compiled] = our_stepper(
            torch.compile(network) if compiled else network,
            batch,
            settings,
            optimizer=build_optimizer(recipe, network, fused=settings.fused),
            loss=build_loss(recipe, network, state.class_counts()),
        )
    samples = take_turns(steppers, rounds, tick=tick)
    clock: Clock = "wall" if state.device.type == "cuda" else "cpu"
    base, rows = samples[rule, False], []
    for (settings, compiled), own in samples.items():
        changes = {
            field: value for field, value in settings._asdict().items()
            if value != getattr(rule, field)
        }  # fmt: skip
        name = f"{settings}, compiled" if compiled else str(settings)
        changes |= {"compile": True} if compiled else {}
        rows.append(Measured(name, median(own, clock), ratio(base, own, clock), changes))
    first, *others = sorted(rows, key=lambda row: (bool(row.changes), row.seconds))
    return [first, *others]


def settings_table(recipe: Recipe, rows: list[Measured]) -> str:
    """The rows, and the command line that takes the fastest where it is faster beyond noise."""
    width = max(len(row.name) for row in rows) + 2
    lines = [f"{recipe.name}: a step by each setting; how many times faster than the rule's"]
    for row in rows:
        faster = row.ratio if row.changes else "the rule"
        lines.append(f"{row.name:<{width}}{1e3 * row.seconds:8.1f} ms   {faster}")
    best = max(rows[1:], key=lambda row: row.ratio.low, default=None)
    if best is None or best.ratio.low <= NOISE:
        return "\n".join([*lines, "no setting is faster than the rule beyond noise"])
    words = ["segbook", "train", recipe.name]
    for field, value in best.changes.items():
        words += ["--set", f"{field}={str(value).lower()}"]
    return "\n".join([*lines, shell(*words)])
