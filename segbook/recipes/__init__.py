"""Recipes: plain functions, one file a paper, each number with its source.

Importing this imports no torch, so that the command line can list and check recipes at once.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from types import FunctionType

from segbook.recipes.recipe import Phase, Recipe, is_file, override

_PAPERS = [
    importlib.import_module(f"{__name__}.{file.name}")
    for file in pkgutil.iter_modules(__path__)
    if file.name not in ("command", "file", "recipe")
]
RECIPES: dict[str, Callable[[], Recipe]] = {
    name: function
    for paper in _PAPERS
    for name, function in vars(paper).items()
    if isinstance(function, FunctionType)
    and function.__module__ == paper.__name__
    and not name.startswith("_")
}
"""Every public function of a paper's file, by name: a new file needs to be listed nowhere."""


def names() -> list[str]:
    """The names of all recipes, sorted."""
    return sorted(RECIPES)


def get(name: str) -> Recipe:
    """A recipe by name.

    Args:
        name: one of `names`, or a file of your own: ``"my_recipe.py"``, or
            ``"my_recipe.py:small"`` where it holds several.

    Raises:
        ValueError: no such recipe; the message names up to three that are close.
    """
    if is_file(name):
        from segbook.recipes.file import recipe_of  # imports torch

        return recipe_of(name)
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=3, cutoff=0.5)
        raise ValueError(
            f"there is no recipe {name!r}{'; the closest: ' * bool(close)}{', '.join(close)}. "
            "`segbook recipes` lists them all; my_recipe.py is one of your own."
        )
    return RECIPES[name]()


__all__ = ["RECIPES", "Phase", "Recipe", "get", "is_file", "names", "override"]
