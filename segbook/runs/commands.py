"""``segbook forecast`` and ``segbook prove-resume``."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from collections.abc import Sequence

import click

from segbook.runs.stopping import spell_duration

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


@click.command()
@click.argument("recipe", required=False)
@changes_option
@click.option("--steps", default=20, show_default=True, help="Steps measured in each phase.")
@click.option("--check", is_flag=True, help="Forecast against truth of the finished runs.")
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")
def forecast(
    recipe: str | None, changes: tuple[str, ...], steps: int, check: bool, as_json: bool
) -> None:
    """Measure what training RECIPE will cost here: time, memory, disk; nothing is left behind.

    The interval is that of a machine which stays as fast as in the fastest tenth of the measured
    steps, or as slow as in their slowest tenth. Every run forecasts itself, too; --check shows
    how well the finished ones did.
    """
    if check == bool(recipe):
        raise click.UsageError("name a recipe, or give --check")
    if check:
        _check_forecasts(as_json)
        return
    from tqdm import tqdm

    from segbook import recipes
    from segbook.runs.measure import measure

    chosen = recipes.override(recipes.get(recipe), read_changes(changes))
    total = len(chosen.schedule_of_crops()) + 2
    with tqdm(total=total, leave=False, disable=not sys.stderr.isatty()) as bar:

        def tell(what: str) -> None:
            bar.set_description(what)
            bar.update()

        report = measure(chosen, steps=steps, tell=tell)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(report), indent=1))
    else:
        click.echo("\n".join(_describe(chosen, report)))


def _describe(recipe, report) -> list[str]:
    from segbook.runs.costs import times
    from segbook.runs.forecast import spell, spell_bytes

    images = recipe.batch_size * recipe.accumulate
    validations = times(recipe.evaluate_every or recipe.steps, 0, recipe.steps)
    notes = {
        "reading the data": "once, into the cache; the steps' own reading is left out",
        "validation": _often(validations),
        "checkpoints": _often(times(recipe.save_every, 0, recipe.steps)),
    }
    steps = f"{recipe.steps} step{'s' * (recipe.steps > 1)}"
    lines = [f"{recipe.name}: {steps} of {images} image{'s' * (images > 1)}"]
    for phase in report.phases:
        lines += [
            f"step of {phase.crop[0]}x{phase.crop[1]:<9}{spell_time(phase.seconds):>10}   "
            f"({spell_time(phase.low)} to {spell_time(phase.high)}; "
            f"CPU {spell_time(phase.cpu_seconds)})",
            f"  the same batch    {spell_time(phase.same_batch):>10}   "
            f"waiting for data: {100 * phase.waiting:.0f} % of a step, reading included",
        ]
    for part, seconds in report.parts.items():
        lines.append(f"{part:<20}{spell_time(seconds):>10}   {notes.get(part, '')}".rstrip())
    said = {key: getattr(report, key) for key in ("seconds", "low", "high", "memory", "disk")}
    lines.append(f"{spell(said)}; starting up is not counted")
    lines.append(
        f"checkpoints: last, previous and best; {spell_bytes(report.writing)} more "
        "while one is written"
        if report.disk
        else ""
    )
    return [line for line in [*lines, report.busy] if line]


def _often(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def spell_time(seconds: float) -> str:
    """``310 ms`` below a second, else as `spell_duration`."""
    return f"{1e3 * seconds:.0f} ms" if seconds < 1 else spell_duration(seconds)


def _check_forecasts(as_json: bool) -> None:
    from segbook.runs.forecast import WANTED, accuracies

    found = accuracies()
    if as_json:
        click.echo(json.dumps([row._asdict() for row in found], indent=1))
        return
    if not found:
        raise ValueError("no finished run has made a forecast; very short ones make none")
    width = max(len(row.name) for row in found) + 2
    click.echo(f"{'RUN':<{width}}{'FORECAST':>14}{'ACTUAL':>14}{'ERROR':>9}   INTERVAL")
    for row in found:
        click.echo(
            f"{row.name:<{width}}{spell_duration(row.seconds):>14}{spell_duration(row.actual):>14}"
            f"{100 * row.error:>+7.1f} %   "
            f"{'held' if row.low <= row.actual <= row.high else 'missed'}"
        )
    median = statistics.median(abs(row.error) for row in found)
    verdict = "below" if median < WANTED else "not below"
    click.echo(f"median error {100 * median:.1f} %: {verdict} the {100 * WANTED:.0f} % wanted")


@click.command("prove-resume")
@click.argument("recipe")
@changes_option
@click.option("--steps", default=12, show_default=True, help="Of the whole training, 2N.")
@click.option("--kill-at", type=int, help="Steps before the kill; half of them unless given.")
def prove_resume(recipe: str, changes: tuple[str, ...], steps: int, kill_at: int | None) -> None:
    """Show that a killed and resumed training of RECIPE has the bits of one that was not.

    Trains it for 2N steps; again, killed by SIGKILL after N and resumed. Compares every step and
    the last checkpoints. Takes a few steps of the recipe's own size, three times over, in a
    temporary folder.

    Exit code 1 where a bit differs.
    """
    from tqdm import tqdm

    from segbook import recipes
    from segbook.runs.prove import prove

    chosen = recipes.override(recipes.get(recipe), read_changes(changes))
    total, quiet = 2 * steps + 1, not sys.stderr.isatty()
    with tqdm(total=total, unit="step", leave=False, disable=quiet) as bar:

        def tell(what: str, left: int) -> None:
            bar.set_description(what)
            bar.total = bar.n + 1 + left
            bar.update()

        proof = prove(chosen, steps=steps, kill_at=kill_at, tell=tell)
    click.echo(
        f"{chosen.name}: {steps} steps in one go, and SIGKILL after step {proof.killed_at}, "
        f"resumed at step {proof.resumed_at}\n{proof.machine}\n"
    )
    for row in proof.rows:
        verdict = f"DIFFERS: {row.difference}" if row.difference else "ok"
        click.echo(f"{row.what:<34}{row.count:<26}{verdict}")
    if not proof.holds:
        click.echo("\nthe resumed training is not the one that was killed")
        sys.exit(1)
    click.echo("\nevery bit is the same")
