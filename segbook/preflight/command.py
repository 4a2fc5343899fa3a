"""``segbook doctor``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbook import recipes

if TYPE_CHECKING:
    from segkit.doctor import Finding


@click.command()
@click.argument("target", metavar="RECIPE|FOLDER")
@click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe."
)
@click.option("--learn", "learning", is_flag=True, help="Climb the learning ladder, too.")
@click.option("--nproc", "processes", default=1, help="Processes that would train together.")
@click.option("--workers", type=int, help="Processes that look at pairs; 0 for this one.")
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")
def doctor(
    target: str,
    changes: tuple[str, ...],
    learning: bool,
    processes: int,
    workers: int | None,
    as_json: bool,
) -> None:
    """Find what would hurt a training before it starts: data, network, settings, machine.

    A FOLDER holds images/ and masks/, or train/, val/, ... with these in each; of a folder the
    data are looked at. --learn trains for a minute or more: does the loss start where it should,
    do gradients arrive, can two images be learned, do the labels belong to the images?

    Exit code 1 where there are errors.
    """
    from segbook.preflight.gate import count, to_json
    from segkit.doctor import by_severity

    recipe = None
    if target in recipes.RECIPES or not Path(target).is_dir():
        try:
            recipe = recipes.override(recipes.get(target), _read(changes))
        except ValueError as error:
            what = "" if target in recipes.RECIPES else " Nor is there such a folder."
            raise ValueError(f"{error}{what}") from None
    elif changes or learning:
        raise ValueError(
            f"{target} is a folder: --set and --learn are for recipes, such as "
            f"one_protocol_pp_liteseg_t --set data=folder --set data_root={target}"
        )
    if recipe is None:
        from segkit.doctor import inspect_folder

        findings = _with_bar(lambda tell: inspect_folder(target, workers=workers, progress=tell))
    else:
        from segbook.preflight.examination import examine

        findings = _with_bar(
            lambda tell: examine(recipe, processes=processes, workers=workers, progress=tell)
        )
        if learning:
            findings = by_severity([*findings, *_climb(recipe)])
    counts = count(findings)
    if as_json:
        content = {"target": target, "counts": counts, "findings": [to_json(f) for f in findings]}
        click.echo(json.dumps(content, indent=1))
    else:
        for finding in findings:
            click.echo(f"{finding}\n")
        said = [f"{n} {severity}{'s' * (n != 1)}" for severity, n in counts.items()]
        click.echo(f"{target}: {', '.join(said)}")
    if counts["error"]:
        sys.exit(1)


def _read(changes: tuple[str, ...]) -> dict[str, str]:
    from segbook.recipes.command import read_changes

    return read_changes(changes)


def _with_bar(look: Callable[[Callable[[int, int], None]], list[Finding]]) -> list[Finding]:
    from tqdm import tqdm

    with tqdm(unit="pair", leave=False, disable=not sys.stderr.isatty()) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return look(tell)


def _climb(recipe: recipes.Recipe) -> list[Finding]:
    from tqdm import tqdm

    from segbook.builders.check import check
    from segbook.preflight.learning import learn, to_finding
    from segkit.doctor import Finding

    findings = []
    try:
        check(recipe)
        rungs = learn(recipe)
        bar = tqdm(rungs, total=4, unit="rung", leave=False, disable=not sys.stderr.isatty())
        for rung in bar:
            findings.append(to_finding(rung))
    except (ValueError, OSError) as error:  # what was found before is worth more than it
        what = f"the ladder was not climbed{' any further' if findings else ''}: {error}"
        fix = "mend what it names, or leave out --learn"
        findings.append(Finding("note", "learning_not_tried", what, "", fix))
    return findings
