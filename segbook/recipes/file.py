"""A recipe from a file of the user's own: `segbook train my_recipe.py`."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

from segbook.recipes.recipe import Recipe
from segbook.schema import OUTSIDE
from segkit import outside
from segkit.backbones import own_weights
from segkit.data import catalog as data_catalog
from segkit.weights import bundled, torchvision_weights


def recipe_of(name: str) -> Recipe:
    """The recipe that a file holds; the file is executed.

    Its code of your own, ``data_root`` and ``weights`` are named from the file's folder on.

    Args:
        name: ``my_recipe.py`` with one function that takes nothing and gives a recipe, or with
            ``RECIPE``; ``my_recipe.py:small`` where it has several.

    Raises:
        ValueError: no such file, no recipe or several in it, or what is there is none.
    """
    module, path = outside.load(name), outside.path_of(name)
    found = {key: each for key, each in vars(module).items() if _may_be(each, module, key)}
    wanted = name.rpartition(":")[2] if ":" in name else "RECIPE"
    if ":" not in name and len(found) == 1:
        [wanted] = found
    if wanted not in found:
        have = f"it has {', '.join(found)}" if found else "it has none"
        which = f"no recipe {wanted!r}" if ":" in name else "not one recipe"
        raise ValueError(
            f"{path.name} holds {which}, a function that takes nothing and gives a "
            f"segbook.recipes.Recipe: {have}; one of several is my_recipe.py:NAME"
        )
    made = found[wanted]
    with outside.explained(f"{path}:{wanted}"):
        recipe = made if isinstance(made, Recipe) else made()
    if not isinstance(recipe, Recipe):
        raise ValueError(
            f"{path.name}: {wanted}() gives a {type(recipe).__name__}, and not a "
            "segbook.recipes.Recipe"
        )
    return absolute(recipe, path.parent)


def absolute(recipe: Recipe, folder: str | Path = ".") -> Recipe:
    """The recipe with whole paths, which mean the same files in whatever folder a run goes on.

    Args:
        recipe: whose data, weights and code of one's own have paths; a name stays a name.
        folder: from which they count.

    Raises:
        ValueError: no data set has the recipe's name for it.
    """
    whole = {
        field: outside.absolute(name, folder)
        for field in OUTSIDE
        if outside.is_outside(name := getattr(recipe, field))
    }
    if recipe.data_root and data_catalog.find(recipe.data).needs_root:
        whole["data_root"] = str(Path(folder, recipe.data_root).absolute())
    weights = recipe.weights
    named = torchvision_weights.is_name(weights) or "://" in weights or bundled.find(weights)
    if weights and (Path(folder, weights).exists() or not named):
        whole["weights"] = str(Path(folder, weights).absolute())
    backbone = recipe.weights_backbone
    if own_weights.is_file(backbone) and "://" not in backbone:
        whole["weights_backbone"] = str(Path(folder, backbone).absolute())
    return dataclasses.replace(recipe, **whole)


def _may_be(value: Any, module: Any, key: str) -> bool:
    if key.startswith("_"):
        return False
    if not inspect.isfunction(value):
        return isinstance(value, Recipe)
    parameters = inspect.signature(value).parameters.values()
    own = value.__module__ == module.__name__
    return own and all(each.default is not each.empty for each in parameters)
