"""A recipe from a file of the user's own: `segbook train my_recipe.py`."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

from segbook.recipes.recipe import Recipe
from segbook.schema import OUTSIDE
from segkit import outside


def recipe_of(name: str) -> Recipe:
    """The recipe that a file holds; the file is executed.

    Its networks, losses, backbones and data of your own are named from the file's folder on.

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
    return with_paths(recipe, path.parent)


def with_paths(recipe: Recipe, folder: str | Path = ".") -> Recipe:
    """The recipe with the whole paths of its own code, which count from a folder on."""
    given = {field: getattr(recipe, field) for field in OUTSIDE}
    whole = {
        field: outside.absolute(name, folder)
        for field, name in given.items()
        if outside.is_outside(name)
    }
    return dataclasses.replace(recipe, **whole)


def _may_be(value: Any, module: Any, key: str) -> bool:
    if key.startswith("_"):
        return False
    if not inspect.isfunction(value):
        return isinstance(value, Recipe)
    parameters = inspect.signature(value).parameters.values()
    own = value.__module__ == module.__name__
    return own and all(each.default is not each.empty for each in parameters)
