"""``segbook forecast``."""

from __future__ import annotations

import json
import statistics
from typing import Any

import click

from segbook.recipes import Recipe
from segbook.recipes.command import changed, changes_option
from segbook.runs.stopping import format_duration
from segbook.text import one_line, shell

WAITING = 0.1
"""Share of a step that may be spent waiting without a word."""


@click.command()
@click.argument("recipe", required=False)
@changes_option
@click.option("--check", is_flag=True, help="Forecast against truth of the finished runs.")
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")
def forecast(recipe: str | None, changes: tuple[str, ...], check: bool, as_json: bool) -> None:
    """Measure what training RECIPE will cost here: time, memory, disk; nothing is left behind.

    The interval is that of a machine which stays as fast as in the fastest tenth of the measured
    steps, or as slow as in their slowest tenth. Every run forecasts itself, too; --check shows
    how well the finished ones did.
    """
    if check == bool(recipe):
        raise click.UsageError("name a recipe, or give --check")
    if not recipe:
        _check_forecasts(as_json)
        return
    from segbook.forecast.measure import measure
    from segbook.training.forecast import format_forecast
    from segkit.doctor.finding import counted

    chosen = changed(recipe, changes)
    measured = measure(chosen)
    if as_json:
        click.echo(json.dumps(measured, indent=1))
        return
    images = counted(chosen.batch_size * chosen.accumulate, "image")
    click.echo(f"{chosen.name}: {counted(chosen.steps, 'step')} of {images}")
    step, waiting = 1e3 * measured["step"], 1e3 * measured["waiting"]
    click.echo(f"{'a step':<20}{step:>11.0f} ms, without the loader {step - waiting:.0f} ms")
    for part, seconds in measured["parts"].items():
        click.echo(f"{part:<20}{format_duration(seconds):>14}")
    click.echo(f"{format_forecast(measured)}; starting up is not counted")
    for line in (_waiting(recipe, chosen, measured), measured["busy"]):
        if line:
            click.echo(line)


def _waiting(name: str, recipe: Recipe, measured: dict[str, Any]) -> str:
    """What to do where the steps wait for their data."""
    from segkit.doctor.machine import available_cores

    share, spare = measured["waiting"] / measured["step"], available_cores() - 1
    if share <= WAITING:
        return ""
    if recipe.workers < spare:
        workers = f"workers={min(spare, max(2, 2 * recipe.workers))}"
        cure = f"try {shell('segbook', 'forecast', name, '--set', workers)}"
    else:
        cure = "there is no core for more loader processes, smaller images would help"
    return f"{100 * share:.0f} % of a step waits for its data: {cure}"


def _check_forecasts(as_json: bool) -> None:
    from segbook.forecast.accuracy import WANTED, accuracies

    found = accuracies()
    if as_json:
        click.echo(json.dumps([row._asdict() for row in found], indent=1))
        return
    if not found:
        raise ValueError("no finished run has made a forecast; very short ones make none")
    width = max(len(one_line(row.name)) for row in found) + 2
    click.echo(f"{'RUN':<{width}}{'FORECAST':>14}{'ACTUAL':>14}{'ERROR':>9}   INTERVAL")
    for row in found:
        click.echo(
            f"{one_line(row.name):<{width}}{format_duration(row.seconds):>14}{format_duration(row.actual):>14}"
            f"{100 * row.error:>+7.1f} %   "
            f"{'held' if row.low <= row.actual <= row.high else 'missed'}"
        )
    median = statistics.median(abs(row.error) for row in found)
    verdict = "below" if median < WANTED else "not below"
    click.echo(f"median error {100 * median:.1f} %: {verdict} the {100 * WANTED:.0f} % wanted")
