"""A notebook's training: a recipe, made as short as its reader has time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from segbook import recipes
from segbook.recipes.recipe import Recipe, in_proportion
from segbook.runs.folder import RunFolder
from segbook.training.state import TrainingState, build


class LessonRun(NamedTuple):
    """What `lesson_run` gives.

    Attributes:
        state: of the training, whose ``recipe`` is what will be trained.
        folder: of the run.
    """

    state: TrainingState
    folder: RunFolder


def lesson_run(
    recipe: str | Recipe,
    *,
    steps: int = 0,
    seed: int = 0,
    data_root: str = "",
    overrides: Mapping[str, Any] | None = None,
) -> LessonRun:
    """Build a recipe for a notebook, and print what was changed of it.

    Args:
        recipe: a name that ``segbook recipes`` lists, ``"my_recipe.py"``, or a recipe.
        steps: optimizer steps, 1 or more, see `shorten`; 0 trains as long as the recipe says.
        seed: of weights, order and augmentation.
        data_root: the folder of the data set; empty for the recipe's own.
        overrides: other fields of the recipe, which come last.

    Raises:
        ValueError: no such recipe or field, a value out of its range, or data that are not there.
    """
    published = recipe if isinstance(recipe, Recipe) else recipes.get(recipe)
    changes = {"seed": seed} | ({"data_root": data_root} if data_root else {})
    chosen = shorten(recipes.override(published, changes), steps) if steps else published
    chosen = recipes.override(chosen, {**changes, **(overrides or {})})
    folder = RunFolder.for_notebook(chosen.name)
    state = build(chosen, folder)
    changed = [
        f"{name}={now!r} (not {before!r})"
        for name, before in vars(published).items()
        if (now := getattr(chosen, name)) != before
    ]
    print(f"{chosen.name}: {', '.join(changed) or 'as it is published'}")
    return LessonRun(state, folder)


def shorten(recipe: Recipe, steps: int) -> Recipe:
    """A recipe over so many steps, see `segbook.recipes.recipe.in_proportion`.

    Args:
        recipe: to be trained.
        steps: 1 or more; it may be more than the recipe's own.
    """
    return recipes.override(recipe, {"steps": steps, **in_proportion(recipe, steps)})
