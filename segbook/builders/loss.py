"""A recipe's loss over a network's main and auxiliary outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from segbook.recipes.recipe import Recipe
from segkit import losses, outside
from segkit.outputs import IGNORE

LOSSES: dict[str, Callable[..., Tensor]] = {
    function.__name__: function
    for function in [
        losses.bootstrapped_cross_entropy,
        losses.cross_entropy,
        losses.dice,
        losses.dice_cross_entropy,
        losses.focal,
        losses.jaccard,
        losses.lovasz_softmax,
        losses.ohem_cross_entropy,
        losses.tversky,
    ]
}
"""The main losses that a recipe may name, beside its user's own."""
KEYWORD_TOO = inspect.Parameter.POSITIONAL_OR_KEYWORD


def loss_function(name: str) -> Callable[..., Tensor]:
    """The main loss of a name: one of `LOSSES`, or of the user's own code.

    Raises:
        ValueError: there is no such code, or it is called otherwise.
    """
    if outside.is_outside(name):
        return outside.find(name)
    return LOSSES[name]


def check_loss(recipe: Recipe) -> None:
    """Refuse options that a recipe's loss does not take, and a loss of one's own that is none.

    Raises:
        ValueError: the message says what it takes.
    """
    taken = _options(recipe.loss)
    if unknown := sorted(recipe.loss_options.keys() - taken):
        raise ValueError(
            f"loss_options hold {', '.join(unknown)}, but {recipe.loss} takes "
            f"{', '.join(taken) or 'none'} (class weights are the field class_weights)"
        )
    function, name = loss_function(recipe.loss), outside.short(recipe.loss)
    own = outside.is_outside(recipe.loss)
    if own and recipe.class_weights != "none" and _weight_of(function) not in _keywords(function):
        raise ValueError(
            f"class_weights={recipe.class_weights!r}: {name} takes no weight, a tensor (K,); leave "
            "it at none, or let it take one by name"
        )
    shape = (2, 2, 8, 8) if own else (1, 2, 1, 1)
    logits = torch.zeros(shape, requires_grad=True)
    labels = torch.zeros(shape[:1] + shape[2:], dtype=torch.int64)
    if own:
        labels[:, :4] = IGNORE
    try:
        value = function(logits, labels, **recipe.loss_options)
    except (ValueError, TypeError) as error:
        what = f"loss={name!r}, " * own + f"loss_options={recipe.loss_options}"
        raise ValueError(f"{what}: {error}") from error
    except (Exception, SystemExit) as error:
        if not own:
            raise
        raise ValueError(f"loss={name!r} fails: {type(error).__name__}: {error}") from error
    if own and not (isinstance(value, Tensor) and value.ndim == 0 and value.requires_grad):
        shaped = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
        raise ValueError(
            f"loss={name!r} gives a {type(value).__name__}{shaped}: a loss takes logits (B, K, H, "
            "W) and labels (B, H, W), 255 for void, and gives a scalar tensor with a gradient"
        )


def _options(loss: str) -> list[str]:
    """What a recipe may say to a loss: all but what the data decide."""
    function = loss_function(loss)
    return [name for name in _keywords(function) if name not in (_weight_of(function), "ignore")]


def _keywords(function: Callable[..., Tensor]) -> list[str]:
    """What a loss takes by name: all behind logits and labels."""
    parameters = [*inspect.signature(function).parameters.values()][2:]
    return [each.name for each in parameters if each.kind in (each.KEYWORD_ONLY, KEYWORD_TOO)]


def _weight_of(function: Callable[..., Tensor]) -> str:
    """The argument that takes class weights."""
    return "alpha" if function is losses.focal else "weight"


def build_loss(
    recipe: Recipe, model: nn.Module, counts: list[Tensor]
) -> Callable[..., tuple[Tensor, dict[str, Tensor]]]:
    """The recipe's loss over a network's main and auxiliary outputs, from `count_classes`."""
    function = loss_function(recipe.loss)
    weighted = {}
    if counts:
        pixels, present = counts
        if recipe.class_weights == "median":
            weight = losses.median_frequency_weights(pixels, present)
        else:
            weight = losses.inverse_log_frequency_weights(pixels)
        weighted[_weight_of(function)] = weight.float().to(next(model.parameters()).device)

    own = outside.is_outside(recipe.loss)

    def main(logits: Tensor, labels: Tensor) -> Tensor:
        if own:  # ours know what to do with bfloat16
            logits = logits.float()
        return function(logits, labels, **recipe.loss_options, **weighted)

    aux: dict[str, losses.AuxLoss] = dict(cast(Any, model).aux_losses)  # by contract
    if recipe.aux_weight is not None:
        aux = {name: term._replace(weight=recipe.aux_weight) for name, term in aux.items()}
    return losses.combine(main, aux)
