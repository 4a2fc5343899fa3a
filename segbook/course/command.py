"""``segbook course``: check a learner's answers, and make copies for students."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from segbook.runs.command import EXIT_FAILED, Duration, limit_of
from segbook.text import one_line


@click.group()
def course() -> None:
    """The notebooks as a course: check answers, make copies for students."""


@course.command()
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option("--exercise", "number", type=int, help="Only this one, counted from 1.")
@click.option("--all", "everything", is_flag=True, help="Run every cell, trainings as well.")
@click.option(
    "--time-limit", type=Duration(), default="60s", show_default=True,
    help="Of each cell of an exercise.",
)  # fmt: skip
def check(notebook: Path, number: int | None, everything: bool, time_limit: float) -> None:
    """Check the answers that a learner wrote into NOTEBOOK, which is not changed.

    Runs its exercises and the cells tagged "setup", in the notebook's folder. The exit code is 0
    only if all answers are right.
    """
    from segbook.course.marking import mark

    marks = mark(notebook, number=number, everything=everything, time_limit=limit_of(time_limit))
    width = max(len(exercise.name) for exercise, _ in marks)
    for exercise, verdict in marks:
        click.echo(f"{exercise.number}  {one_line(exercise.name):{width}}  {one_line(verdict)}")
    right = sum(verdict.word == "right" for _, verdict in marks)
    click.echo(f"{right} of {len(marks)} right")
    if any("NameError" in verdict.line for _, verdict in marks) and not everything:
        click.echo('only exercises and cells tagged "setup" were run; --all runs every cell')
    sys.exit(0 if right == len(marks) else EXIT_FAILED)


@course.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("notebooks", nargs=-1, type=click.Path(path_type=Path), metavar="[NOTEBOOK]...")
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
def strip(out: Path, notebooks: tuple[Path, ...], force: bool) -> None:
    """Write copies for students to the folder OUT: no solutions, no outputs.

    Of each NOTEBOOK, or of all in ./notebooks. Pictures and pages that they link to come along, at
    the same places, so that each link still works. Checks go on to work: they hold our answers
    sealed.
    """
    from segbook.course.students import strip as write_copies

    for path in write_copies(out, notebooks, force=force):
        click.echo(f"wrote {one_line(path)}")
