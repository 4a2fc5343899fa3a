"""``segbook run``, and ``segbook resume`` for notebooks and trainings."""

from __future__ import annotations

from pathlib import Path

import click

from segbook.runs.command import (
    EPILOG,
    Duration,
    echo_start,
    finish,
    limit_of,
    name_option,
    time_limit_option,
)
from segbook.runs.folder import FINISHED, find


@click.command(epilog=EPILOG)
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "-p", "texts", multiple=True, metavar="NAME=VALUE", help="A parameter of the notebook."
)
@click.option(
    "-f", "file", type=click.Path(path_type=Path), help="A YAML file of parameters; -p wins."
)
@name_option
@click.option(
    "--cwd",
    type=click.Path(path_type=Path),
    help="Run it in this folder, in place of the current one.",
)
@time_limit_option
@click.option("--no-html", is_flag=True, help="Write no HTML report.")
def run(
    notebook: Path,
    texts: tuple[str, ...],
    file: Path | None,
    name: str | None,
    cwd: Path | None,
    time_limit: float,
    no_html: bool,
) -> None:
    """Execute NOTEBOOK in a run folder of its own.

    Its parameters are the variables of the cell tagged "parameters". Its relative paths count from
    the current folder, or from that of --cwd; modules beside it can be imported.
    """
    from segbook.notebooks import run as runner

    folder = runner.create(
        notebook,
        texts=texts,
        file=file,
        name=name,
        cwd=cwd,
        time_limit=limit_of(time_limit),
        show=click.echo,
    )
    echo_start(folder)
    finish(folder, runner.execute(folder, html=not no_html))


@click.command(epilog=EPILOG)
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
        from segbook.runs.listing import format_result

        result = format_result(described.get("result"))
        click.echo(f"run {folder.name} is finished{f': {result}' if result else ''}")
        return
    kind = described.get("kind")
    if kind not in ("train", "notebook") or (
        kind == "notebook" and not (folder.path / "source.ipynb").is_file()
    ):
        raise ValueError(
            f"{folder.name} was not started by `segbook run` or `segbook train`; "
            "go on with it where it was started"
        )
    with folder.own():
        if time_limit is not None:
            folder.update(time_limit=limit_of(time_limit))
        echo_start(folder)
        if kind == "train":
            from segbook.training import headless

            finish(folder, headless.execute(folder, show=click.echo))
        from segbook.notebooks import run as runner

        finish(folder, runner.execute(folder, html=not no_html))
