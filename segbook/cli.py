"""The command line. Each command imports what it uses: ``list``, ``show`` and ``--help`` no torch.

    segbook run notebooks/09_pp_liteseg.ipynb -p steps=200
    segbook train pp_liteseg_t_synthetic --set steps=200
    segbook list
    segbook resume 09_pp_liteseg-20261121-101500

Errors that a user can cause end in one line and an exit code, never in a traceback.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from segbook import __version__
from segbook.bench.command import bench
from segbook.certificates.command import certify
from segbook.doctor.command import doctor
from segbook.runs.commands import changes_option, forecast, prove_resume, read_changes
from segbook.runs.folder import FAILED, FINISHED, STOPPED, RunBusyError, RunFolder, find
from segbook.runs.stopping import ignore_requests, read_duration, spell_duration

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


class Refusal(click.ClickException):
    """An error with its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Program(click.Group):
    """Turns the errors that a user can cause into one message and the right exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke a command."""
        try:
            return super().invoke(ctx)
        except RunBusyError as error:
            raise Refusal(str(error), EXIT_BUSY) from None
        except ValueError as error:
            raise Refusal(str(error), EXIT_USAGE) from None
        except ModuleNotFoundError as error:
            raise Refusal(
                f"{error}. Running notebooks needs more than training does: "
                "pip install 'segbook[notebooks]'",
                EXIT_USAGE,
            ) from None
        except KeyboardInterrupt:
            raise Refusal("stopped by Ctrl-C", EXIT_STOPPED) from None
        except BrokenPipeError:
            raise  # click ends quietly
        except OSError as error:
            raise Refusal(str(error), EXIT_FAILED) from None


class Duration(click.ParamType):
    """Seconds, written as 45s, 90m, 2h, 1h30m or none."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The seconds; None for none."""
        if not isinstance(value, str):
            return value
        try:
            return read_duration(value) or math.inf
        except ValueError as error:
            self.fail(str(error), param, ctx)


time_limit_option = click.option(
    "--time-limit",
    type=Duration(),
    default="12h",
    show_default=True,
    help="Stop the run after 45s, 90m, 2h, 1h30m; none for no limit.",
)
name_option = click.option("--name", help="The run folder's name; a date is appended.")
json_option = click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")


@click.group(cls=Program, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="segbook")
def main() -> None:
    """Learn and research semantic segmentation: run notebooks, train recipes, look at runs.

    Run folders go to ./runs, or to $SEGBOOK_RUNS.
    """


@main.command(epilog=EPILOG)
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "-p", "texts", multiple=True, metavar="NAME=VALUE", help="A parameter of the notebook."
)
@click.option(
    "-f", "file", type=click.Path(path_type=Path), help="A YAML file of parameters; -p wins."
)
@name_option
@time_limit_option
@click.option("--no-html", is_flag=True, help="Write no HTML report.")
def run(
    notebook: Path,
    texts: tuple[str, ...],
    file: Path | None,
    name: str | None,
    time_limit: float,
    no_html: bool,
) -> None:
    """Execute NOTEBOOK in a run folder of its own.

    Its parameters are the variables of the cell tagged "parameters". Relative paths count from
    the current folder.
    """
    from segbook.runs import notebook as runner

    folder = runner.create(
        notebook, texts=texts, file=file, name=name, time_limit=_finite(time_limit)
    )
    click.echo(f"run {_short(folder.path)}")
    _finish(folder, runner.execute(folder, html=not no_html))


@main.command(epilog=EPILOG)
@click.argument("recipe")
@changes_option
@click.option(
    "--nproc",
    "processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that train together, one a GPU; they share batch_size.",
)
@name_option
@time_limit_option
def train(
    recipe: str, changes: tuple[str, ...], processes: int, name: str | None, time_limit: float
) -> None:
    """Train RECIPE without a notebook; needs no Jupyter. `segbook recipes` lists them."""
    from segbook.runs import headless, launch

    given = read_changes(changes)

    def create(processes: int) -> RunFolder:
        limit = _finite(time_limit)
        folder = headless.create(recipe, given, name=name, time_limit=limit, processes=processes)
        click.echo(f"run {_short(folder.path)}")
        return folder

    if not launch.started_by_hand():
        folder = create(processes)
        _finish(folder, headless.execute(folder, show=click.echo))
    elif folder := launch.train_by_hand(create, show=click.echo):
        _finish(folder, folder.read())


