"""A recipe's data sets, the transform that they are trained with, and their class counts."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from segbook.recipes import RECIPES, get
from segbook.recipes.recipe import Crop, Recipe
from segbook.text import one_line, operand, shell
from segkit import transforms
from segkit.data import Description, Subset, find_description
from segkit.data import catalog as data_catalog
from segkit.data.statistics import class_pixels, image_statistics
from segkit.transforms import volumes
from segkit.weights import bundled, read_header

MEASURED = 200
"""Training images, evenly spread, of which mean and deviation are measured."""


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


def settle_images(recipe: Recipe) -> tuple[Recipe, str]:
    """The recipe with the mean and deviation, one number a channel, of data with a ``data.yaml``.

    Those are the file's. Where it has none, the recipe's own, and for one that has ImageNet's these
    with pretrained weights for RGB, and the training images' own otherwise.

    Returns:
        The recipe, and a line about where the numbers come from; "" of other data.

    Raises:
        ValueError: the data cannot be opened; both say other numbers, or weights of a network are
            for RGB and the images are none.
    """
    path = find_description(recipe.data_root) if recipe.data_root else None
    if not path or recipe.is_of_volumes or not data_catalog.find(recipe.data).own:
        return recipe, ""
    description = Description(path, recipe.ignore)
    own = recipe.mean != tuple(transforms.MEAN) or recipe.std != tuple(transforms.STD)
    if (file := description.file).mean and file.std:
        given = tuple(file.mean), tuple(file.std)
        known = get(recipe.name) if recipe.name in RECIPES else None
        if own and (recipe.mean, recipe.std) != given and known and known.mean != recipe.mean:
            raise ValueError(
                f"mean {recipe.mean} and std {recipe.std}, but {one_line(path)} has "
                f"{given[0]} and {given[1]}: change the file, or take mean and std out of it"
            )
        return _with(recipe, given), f"mean and std are those of {one_line(path)}"
    train_set = description.open("train" if "train" in description.splits else None, cache=False)
    channels = train_set.channels
    if own and len(recipe.mean) == channels:
        return recipe, ""
    begins_with = bundled.find(recipe.weights) or Path(recipe.weights)
    if recipe.weights and begins_with.is_file():
        stored: Any = read_header(begins_with).get("normalisation") or {}
        if "channels" not in stored and len(stored.get("mean", ())) == channels:
            numbers = tuple(stored["mean"]), tuple(stored["std"])
            return _with(recipe, numbers), f"mean and std are those of {one_line(recipe.weights)}"
    if (recipe.weights or recipe.weights_backbone) and channels == len(transforms.MEAN):
        return recipe, "mean and std are ImageNet's, for pretrained weights"
    if recipe.weights:  # of a backbone the first kernel is brought to any number of channels
        raise ValueError(
            f"images of {channels} channels cannot begin with weights of a whole network, which "
            "are for RGB: " + shell("--set", "weights=")
        )
    some = Subset(train_set, MEASURED, keep=False)
    mean, std = image_statistics(some)
    numbers = f"mean {_three(mean)} and std {_three(std)}"
    return _with(recipe, (mean, std)), f"{numbers}, measured from {len(some)} training images"


def _with(recipe: Recipe, numbers: tuple[tuple[float, ...], tuple[float, ...]]) -> Recipe:
    return dataclasses.replace(recipe, mean=numbers[0], std=numbers[1])


def _three(numbers: tuple[float, ...]) -> str:
    return f"({', '.join(f'{number:.3f}' for number in numbers)})"


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
    recipe: Recipe, crop: Crop, scale: tuple[float, float], focus: int | None = None
) -> transforms.Compose:
    """The recipe's transform of training for one of its phases; of a class that crops show."""
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
        focus=focus,
    )


def build_normalisation(recipe: Recipe) -> transforms.Compose:
    """The recipe's transform of evaluation."""
    if recipe.is_of_volumes:
        return volumes.evaluate_volumes()
    return transforms.evaluate(mean=recipe.mean, std=recipe.std)


def count_classes(recipe: Recipe, train_set: Any) -> list[Tensor]:
    """What a recipe's class weights are made from, see `class_pixels`; empty where it has none."""
    return [] if recipe.class_weights == "none" else list(class_pixels(train_set))
