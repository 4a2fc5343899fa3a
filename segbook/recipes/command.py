"""``segbook recipes``, and the option by which every command changes a recipe's fields."""

from __future__ import annotations

from collections.abc import Sequence

import click

from segbook.recipes import Recipe, get, names, override

changes_option = click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe."
)


def read_changes(changes: Sequence[str]) -> dict[str, str]:
    """Value by field of texts such as ``steps=200``.

    Raises:
        ValueError: a text without ``=``.
    """
    given = {}
    for change in changes:
        field, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"a field is given as FIELD=VALUE, got {change!r}")
        given[field.strip()] = text
    return given


def changed(recipe: str, changes: Sequence[str]) -> Recipe:
    """A recipe by name, with what ``--set`` changes of it.

    Raises:
        ValueError: no such recipe or field, or a value of another type.
    """
    return override(get(recipe), read_changes(changes))


@click.command("recipes")
def recipes() -> None:
    """List the recipes that `segbook train` knows."""
    found = [get(name) for name in names()]
    width = max(len(recipe.name) for recipe in found) + 2
    for recipe in found:
        click.echo(
            f"{recipe.name:<{width}}{recipe.model} on {recipe.data}, "
            f"{recipe.steps} steps of {recipe.batch_size * recipe.accumulate}"
        )
