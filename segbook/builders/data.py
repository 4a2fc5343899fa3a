"""A recipe's data sets, the transform that they are trained with, and their class counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from segbook.recipes.recipe import Recipe
from segbook.text import operand, shell
from segkit import transforms
from segkit.data import catalog as data_catalog
from segkit.data.statistics import class_pixels


def build_data(recipe: Recipe) -> dict[str, Any]:
    """The data sets of a recipe by split.

    Raises:
        ValueError: an unknown name, no data, or not where the recipe says.
    """
    entry = data_catalog.find(recipe.data)
    root = recipe.data_root
    try:
        return entry.open_splits(root, size=recipe.image_size, length=recipe.length)
    except ValueError as error:
        if not (entry.own and root and Path(root).is_dir()):
            raise
        lists = f"`{shell('segbook', 'doctor', operand(root))}` lists all that is wrong"
        raise ValueError(f"{error}. {lists}") from error


def build_augmentation(
    recipe: Recipe, crop: tuple[int, int], scale: tuple[float, float]
) -> transforms.Compose:
    """The recipe's transform of training for one of its phases."""
    return transforms.train(
        crop, scale, flip=recipe.flip, jitter=recipe.jitter, elastic=recipe.elastic or None
    )


def count_classes(recipe: Recipe, train_set: Any) -> list[Tensor]:
    """What a recipe's class weights are made from, see `class_pixels`; empty where it has none."""
    return [] if recipe.class_weights == "none" else list(class_pixels(train_set))
