"""``segbook list`` and ``segbook show``, and what all commands that run something share."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from segbook.runs import listing
from segbook.runs.folder import FAILED, FINISHED, STOPPED, RunFolder, find
from segbook.runs.stopping import ignore_requests, read_duration
from segbook.text import one_line

EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED, EXIT_BUSY = 1, 2, 3, 4
EXIT_CODES = {FINISHED: 0, FAILED: EXIT_FAILED, STOPPED: EXIT_STOPPED}
EPILOG = """\b
Exit codes:
  0  finished
  1  an exception in the notebook or the training, a dead kernel, a full disk
  2  a wrong command: unknown notebook, recipe, parameter, run; nothing was started
  3  stopped by Ctrl-C, SIGTERM or the time limit; `segbook resume` goes on
  4  the run is being written by another process
"""


class Duration(click.ParamType):
    """Seconds, written as 45s, 90m, 2h, 1h30m; infinity, written as none."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The seconds."""
        if not isinstance(value, str):
            return value
        try:
            return read_duration(value) or math.inf
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Finite(click.FloatRange):
    """Finite numbers of a range; click finds NaN in every one."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(
                f"{value!r} is no finite number: give one in {self._describe_range()}", param, ctx
            )
        return number


time_limit_option = click.option(
    "--time-limit",
    type=Duration(),
    default="12h",
    show_default=True,
    help="Stop the run after 45s, 90m, 2h, 1h30m; none for no limit.",
)
name_option = click.option("--name", help="The run folder's name; a date is appended.")
trust_option = click.option(
    "--trust", is_flag=True, help="Execute code that RUN brings along; it can do what you can."
)
json_option = click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")


@click.command("list")
@json_option
def list_runs(as_json: bool) -> None:
    """List the runs, the newest last."""
    found = listing.rows()
    if as_json:
        print_json([row._asdict() for row in found])
    else:
        click.echo(listing.table(found))


@click.command()
@click.argument("run_name", metavar="RUN")
@json_option
def show(run_name: str, as_json: bool) -> None:
    """Show one RUN: parameters, result, files.

    RUN is a run folder, its name, or the start of its name.
    """
    folder = find(run_name)
    if as_json:
        print_json({**folder.read(), "folder": str(folder.path), **listing.row(folder)._asdict()})
    else:
        click.echo(listing.page(folder))


def echo_start(folder: RunFolder) -> None:
    """Say where a run's files are, before its first line."""
    click.echo(f"run {one_line(short(folder.path))}")


def is_finished(folder: RunFolder, *, steps: int = 0, note: str = "") -> bool:
    """Whether nothing is left to do in a run, which is then said, with its result.

    Args:
        folder: of the run.
        steps: how many it is to make now.
        note: more to say.
    """
    described = folder.read()
    if described.get("status") != FINISHED or steps > (described.get("step") or 0):
        return False
    result = listing.format_result(described.get("result"))
    click.echo(f"run {one_line(folder.name)} is finished{f': {result}' if result else ''}{note}")
    return True


def finish(folder: RunFolder, described: dict[str, Any]) -> NoReturn:
    """Say how a run ended, and end the program with the status's exit code."""
    ignore_requests()  # a second Ctrl-C while it is being said changes no exit code
    lines = [*listing.ending(folder, described), f"run     {one_line(short(folder.path))}"]
    report = folder.path / "notebook.html"
    if report.exists():
        lines.append(f"report  {one_line(short(report))}")
    if advice := listing.advice(folder, described):
        lines.append(f"go on   {advice}")
    click.echo("\n".join(lines))
    sys.exit(EXIT_CODES.get(described["status"], EXIT_FAILED))


def limit_of(seconds: float) -> float | None:
    """A time limit as ``run.json`` keeps it: null where there is none."""
    return None if math.isinf(seconds) else seconds


def short(path: Path) -> str:
    """A path from the current folder on, where it is inside."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def print_json(content: Any) -> None:
    """Print for programs; NaN and infinities, which JSON does not know, as null."""
    click.echo(json.dumps(_without_nan(content), indent=1))


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
