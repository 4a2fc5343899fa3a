"""A recipe's loss over a network's main and auxiliary outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn

from segbook.recipes.recipe import Recipe
from segkit import losses

LOSSES: dict[str, Callable[..., Tensor]] = {
    function.__name__: function
    for function in [
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
        return function(logits, labels, **weighted)

    aux: dict[str, losses.AuxLoss] = dict(cast(Any, model).aux_losses)  # by contract
    if recipe.aux_weight is not None:
        aux = {name: term._replace(weight=recipe.aux_weight) for name, term in aux.items()}
    return losses.combine(main, aux)
