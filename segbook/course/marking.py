"""Runs a learner's copy of a chapter, as far as its exercises need it, and reads the verdicts.

Only the exercises and the cells tagged ``setup`` are run: an answer is seen in seconds, and a
training that a learner has already waited for is not done again. ``everything`` runs every cell.
"""

from __future__ import annotations

import asyncio
import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nbclient.exceptions import DeadKernelError

from segbook.course.answers import SHOWN, Verdict
from segbook.course.exercises import Exercise, exercises, setup
from segbook.notebooks.executor import Client
from segbook.notebooks.kernel import Kernel
from segbook.notebooks.run import read_notebook
from segbook.text import one_line

TIME_LIMIT = 60.0
"""Seconds that a cell of an exercise may take."""
GRACE = 2.0
"""Seconds between the interrupt of a cell and the end of its kernel."""


class Mark(NamedTuple):
    """The verdict on one exercise."""

    exercise: Exercise
    verdict: Verdict


class Marker(Client):
    """A client that goes on after a cell that fails, and ends one that does not."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.interrupted: list[Any] = []

    async def _async_handle_timeout(self, timeout: int, cell: Any = None) -> None:
        if any(cell is other for other in self.interrupted):
            self.kernel.kill()
            return
        self.interrupted.append(cell)
        self.kernel.interrupt()
        await asyncio.sleep(GRACE)


def mark(
    notebook: Path,
    *,
    number: int | None = None,
    everything: bool = False,
    time_limit: float | None = TIME_LIMIT,
) -> list[Mark]:
    """Check a learner's answers; the notebook is not changed.

    Args:
        notebook: a learner's copy; it runs in its folder.
        number: only this exercise, counted from 1.
        everything: run every cell, and not only what exercises need.
        time_limit: seconds that a cell of an exercise may take; None for no limit.

    Raises:
        ValueError: no notebook, no exercise in it, or none of that number.
    """
    content = read_notebook(notebook)
    found = exercises(content.cells)
    if not found:
        raise ValueError(
            f"{one_line(notebook)} has no exercise: no cell tagged 'check'. If this is a copy that "
            "lost its tags, take a fresh one and put your answers in"
        )
    if number is not None and number not in range(1, len(found) + 1):
        raise ValueError(f"there is no exercise {number}; the notebook has 1 to {len(found)}")
    wanted = [exercise for exercise in found if number in (None, exercise.number)]
    own = {index for exercise in found for index in exercise.cells}
    others = [i for i, c in enumerate(content.cells) if c.cell_type == "code" and i not in own]
    context = others if everything else setup(content.cells, found)
    marks: list[Mark] = []
    while wanted:
        new = _run(content, context, wanted, notebook.parent.resolve(), time_limit)
        marks += new
        wanted = wanted[len(new) :]  # a kernel that died took the rest with it
    return marks


def _run(
    content: Any, context: Sequence[int], wanted: Sequence[Exercise], folder: Path,
    time_limit: float | None,
) -> list[Mark]:  # fmt: skip
    """The marks up to the first exercise that ends the kernel, at least one."""
    own = {index for exercise in wanted for index in exercise.cells}
    places = sorted({*context, *own})
    chosen = copy.copy(content)
    chosen.cells = [copy.deepcopy(content.cells[place]) for place in places]
    for cell in chosen.cells:
        cell.metadata["tags"] = ["raises-exception"]  # and the next cell runs
    cells = dict(zip(places, chosen.cells, strict=True))
    limited = [cells[place] for place in own]
    kernel_error = ""
    with tempfile.TemporaryDirectory() as runs:
        client = Marker(
            chosen,
            path=None,
            kernel=Kernel(
                {"SEGBOOK_RUNS": runs, "SEGBOOK_CHECK": ""}, folder=folder, imports=[folder]
            ),
            show=lambda text: None,
            warn=lambda line: None,
            exited=lambda place: None,
            startup_timeout=120,
            timeout_func=lambda cell: time_limit if any(cell is c for c in limited) else None,
        )
        try:
            client.run()
        except DeadKernelError as error:
            if not client.kernel.ready:
                raise OSError(str(error)) from None
            kernel_error = str(error).partition(" in cell ")[0]
    ran = {place for place, cell in cells.items() if cell.execution_count}
    broken = next((f"cell {i + 1}: {e}" for i in context if (e := _error(cells[i]))), "")
    marks = []
    for exercise in wanted:
        ended = bool(kernel_error) and not ran.issuperset(exercise.cells)
        stopped = any(cells[i] is cell for i in exercise.cells for cell in client.interrupted)
        if stopped:
            verdict = Verdict("wrong", f"wrong: it took longer than {time_limit:.0f} s; a loop?")
        elif ended:
            verdict = Verdict("wrong", f"wrong: {kernel_error}.")
        else:
            verdict = _verdict(exercise, cells)
            if broken and verdict.word == "wrong":
                verdict = Verdict("wrong", f"{verdict.line} Before it fails {broken}")
        marks.append(Mark(exercise, verdict))
        if ended:
            break
    return marks


def _verdict(exercise: Exercise, cells: dict[int, Any]) -> Verdict:
    """What an executed exercise shows."""
    if not exercise.checked:
        return Verdict("wrong", "wrong: its check cell is gone; take it from a fresh copy.")
    *before, last = exercise.cells
    for output in cells[last].outputs:
        line = str(output.get("data", {}).get("text/plain", ""))
        for word, head in SHOWN.items():
            if line.startswith(head):
                return Verdict(word, line)
    for place in (*before, last):
        if error := _error(cells[place]):
            where = "the check cell" if place == last else "your cell"
            return Verdict("wrong", f"wrong: {where} raises {error}")
    return Verdict("wrong", "wrong: its check cell shows no verdict; take it from a fresh copy.")


def _error(cell: Any) -> str:
    for output in cell.outputs:
        if output.output_type == "error":
            text = one_line(f"{output.ename}: {output.evalue}")
            return text if len(text) <= 160 else text[:159] + "…"
    return ""
