"""Recipes: plain functions, one file a paper, each number with its source.

Importing this imports no torch, so that the command line can list and check recipes at once.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from types import FunctionType

from segbook.recipes.recipe import Phase, Recipe, override

_PAPERS = [
    importlib.import_module(f"{__name__}.{file.name}")
    for file in pkgutil.iter_modules(__path__)
    if file.name not in ("command", "recipe")
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

    Raises:
        ValueError: no such recipe; the message names up to three that are close.
    """
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=3, cutoff=0.5)
        raise ValueError(
            f"there is no recipe {name!r}{'; the closest: ' * bool(close)}{', '.join(close)}. "
            "`segbook recipes` lists them all."
        )
    return RECIPES[name]()


__all__ = ["RECIPES", "Phase", "Recipe", "get", "names", "override"]
