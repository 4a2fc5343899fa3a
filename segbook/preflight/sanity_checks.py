"""The sanity checks of a recipe: its network, loss and optimizer on a few small pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from segbook.builders.data import build_data, count_classes, settle_images
from segbook.builders.loss import build_loss
from segbook.builders.model import build_model, load_start
from segbook.builders.optimizer import build_optimizer
from segbook.recipes.recipe import Recipe
from segkit import data, doctor, random_state, transforms
from segkit.data.subset import Subset
from segkit.doctor import Finding
from segkit.engine.freeze import freeze

SIDE = 160
"""Pixels of the longer side of a crop, where the network takes such small ones."""
TRAINED, HELD_OUT, BATCH = 24, 8, 4
WEIGHED = 64
"""Masks from which class weights are taken."""


def run_sanity_checks(
    recipe: Recipe, *, sets: Mapping[str, Any] | None = None, steps: int = 100
) -> Iterator[Finding]:
    """Run `segkit.doctor.run_sanity_checks` on what a recipe builds.

    Crops are small and show as much of a scene as they can; there is neither augmentation nor a
    schedule. It takes about as long as 400 steps of 4 such crops.

    Args:
        recipe: whose network, loss, optimizer, learning rate and seed are taken.
        sets: its data sets by split; None builds them.
        steps: as `segkit.doctor.run_sanity_checks` takes them.

    Raises:
        ValueError: the recipe cannot be built, or there are too few pairs.
    """
    if recipe.is_of_volumes:
        raise ValueError("they are for images, and the recipe's data are volumes")
    recipe, _ = settle_images(recipe)
    sets = sets or build_data(recipe)
    num_classes = sets["train"].num_classes
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def model() -> nn.Module:
        network = build_model(recipe, num_classes)
        if recipe.weights:
            load_start(recipe, network, sets["train"].classes)
        freeze(network, recipe.freeze)
        return network.to(device)

    crop = _crop(recipe, num_classes)
    with random_state.preserved():
        counts = count_classes(recipe, Subset(sets["train"], WEIGHED, keep=False))
        loss = build_loss(recipe, model(), counts)
    return doctor.run_sanity_checks(
        model,
        _draw(recipe, sets["train"], TRAINED, crop),
        _draw(recipe, sets["val"], HELD_OUT, crop),
        build_optimizer=lambda network: build_optimizer(recipe, network),
        loss=loss,
        steps=steps,
        batch_size=BATCH,
        pretrained=bool(recipe.weights),
        seed=recipe.seed,
    )


def _crop(recipe: Recipe, num_classes: int) -> tuple[int, int]:
    """The recipe's crop, smaller where that is large and the network takes it."""
    height, width = recipe.crop
    factor = SIDE / max(height, width)
    if factor >= 1:
        return height, width
    small = (round(height * factor), round(width * factor))
    with torch.device("meta"):
        network = build_model(recipe, num_classes, pretrained=False)
    refused = doctor.dry_run(network, (BATCH, len(recipe.mean), *small)).refusal
    return (height, width) if refused else small


def _draw(recipe: Recipe, dataset: Any, count: int, crop: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Some pairs, evenly spread, each scaled so that it just fills the crop."""
    chosen = Subset(dataset, count, keep=False)

    def fill(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        scale = max(crop[0] / mask.shape[0], crop[1] / mask.shape[1])
        plain = transforms.train(
            crop, (scale, scale), flip=0, jitter=0, mean=recipe.mean, std=recipe.std
        )
        return plain(image, mask)

    images, labels = zip(*data.sequential(chosen.with_transform(fill), len(chosen)), strict=True)
    return torch.cat(images), torch.cat(labels)
