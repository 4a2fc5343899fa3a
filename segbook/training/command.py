"""``segbook train`` and ``segbook prove-resume``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from segbook.recipes import get, override
from segbook.recipes.command import all_changes, changed, changes_option
from segbook.runs.command import (
    EPILOG,
    echo_start,
    finish,
    limit_of,
    name_option,
    time_limit_option,
)
from segbook.runs.folder import RunFolder

if TYPE_CHECKING:
    from segbook.training.state import TrainingState


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
@time_limit_option
def train(
    recipe: str, changes: tuple[str, ...], processes: int, name: str | None, time_limit: float
) -> None:
    """Train RECIPE without a notebook; needs no Jupyter. `segbook recipes` lists them."""
    wanted = all_changes(recipe, changes)
    from segbook.training import headless
    from segbook.training.processes import join_by_hand, started_by_hand
    from segbook.training.state import build

    def create(processes: int, state: TrainingState | None = None) -> RunFolder:
        folder = headless.create(
            recipe,
            wanted,
            name=name,
            time_limit=limit_of(time_limit),
            processes=processes,
            state=state,
        )
        echo_start(folder)
        return folder

    def execute(folder: RunFolder, state: TrainingState | None = None) -> dict[str, Any]:
        return headless.execute(folder, state=state, show=click.echo)

    if started_by_hand():
        if folder := join_by_hand(create, execute):
            finish(folder, folder.read())
        return
    state = build(override(get(recipe), wanted)) if processes == 1 else None
    folder = create(processes, state)
    finish(folder, execute(folder, state))


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
