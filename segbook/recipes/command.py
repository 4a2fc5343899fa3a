"""``segbook recipes``, and the option by which every command changes a recipe's fields."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence

import click

from segbook import schema
from segbook.recipes import Recipe, get, names, override
from segbook.recipes.recipe import in_proportion
from segbook.text import one_line

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
    return override(get(recipe), all_changes(recipe, changes))


def all_changes(name: str, changes: Sequence[str], *, quiet: bool = False) -> dict[str, str]:
    """`read_changes`, and what follows from them, which is said on standard error.

    A recipe that is cut short is validated as often as before, and warms up no longer than it
    trains. So does a chapter's, see `segbook.recipes.recipe.in_proportion`. A crop, or a scale, is
    that of the whole training: phases, which have their own, go.

    Raises:
        ValueError: no such recipe or field, or a value of another type.
    """
    given = read_changes(changes)
    recipe, follows = get(name), {}
    if "steps" in given:
        steps = override(recipe, {"steps": given["steps"], "warmup": 0}).steps
        follows = {
            field: str(value)
            for field, value in in_proportion(recipe, steps).items()
            if field not in given and value < getattr(recipe, field) and steps < recipe.steps
        }
        if recipe.warmup < steps:  # short enough as it is
            follows.pop("warmup", None)
        _say(recipe, follows, f"in proportion to steps={steps} of {recipe.steps}", quiet)
    if recipe.phases and "phases" not in given and (whole := {"crop", "scale"} & given.keys()):
        phases = {"phases": "()"}
        follows |= phases
        _say(recipe, phases, f"since {' and '.join(sorted(whole))} is set for all steps", quiet)
    return {**given, **follows}


def _say(recipe: Recipe, follows: Mapping[str, str], why: str, quiet: bool) -> None:
    if follows and not quiet:
        said = " and ".join(f"{field}={value}" for field, value in follows.items())
        click.echo(
            f"{one_line(recipe.name)}: {said}, {why}; --set {next(iter(follows))}=VALUE says "
            "otherwise",
            err=True,
        )


class Group(click.Group):
    """A group in which ``recipes NAME`` is ``recipes show NAME``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take what is no command for a recipe's name."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


@click.group("recipes", cls=Group, invoke_without_command=True)
@click.pass_context
def recipes(ctx: click.Context) -> None:
    """List the recipes that `segbook train` knows; with a NAME explain that one's fields."""
    if ctx.invoked_subcommand:
        return
    found = [get(name) for name in names()]
    width = max(len(recipe.name) for recipe in found) + 2
    for recipe in found:
        click.echo(
            f"{recipe.name:<{width}}{recipe.model} on {recipe.data}, "
            f"{recipe.steps} steps of {recipe.batch_size * recipe.accumulate}"
        )


@recipes.command("show")
@click.argument("name")
@changes_option
def show(name: str, changes: tuple[str, ...]) -> None:
    """Print each field of recipe NAME, what it takes and what it means.

    A * marks what differs from the default, or has none.
    """
    recipe, kinds = changed(name, changes), schema.fields(Recipe)
    for field in dataclasses.fields(Recipe):
        value, kind, default = getattr(recipe, field.name), kinds[field.name], field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        differs = value != default
        usual = f"   (default {default!r})" * (differs and default is not dataclasses.MISSING)
        click.echo(f"{'*' if differs else ' '} {field.name} = {value!r}{usual}")
        click.echo(textwrap.indent(textwrap.fill(schema.meaning(kind), 88), " " * 8))
    click.echo("\n* differs from the default, or has none; change a field with --set FIELD=VALUE")
