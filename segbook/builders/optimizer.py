"""A recipe's optimizer, schedule and settings: which weight learns at which rate, and how."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from segbook.recipes.recipe import Recipe
from segkit import engine
from segkit.engine.schedules import Schedule


def build_optimizer(
    recipe: Recipe, model: nn.Module, *, fused: bool = False
) -> torch.optim.Optimizer:
    """SGD or AdamW over the weights that are trained.

    Args:
        recipe: whose optimizer.
        model: the network; what does not require a gradient is left out.
        fused: torch's fused kernels, which update all weights at once.

    Raises:
        ValueError: ``head_lr`` or ``stage_lr`` for a network that has no backbone, or nothing to
            train.
    """
    groups = group_weights(recipe, model)
    if not groups:
        raise ValueError(f"every weight of {recipe.model} is frozen: there is nothing to train")
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, fused=fused or None)
    return torch.optim.AdamW(groups, fused=fused or None)  # None: torch chooses among the others


def group_weights(recipe: Recipe, model: nn.Module) -> list[dict[str, Any]]:
    """The weights that are trained, in groups of one learning rate and one decay.

    Returns:
        Groups as optimizers take them, first that of the network's first weight; one group where
        the recipe makes no difference between weights.

    Raises:
        ValueError: ``head_lr`` or ``stage_lr`` for a network that has no backbone.
    """
    backbone = getattr(model, "backbone", None)
    for field in ("head_lr", "stage_lr"):
        if getattr(recipe, field) != 1 and not isinstance(backbone, nn.Module):
            raise ValueError(
                f"{field}={getattr(recipe, field)} is for a network with a backbone, and "
                f"{recipe.model} has no backbone: leave it at 1"
            )
    depths: dict[str, int] = {}
    if recipe.stage_lr != 1 and backbone is not None:
        from segkit.backbones.stages import stage_depths

        depths = stage_depths(backbone)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            lr = recipe.lr * recipe.head_lr
            if name.startswith("backbone."):
                lr = recipe.lr * recipe.stage_lr ** depths.get(name.removeprefix("backbone."), 0)
            decays = recipe.decay_norms or weight.ndim > 1
            groups.setdefault((lr, recipe.weight_decay * decays), []).append(weight)
    return [
        {"params": weights, "lr": lr, "weight_decay": decay}
        for (lr, decay), weights in groups.items()
    ]


def build_schedule(recipe: Recipe) -> Schedule:
    """The recipe's learning-rate schedule."""
    warmup = engine.Warmup(
        recipe.warmup, recipe.warmup_ramp, recipe.warmup_start, recipe.decay_from
    )
    if recipe.schedule == "poly":
        return engine.poly(recipe.steps, power=recipe.power, warmup=warmup)
    make = engine.cosine if recipe.schedule == "cosine" else engine.constant
    return make(recipe.steps, warmup=warmup)


def build_settings(recipe: Recipe, device: torch.device) -> engine.Settings:
    """What the recipe says of precision and memory format, and the rule for what it leaves open.

    Raises:
        ValueError: settings that torch computes wrongly.
    """
    settings = engine.default_settings(device, optimizer=recipe.optimizer)
    if recipe.precision != "auto":
        settings = settings._replace(precision=recipe.precision)
    given = {"channels_last": recipe.channels_last, "fused": recipe.fused}
    settings = settings._replace(**{k: value for k, value in given.items() if value is not None})
    if settings.precision == "float16" and settings.fused and recipe.optimizer == "sgd":
        if recipe.fused:
            raise ValueError(
                "fused=True: torch's fused SGD is wrong in float16, where a first step that is "
                "skipped leaves its momentum unwritten; take fused=none, or precision=bfloat16"
            )
        settings = settings._replace(fused=False)
    return settings
