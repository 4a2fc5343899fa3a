"""`segbook bench settings RECIPE`: other settings of its training steps, beside the rule's."""

from __future__ import annotations

import copy
import itertools

import torch

from segbook.bench.clock import Clock, Row, Spread, compared, take_turns
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


def bench_settings(recipe: Recipe, *, rounds: int = 9) -> list[Row]:
    """Time a recipe's own steps by each setting in turn; nothing of them is kept.

    Args:
        recipe: whose network, loss, optimizer and batches; a setting that it names is not varied.
        rounds: steps timed of each.

    Returns:
        Rows of `compared`, the rule's settings first, then the others, the fastest first; "changes"
        are the fields of the recipe that choose each, beyond the rule.

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
    samples = take_turns(steppers, rounds)
    clock: Clock = "wall" if state.device.type == "cuda" else "cpu"
    base, rows = samples[rule, False], []
    for (settings, compiled), own in samples.items():
        changes = {
            field: value for field, value in settings._asdict().items()
            if value != getattr(rule, field)
        }  # fmt: skip
        name = f"{settings}, compiled" if compiled else str(settings)
        changes |= {"compile": True} if compiled else {}
        rows.append(compared(name, own, base, clock) | {"changes": changes})
    return sorted(rows, key=lambda row: (bool(row["changes"]), row["ours"]))


def settings_table(recipe: Recipe, rows: list[Row]) -> str:
    """The rows, and the command line that takes the fastest where it is faster beyond noise."""
    width = max(len(row["what"]) for row in rows) + 2
    lines = [f"{recipe.name}: a step by each setting; how many times faster than the rule's"]
    for row in rows:
        faster = Spread(**row["ratio"]) if row["changes"] else "the rule"
        lines.append(f"{row['what']:<{width}}{1e3 * row['ours']:8.1f} ms   {faster}")
    best = max(rows, key=lambda row: row["ratio"]["low"])
    if best["ratio"]["low"] <= NOISE:  # as the rule's own, which is 1
        return "\n".join([*lines, "no setting is faster than the rule beyond noise"])
    words = ["segbook", "train", recipe.name]
    for name, value in best["changes"].items():
        words += ["--set", f"{name}={str(value).lower()}"]
    return "\n".join([*lines, shell(*words)])
