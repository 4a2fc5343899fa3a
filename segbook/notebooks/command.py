"""``segbook run``, and ``segbook resume`` for notebooks and trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from segbook.recipes.command import changes_option, read_changes
from segbook.runs.command import (
    EPILOG,
    Duration,
    echo_start,
    finish,
    is_finished,
    limit_of,
    name_option,
    time_limit_option,
    trust_option,
)
from segbook.runs.folder import RunFolder, find
from segbook.runs.launcher import launch, refuse_several
from segbook.runs.listing import advice, can_resume, is_training, program
from segbook.text import one_line


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
    refuse_several("a notebook is executed by one process")
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
@changes_option
@click.option("--time-limit", type=Duration(), help="Another limit for this attempt.")
@click.option("--no-html", is_flag=True, help="Write no HTML report.")
@trust_option
def resume(
    run_name: str,
    changes: tuple[str, ...],
    time_limit: float | None,
    no_html: bool,
    trust: bool,
) -> None:
    """Go on with RUN: same folder, same parameters.

    It was interrupted (killed), stopped, or it failed; a finished run is left as it is, unless it
    is given more steps. A notebook of `segbook run` is executed from its first cell; each training
    in it goes on from its last checkpoint. A training that Jupyter, papermill or a script began
    goes on as one of `segbook train`: by its recipe, without them.

    --set is for what does not make it another training, such as data_root, where the data have
    moved, steps, workers or save_every; and for runs of `segbook train`.

    A run is a program: what is executed is source.ipynb in its folder, which can do whatever you
    can. Resume only runs that you made yourself; `segbook show RUN` says what a resume executes.
    """
    folder = find(run_name)
    described = folder.read()
    alone, found = is_training(folder, described), launch()
    if found and not alone:
        refuse_several("a notebook is executed by one process")

    def make(processes: int | None = None) -> tuple[RunFolder, Any] | None:
        recipe = None
        if trust:
            from segbook.runs import code

            code.trust(folder)
        if changes and not alone:
            raise ValueError(
                f"{one_line(folder.name)} is a notebook's run: its cells make the recipe, which "
                "--set would not reach. Resume it without, or begin anew with another parameter: "
                "segbook run NOTEBOOK -p NAME=VALUE"
            )
        if changes or processes:
            from segbook.training import headless

            recipe = headless.going_on(folder, read_changes(changes), processes)
        left = "; --set changes nothing in it, unless it is steps, and more" if changes else ""
        if is_finished(folder, steps=recipe.steps if recipe else 0, note=left):
            return None
        if not can_resume(folder, described):
            how = advice(folder, described)
            raise ValueError(
                f"{one_line(folder.name)} is more than its recipe, which `segbook resume` could "
                f"train; go on with it {how or 'where it was started'}"
            )
        if owner := folder.other_owner():
            click.echo(f"this run is of {owner}, who is not you", err=True)
        if not alone:
            folder.source()  # another one is refused before anything is written
        with folder.own():
            if time_limit is not None:
                folder.update(time_limit=limit_of(time_limit))
            if processes:
                folder.update(processes=processes)
        echo_start(folder)
        return folder, recipe

    if found:
        from segbook.training.joined import join

        join(found, ["segbook", "resume", run_name, *changes], make)
    if not (made := make()):
        return
    _, recipe = made
    if alone:
        from segbook.training import headless

        finish(folder, headless.execute(folder, recipe=recipe, show=click.echo))
    from segbook.notebooks import run as runner

    click.echo(f"executes {program(folder)}")
    finish(folder, runner.execute(folder, html=not no_html))
