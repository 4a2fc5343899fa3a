"""A recipe's data sets, the transform that they are trained with, and their class counts."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from segbook.recipes.recipe import Crop, Recipe
from segbook.text import operand, shell
from segkit import transforms
from segkit.data import catalog as data_catalog
from segkit.data.statistics import class_pixels
from segkit.transforms import volumes


def build_data(recipe: Recipe) -> dict[str, Any]:
    """The data sets of a recipe by split.

    Raises:
        ValueError: an unknown name, no data, or not where the recipe says.
    """
    entry = data_catalog.find(recipe.data)
    root = recipe.data_root
    if entry.is_of_volumes != recipe.is_of_volumes and not entry.is_outside:
        kind, sides = (
            ("volumes", "(depth, height, width), such as 64,64,64")
            if (entry.is_of_volumes)
            else ("images", "(height, width), such as 256,256")
        )
        raise ValueError(
            f"crop={recipe.crop}: data={recipe.data!r} are {kind}, and a crop of them is {sides}"
        )
    try:
        return entry.open_splits(
            root, size=recipe.image_size, length=recipe.length, ignore=recipe.ignore
        )
    except ValueError as error:
        if not (entry.own and root and Path(root).is_dir()):
            raise
        lists = f"`{shell('segbook', 'doctor', operand(root))}` lists all that is wrong"
        raise ValueError(f"{error}. {lists}") from error


def watched_indices(recipe: Recipe, val_set: Any) -> list[int]:
    """Where the validation images are that a recipe watches, in its order.

    Raises:
        ValueError: the validation set has no image of such a name.
    """
    if not recipe.watch:
        return []
    if recipe.is_of_volumes:
        raise ValueError(f"watch={recipe.watch}: what is watched are images, no volumes")
    places = {val_set.stem(i): i for i in range(len(val_set))}
    for name in recipe.watch:
        if name not in places:
            some = ", ".join(map(repr, difflib.get_close_matches(name, places, 3, 0)))
            raise ValueError(
                f"watch names {name!r}, which is no validation image of {recipe.data}; there are "
                f"{some}"
            )
    return [places[name] for name in recipe.watch]


def build_augmentation(
    recipe: Recipe, crop: Crop, scale: tuple[float, float]
) -> transforms.Compose:
    """The recipe's transform of training for one of its phases."""
    if recipe.is_of_volumes:
        return volumes.train_volumes(
            cast(tuple[int, int, int], crop),
            scale,
            foreground=recipe.foreground,
            rotation=recipe.rotation,
            elastic=recipe.elastic,
            flip=cast(Any, recipe.flip),
            jitter=recipe.jitter,
        )
    return transforms.train(
        cast(tuple[int, int], crop),
        scale,
        flip=cast(float, recipe.flip),
        jitter=recipe.jitter,
        mean=recipe.mean,
        std=recipe.std,
        elastic=recipe.elastic or None,
        hue=recipe.jitter_hue,
        jitter_probability=recipe.jitter_probability,
        scale_step=recipe.scale_step,
        undersized=recipe.undersized,
        antialias=recipe.antialias,
    )


def build_normalisation(recipe: Recipe) -> transforms.Compose:
    """The recipe's transform of evaluation."""
    if recipe.is_of_volumes:
        return volumes.evaluate_volumes()
    return transforms.evaluate(mean=recipe.mean, std=recipe.std)


def count_classes(recipe: Recipe, train_set: Any) -> list[Tensor]:
    """What a recipe's class weights are made from, see `class_pixels`; empty where it has none."""
    return [] if recipe.class_weights == "none" else list(class_pixels(train_set))
