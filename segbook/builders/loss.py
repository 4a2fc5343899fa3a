"""A recipe's loss over a network's main and auxiliary outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from segbook.recipes.recipe import Recipe
from segkit import losses

LOSSES: dict[str, Callable[..., Tensor]] = {
    function.__name__: function
    for function in [
        losses.bootstrapped_cross_entropy,
        losses.cross_entropy,
        losses.dice,
        losses.focal,
        losses.jaccard,
        losses.lovasz_softmax,
        losses.ohem_cross_entropy,
        losses.tversky,
    ]
}
"""The main losses that a recipe may name."""


def check_loss(recipe: Recipe) -> None:
    """Refuse options that a recipe's loss does not take.

    Raises:
        ValueError: the message says what it takes.
    """
    taken = _options(recipe.loss)
    if unknown := sorted(recipe.loss_options.keys() - taken):
        raise ValueError(
            f"loss_options hold {', '.join(unknown)}, but {recipe.loss} takes "
            f"{', '.join(taken) or 'none'} (class weights are the field class_weights)"
        )
    logits, labels = torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64)
    try:
        LOSSES[recipe.loss](logits, labels, **recipe.loss_options)
    except (ValueError, TypeError) as error:
        raise ValueError(f"loss_options={recipe.loss_options}: {error}") from error


def _options(loss: str) -> list[str]:
    """What a recipe may say to a loss: all but what the data decide."""
    weights = "alpha" if loss == "focal" else "weight"
    parameters = inspect.signature(LOSSES[loss]).parameters.values()
    keywords = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    return [name for name in keywords if name not in (weights, "ignore")]


def build_loss(
    recipe: Recipe, model: nn.Module, counts: list[Tensor]
) -> Callable[..., tuple[Tensor, dict[str, Tensor]]]:
    """The recipe's loss over a network's main and auxiliary outputs, from `count_classes`."""
    function = LOSSES[recipe.loss]
    weighted = {}
    if counts:
        pixels, present = counts
        if recipe.class_weights == "median":
            weight = losses.median_frequency_weights(pixels, present)
        else:
            weight = losses.inverse_log_frequency_weights(pixels)
        argument = "alpha" if function is losses.focal else "weight"
        weighted[argument] = weight.float().to(next(model.parameters()).device)

    def main(logits: Tensor, labels: Tensor) -> Tensor:
        return function(logits, labels, **recipe.loss_options, **weighted)

    aux: dict[str, losses.AuxLoss] = dict(cast(Any, model).aux_losses)  # by contract
    if recipe.aux_weight is not None:
        aux = {name: term._replace(weight=recipe.aux_weight) for name, term in aux.items()}
    return losses.combine(main, aux)
