"""One training by processes that a launcher started, on one machine or several.

The first process makes or finds the run folder, which all see under the same path, and is the only
one that writes there; the others read from it what they train.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from segbook.recipes.recipe import Recipe
from segbook.runs import launcher
from segbook.runs.attempt import format_error
from segbook.runs.command import EXIT_CODES, EXIT_FAILED, finish
from segbook.runs.folder import FAILED, FINISHED, RunBusyError, RunFolder
from segbook.runs.launcher import Launch
from segbook.runs.listing import format_run_error
from segbook.runs.stopping import ignore_requests
from segbook.text import one_line, shell
from segbook.training import headless
from segbook.training.processes import Onlooker
from segkit.engine import distributed


def join(
    launch: Launch,
    words: Sequence[str],
    make: Callable[[int], tuple[RunFolder, Recipe] | None],
) -> NoReturn:
    """Train together with the others; ends the program with the run's exit code.

    Args:
        launch: this process's place among them.
        words: what this process was asked to do; the same in all of them.
        make: makes or finds the folder and the recipe for a number of processes, or None where
            nothing is to be done; called in the first process.

    Raises:
        ValueError: nothing says where the first process is, or the others cannot be reached; they
            were asked for something else; or what ``make`` raises, in every process.
        RunBusyError: another process trains that run.
        OSError: the disk is full.
    """
    launcher.export(launch)
    folder, found, failure = None, None, None
    # Before the others are there: what one process computes inside of their group waits for them.
    if launch.rank == 0:
        try:
            if made := make(launch.world_size):
                folder, recipe = made
                found = str(folder.path), recipe.to_dict()
        except Exception as error:  # for the others as plain as all can unpickle
            plain = isinstance(error, OSError | RunBusyError)
            failure = error
            found = error if plain else ValueError(str(error) or type(error).__name__)
    try:
        with distributed.process_group():
            answers = distributed.all_gather((list(words), found))
            found = answers[0][1]
            if isinstance(found, Exception):
                raise failure or found
            _refuse_other_words(launch, [asked for asked, _ in answers])
            if found is None:
                sys.exit(0)
            path, fields = found
            mine = folder or Onlooker(path)
            described = headless.execute(mine, recipe=Recipe.from_dict(fields), show=click.echo)
            if described["status"] != FINISHED:  # the group's end could wait for who is gone
                _end(mine, described)
        _end(mine, described)
    except (ValueError, distributed.PeerLostError) as error:  # of a training the outcome says it
        if folder:
            folder.update(status=FAILED, error=format_error(error, folder))
        raise


def _refuse_other_words(launch: Launch, asked: Sequence[Sequence[str]]) -> None:
    for number, words in enumerate(asked):
        if words != asked[0]:
            raise ValueError(
                f"{launch.by} started {launch.world_size} processes, which train one run "
                f"together, and process {number + 1} was asked for another than the first: "
                f"{shell(*words)} in place of {shell(*asked[0])}. Start runs of their own as jobs "
                "of their own, or as tasks of a job array"
            )


def _end(folder: RunFolder, described: dict[str, Any]) -> NoReturn:
    ignore_requests()
    try:
        if not isinstance(folder, Onlooker):
            finish(folder, described)
        if error := described.get("error"):
            number, count = distributed.rank() + 1, distributed.world_size()
            who = f"process {number} of {count} on {socket.gethostname()}"
            click.echo(one_line(f"{who}: {format_run_error(error)}"), err=True)
        sys.exit(EXIT_CODES.get(described["status"], EXIT_FAILED))
    finally:
        distributed.leave_last()
