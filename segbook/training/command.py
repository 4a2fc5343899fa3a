"""``segbook train`` and ``segbook prove-resume``."""

from __future__ import annotations

import sys

import click

from segbook.recipes import Recipe, get, override
from segbook.recipes.command import all_changes, changed, changes_option
from segbook.runs.command import (
    EPILOG,
    echo_start,
    finish,
    is_finished,
    limit_of,
    name_option,
    time_limit_option,
)
from segbook.runs.folder import RunFolder
from segbook.runs.launcher import launch


@click.command(epilog=EPILOG)
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
@click.option(
    "--resume",
    "again",
    is_flag=True,
    help="Go on with the run of this --name where there is one: for jobs that are started again.",
)
@time_limit_option
def train(
    recipe: str,
    changes: tuple[str, ...],
    processes: int,
    name: str | None,
    again: bool,
    time_limit: float,
) -> None:
    """Train RECIPE without a notebook; needs no Jupyter. `segbook recipes` lists them.

    Started several times by torchrun, srun or mpirun, all train one run together.
    """
    found = launch()
    wanted = all_changes(recipe, changes, quiet=bool(found and found.rank))
    given = override(get(recipe), wanted)
    if again and not name:
        raise ValueError("--resume goes on with the run of a --name: give one")
    if found and processes > 1:
        raise ValueError(
            f"{found.by} has started {found.world_size} processes, which train together: leave out "
            "--nproc"
        )
    from segbook.recipes.file import absolute
    from segbook.training import headless
    from segbook.training.state import build

    state = None

    def make(processes: int) -> tuple[RunFolder, Recipe] | None:
        nonlocal state
        if again and name and (folder := headless.begun(name, given, processes)):
            if is_finished(folder, steps=given.steps):
                return None
            going = headless.checked(folder, given)
            with folder.own():
                folder.update(processes=processes, time_limit=limit_of(time_limit))
        else:
            going, state = absolute(given), build(given) if processes == 1 else None
            folder = headless.create(
                recipe,
                wanted,
                name=name,
                time_limit=limit_of(time_limit),
                processes=processes,
                state=state,
            )
        echo_start(folder)
        return folder, going

    if found:
        from segbook.training.joined import join

        join(found, ["segbook", "train", recipe, *changes, f"--name={name}"], make)
    if made := make(processes):
        folder, going = made
        finish(folder, headless.execute(folder, recipe=going, state=state, show=click.echo))


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
    from segbook.training.prove_resume import prove

    chosen = changed(recipe, changes)
    proof = prove(chosen, steps=steps, kill_at=kill_at)
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
