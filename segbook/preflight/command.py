"""``segbook doctor``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from segbook import recipes
from segbook.recipes.command import changed, changes_option
from segbook.text import one_line, shell

if TYPE_CHECKING:
    from segkit.doctor import Finding

T = TypeVar("T")


@click.command()
@click.argument("target", metavar="RECIPE|FOLDER")
@changes_option
@click.option("--learn", is_flag=True, help="Run the sanity checks that train, too.")
@click.option("--nproc", "processes", default=1, help="Processes that would train together.")
@click.option("--workers", type=int, help="Processes that look at pairs; 0 for this one.")
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")
def doctor(
    target: str,
    changes: tuple[str, ...],
    learn: bool,
    processes: int,
    workers: int | None,
    as_json: bool,
) -> None:
    """Find what would hurt a training before it starts: data, network, settings, machine.

    A FOLDER holds images/ and masks/, or train/, val/, ... with these in each, or a data.yaml
    (`segbook data` writes one), or volumes; of a folder the data are looked at. --learn trains for
    a minute or more: does the loss start where it should, do gradients arrive, can two images be
    learned, do the labels belong to the images?

    Exit code 1 where there are errors.
    """
    from segbook.preflight.gate import to_json
    from segkit.data.described import is_description
    from segkit.data.volumes import holds_volumes
    from segkit.doctor import by_severity, inspect_folder
    from segkit.doctor.finding import SEVERITIES, counted

    recipe = None
    folder = Path(target).is_dir() or (is_description(target) and Path(target).is_file())
    if target in recipes.RECIPES or not folder:
        try:
            recipe = changed(target, changes)
        except ValueError as error:
            if target in recipes.RECIPES:
                raise
            raise ValueError(f"{error} Nor is there such a folder{_close(target)}.") from None
    elif changes or learn:
        raise ValueError(
            f"{one_line(target)} is a folder: --set and --learn are for recipes, such as "
            + shell("segbook", "doctor", "one_protocol_pp_liteseg_t", "--set", "data=folder",
                    "--set", f"data_root={target}")
        )  # fmt: skip
    if recipe is None and holds_volumes(Path(target)):
        findings = with_bar(lambda bar: _of_volumes(Path(target), bar))
    elif recipe is None:
        findings = with_bar(lambda bar: inspect_folder(target, workers=workers, progress=bar))
    else:
        from segbook.preflight.checks import examine

        findings = with_bar(
            lambda bar: examine(recipe, processes=processes, workers=workers, progress=bar)
        )
        if learn:
            findings = by_severity([*findings, *_sanity_checks(recipe)])
    counts = {one: sum(found.severity == one for found in findings) for one in SEVERITIES}
    if as_json:
        content = {"target": target, "counts": counts, "findings": [to_json(f) for f in findings]}
        click.echo(json.dumps(content, indent=1))
    else:
        for finding in findings:
            click.echo(f"{finding}\n")
        click.echo(f"{one_line(target)}: {', '.join(counted(n, one) for one, n in counts.items())}")
    if counts["error"]:
        sys.exit(1)


def _of_volumes(root: Path, progress: Callable[[int, int], None]) -> list[Finding]:
    from segkit.data import VolumeDataset
    from segkit.doctor.volumes import inspect_volumes

    names = ("train", "val", "test")
    splits = [one for one in names if (root / one).is_dir() or (root / f"{one}.txt").is_file()]
    sets = {split: VolumeDataset(root, split, cache=False) for split in splits}
    return inspect_volumes(
        sets or {"all": VolumeDataset(root, cache=False)}, progress=progress
    ).findings


def _close(target: str) -> str:
    """The folders that a name may have meant."""
    path = Path(target)
    try:
        there = [one.name for one in path.parent.iterdir() if one.is_dir()]
    except OSError:
        return ""
    close = [one_line(path.parent / name) for name in get_close_matches(path.name, there)]
    return f"; there is {', '.join(close)}" if close else ""


def with_bar(look: Callable[[Callable[[int, int], None]], T]) -> T:
    """What looks at pairs, with a bar on a terminal."""
    from tqdm import tqdm

    with tqdm(unit="pair", leave=False, disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return look(progress)


def _sanity_checks(recipe: recipes.Recipe) -> list[Finding]:
    from tqdm import tqdm

    from segbook.builders.check import check
    from segbook.preflight.sanity_checks import run_sanity_checks
    from segkit.doctor import Finding

    findings: list[Finding] = []
    try:
        check(recipe)
        checks = run_sanity_checks(recipe)
        findings.extend(tqdm(checks, total=4, leave=False, disable=not sys.stderr.isatty()))
    except (ValueError, OSError) as error:  # what was found before is worth more than it
        what = f"the sanity checks were not run{' to their end' if findings else ''}: {error}"
        fix = "mend what it names, or leave out --learn"
        findings.append(Finding("note", "learning_not_tried", what, "", fix))
    return findings
