"""``segbook forecast``."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys

import click

from segbook.recipes.command import changed, changes_option
from segbook.runs.stopping import format_duration
from segbook.text import one_line, shell

WAITING = 0.1
"""Share of a step that may be spent waiting without a word."""


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
    if not recipe:
        _check_forecasts(as_json)
        return
    from tqdm import tqdm

    from segbook.forecast.measure import measure

    chosen = changed(recipe, changes)
    total = len(chosen.schedule_of_crops()) + 2
    with tqdm(total=total, leave=False, disable=not sys.stderr.isatty()) as bar:

        def begin(what: str) -> None:
            bar.set_description(what)
            bar.update()

        report = measure(chosen, steps=steps, begin=begin)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(report), indent=1))
    else:
        click.echo("\n".join(_describe(chosen, report)))


def _describe(recipe, report) -> list[str]:
    from segbook.training.costs import times
    from segbook.training.forecast import format_bytes, format_forecast

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
            f"step of {phase.crop[0]}x{phase.crop[1]:<9}{format_time(phase.seconds):>10}   "
            f"({format_time(phase.low)} to {format_time(phase.high)}; "
            f"CPU {format_time(phase.cpu_seconds)})",
            f"  the same batch    {format_time(phase.same_batch):>10}   "
            f"waiting for data: {100 * phase.waiting:.0f} % of a step, reading included",
        ]
    for part, seconds in report.parts.items():
        lines.append(f"{part:<20}{format_time(seconds):>10}   {notes.get(part, '')}".rstrip())
    numbers = {key: getattr(report, key) for key in ("seconds", "low", "high", "memory", "disk")}
    lines.append(f"{format_forecast(numbers)}; starting up is not counted")
    lines.append(
        f"checkpoints: last, previous and best; {format_bytes(report.writing)} more "
        "while one is written"
        if report.disk
        else ""
    )
    return [line for line in [*lines, _waiting(recipe, report), report.busy] if line]


def _waiting(recipe, report) -> str:
    """What to do where the steps wait for their data."""
    from segkit.doctor.machine import available_cores

    waiting, spare = max(phase.waiting for phase in report.phases), available_cores() - 1
    if waiting <= WAITING:
        return ""
    said = f"{100 * waiting:.0f} % of a step waits for its data"
    if recipe.workers < spare:
        workers = f"workers={min(spare, max(2, 2 * recipe.workers))}"
        return f"{said}: try {shell('segbook', 'forecast', recipe.name, '--set', workers)}"
    return f"{said}, and there is no core for more loader processes: smaller images would help"


def _often(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def format_time(seconds: float) -> str:
    """``310 ms`` below a second, else as `format_duration`."""
    return f"{1e3 * seconds:.0f} ms" if seconds < 1 else format_duration(seconds)


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