@main.command(epilog=EPILOG)
@click.argument("run_name", metavar="RUN")
@click.option("--time-limit", type=Duration(), help="Another limit for this attempt.")
@click.option("--no-html", is_flag=True, help="Write no HTML report.")
def resume(run_name: str, time_limit: float | None, no_html: bool) -> None:
    """Go on with RUN: same folder, same parameters.

    It was interrupted (killed), stopped, or it failed; a finished run is left as it is. A
    notebook is executed from its first cell; its training goes on from the last checkpoint.
    """
    folder = find(run_name)
    described = folder.read()
    if described.get("status") == FINISHED:
        from segbook.runs.listing import spell_result

        result = spell_result(described.get("result"))
        click.echo(f"run {folder.name} is finished{f': {result}' if result else ''}")
        return
    kind = described.get("kind")
    if kind == "train":
        from segbook.runs import headless as runner

        options: dict[str, Any] = {"show": click.echo}
    elif kind == "notebook" and (folder.path / "source.ipynb").is_file():
        from segbook.runs import notebook as runner  # type: ignore[no-redef]

        options = {"html": not no_html}
    else:
        raise ValueError(
            f"{folder.name} was not started by `segbook run` or `segbook train`; "
            "go on with it where it was started"
        )
    with folder.own():
        if time_limit is not None:
            folder.update(time_limit=_finite(time_limit))
        click.echo(f"run {_short(folder.path)}")
        _finish(folder, runner.execute(folder, **options))


@main.command("list")
@json_option
def list_runs(as_json: bool) -> None:
    """List the runs, the newest last."""
    from segbook.runs import listing

    found = listing.rows()
    if as_json:
        _print_json([row._asdict() for row in found])
    else:
        click.echo(listing.table(found))


@main.command()
@click.argument("run_name", metavar="RUN")
@json_option
def show(run_name: str, as_json: bool) -> None:
    """Show one RUN: parameters, result, files.

    RUN is a run folder, its name, or the start of its name.
    """
    from segbook.runs import listing

    folder = find(run_name)
    if as_json:
        _print_json({**folder.read(), "folder": str(folder.path), **listing.row(folder)._asdict()})
    else:
        click.echo(listing.page(folder))


@main.command("recipes")
def list_recipes() -> None:
    """List the recipes that `segbook train` knows."""
    from segbook import recipes

    found = [recipes.get(name) for name in recipes.names()]
    width = max(len(recipe.name) for recipe in found) + 2
    for recipe in found:
        click.echo(
            f"{recipe.name:<{width}}{recipe.model} on {recipe.data}, "
            f"{recipe.steps} steps of {recipe.batch_size * recipe.accumulate}"
        )


@main.command()
@click.argument("run_name", metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write.")
def report(run_name: str, out: Path) -> None:
    """Write a finished RUN as Markdown and pictures, to publish."""
    from segbook.runs.summary import write_summary

    click.echo(f"wrote {_short(write_summary(find(run_name), out))}")


@main.command()
@click.argument("run_names", metavar="RUN...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="A folder to write it to.")
def compare(run_names: tuple[str, ...], out: Path | None) -> None:
    """Compare finished RUNs: what they share once, what they differ in as a table."""
    from segbook.runs import compare as comparing

    folders = [find(name) for name in run_names]
    if out:
        click.echo(f"wrote {_short(comparing.write_comparison(folders, out))}")
    else:
        click.echo(comparing.compare(folders))


@main.command("import-weights")
@click.argument("name")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--camvid", type=click.Path(path_type=Path), help="The CamVid folder: measure too.")
def import_weights(name: str, source: Path, out: Path, camvid: Path | None) -> None:
    """Turn published weights NAME, the authors' file SOURCE, into OUT (.safetensors).

    The file is read without running what may be in it. NAME is espnet_camvid.
    """
    from segbook import published

    path = published.import_weights(name, source, out)
    click.echo(f"wrote {_short(path)}")
    if camvid is not None:
        click.echo(published.compare(path, published.evaluate_published(path, camvid)))


for command in (bench, certify, doctor, forecast, prove_resume):
    main.add_command(command)


def _finite(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _print_json(content: Any) -> None:
    click.echo(json.dumps(_without_nan(content), indent=1))


def _without_nan(content: Any) -> Any:
    """The same with null for NaN and infinities, which JSON does not know."""
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _finish(folder: RunFolder, described: dict[str, Any]) -> NoReturn:
    """Say how a run ended, and end the program with the status's exit code."""
    from segbook.runs.listing import spell_error, spell_result

    ignore_requests()  # a second Ctrl-C while it is being said changes no exit code
    status, error = described["status"], described.get("error")
    lines = [f"{status} after {spell_duration(described.get('seconds_total', 0.0))}"]
    if described.get("reason"):
        lines[0] += f": {described['reason']}"
    if isinstance(error, dict) and error.get("traceback"):
        lines += ["", *error["traceback"], ""]
    if error:
        lines.append(str(spell_error(error)))
    if result := spell_result(described.get("result")):
        lines.append(result)
    lines.append(f"run     {_short(folder.path)}")
    report = folder.path / "notebook.html"
    if report.exists():
        lines.append(f"report  {_short(report)}")
    refused = isinstance(error, dict) and error.get("name") == "SettingsRefusedError"
    if status != FINISHED and not refused:
        step = described.get("step")
        where = f"   (from step {step} of {described.get('steps')})"
        where = where if step else "   (from the start: there is no checkpoint yet)"
        cause = "   once the cause is mended" if status == FAILED else ""
        lines.append(f"go on   segbook resume {folder.name}{where}{cause}")
    click.echo("\n".join(lines))
    sys.exit(EXIT_CODES.get(status, EXIT_FAILED))
