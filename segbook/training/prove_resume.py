"""`segbook prove-resume RECIPE`: 2N steps are N steps, a kill, and N steps more, bit for bit.

One process trains all steps. Another one of the same recipe is killed by SIGKILL while it trains,
a third goes on where its last checkpoint was. Each writes down for every step what it saw and
where it stood; that and the last checkpoints are compared, every bit of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from typing import IO, Any, NamedTuple, cast

import torch
from torch import Tensor
from tqdm import tqdm

from segbook.builders.check import check
from segbook.recipes.file import absolute
from segbook.recipes.recipe import Recipe
from segbook.runs.folder import RunFolder
from segbook.runs.process_family import Guard
from segbook.training.step_digests import digest_of, read_digests
from segkit import engine
from segkit.doctor.finding import counted

PER_STEP = {
    "loss": "losses",
    "lr": "learning rates",
    "images": "samples: images, in their order",
    "labels": "samples: labels, in their order",
    "rng": "random number generators",
}
"""What is written down for each step, and its name in the table."""
STATES = {
    "model": "weights and running statistics",
    "ema": "moving average of the weights",
    "optimizer": "optimizer",
    "scaler": "gradient scaler",
    "best": "best validation",
}
"""What is compared of the last checkpoints, and its name in the table."""

ROOT_VARIABLE = "SEGBOOK_PROOF"
"""In the environment of a proof's trainings, its folder: they are told apart by that."""


class Compared(NamedTuple):
    """One line of the table.

    Attributes:
        what: was compared.
        count: how many of it there are, in words.
        difference: where the two first differ; empty where every bit is the same.
    """

    what: str
    count: str
    difference: str = ""


class Proof(NamedTuple):
    """What `prove` found.

    Attributes:
        rows: what was compared.
        killed_at: the last step that the killed process finished.
        resumed_at: the step of the checkpoint from which it went on.
        machine: versions and threads; precision, memory format and why these.
    """

    rows: list[Compared]
    killed_at: int
    resumed_at: int
    machine: str

    @property
    def holds(self) -> bool:
        """Whether every bit is the same."""
        return not any(row.difference for row in self.rows)


def shortened(recipe: Recipe, steps: int, kill_at: int) -> Recipe:
    """The recipe with the length of a proof, and a last checkpoint just before the kill.

    Raises:
        ValueError: a kill that is not inside the training.
    """
    if not 1 <= kill_at < steps - 1:
        raise ValueError(
            f"kill_at={kill_at} of steps={steps}: kill after the first step and two before the last"
        )
    return dataclasses.replace(
        recipe,
        steps=steps,
        warmup=min(recipe.warmup, kill_at),
        save_every=max(1, kill_at - 1),
        evaluate_every=0,
        doctor="off",
    )


def prove(
    recipe: Recipe,
    *,
    steps: int = 12,
    kill_at: int | None = None,
) -> Proof:
    """Train a recipe in one go and with a kill on the way, and compare.

    The recipe's own sizes, data and settings; few steps, and few images validated.

    Args:
        recipe: what is trained.
        steps: of the whole training.
        kill_at: steps after which it is killed, somewhere inside the next; None for half.

    Raises:
        ValueError: a recipe that cannot be built, a kill outside the training, a training that
            failed, or one that was faster than its kill.
    """
    kill_at = steps // 2 if kill_at is None else kill_at
    recipe = absolute(shortened(recipe, steps, kill_at))
    check(recipe)
    quiet = not sys.stderr.isatty()
    with (
        tempfile.TemporaryDirectory(prefix="segbook-prove-") as root,
        _guarded(root),
        tqdm(total=2 * steps + 1, unit="step", leave=False, disable=quiet) as bar,
    ):
        whole, broken = (
            RunFolder.create(name, root=root, kind="train", recipe=recipe.to_dict())
            for name in ("whole", "broken")
        )
        for _ in train(whole):
            bar.update()
        killed_at = train_and_kill(broken, kill_at, bar.update)
        resumed_at = 0
        for line in train(broken):
            resumed_at = resumed_at or line["step"] - 1
            bar.update()
        if not 0 < resumed_at <= killed_at:
            raise ValueError(
                f"the killed training went on from step {resumed_at} of {killed_at}: "
                "there is nothing to compare"
            )
        return Proof(compare(whole, broken), killed_at, resumed_at, _describe(whole.read(), recipe))


@contextlib.contextmanager
def _guarded(root: str) -> Iterator[None]:
    """Should this process be killed, its trainings and their folder go with it."""
    guard = Guard(root, 0, root)
    try:
        yield
    finally:
        guard.dismiss()


def train(folder: RunFolder) -> Generator[dict[str, Any], None, None]:
    """Train in a process of its own and yield its lines; ``close`` kills it."""
    # Determinism on a GPU has to be asked for before CUDA starts.
    environment = {
        **os.environ,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        ROOT_VARIABLE: str(folder.path.parent),
    }
    with open(folder.path / "errors.txt", "w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "segbook.training.step_digests", str(folder.path)],
            stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
        )  # fmt: skip
        try:
            assert process.stdout is not None  # it is a pipe
            for line in process.stdout:
                yield json.loads(line)
            if process.wait() != 0:
                errors.seek(0)
                raise ValueError(f"the training failed:\n{errors.read().strip()[-2000:]}")
        finally:
            process.kill()  # SIGKILL: it has no last word
            cast(IO[str], process.stdout).close()
            process.wait()


def train_and_kill(folder: RunFolder, kill_at: int, tick: Callable[[], Any] = lambda: None) -> int:
    """Kill a training inside some step after ``kill_at``; the last step that it finished."""
    before = time.perf_counter()
    with contextlib.closing(train(folder)) as lines:
        for line in lines:
            tick()
            if line["step"] >= kill_at:
                time.sleep(random.random() * min(time.perf_counter() - before, 60.0))
                break
            before = time.perf_counter()
    last = max(line["step"] for line in read_digests(folder))
    if last == folder.read().get("steps"):
        raise ValueError(
            f"all {last} steps were made before the kill came; take more steps, or kill earlier"
        )
    return last


def compare(whole: RunFolder, broken: RunFolder) -> list[Compared]:
    """Compare two runs of `segbook.training.step_digests`: each step, then the last checkpoints."""
    wanted = {line["step"]: line for line in read_digests(whole)}
    repeated = read_digests(broken)
    rows = []
    for key, what in PER_STEP.items():
        wrong = [x["step"] for x in repeated if x[key] != wanted.get(x["step"], {}).get(key)]
        missing = sorted(wanted.keys() - {line["step"] for line in repeated})
        difference = f"step {missing[0]} is missing" if missing else ""
        if wrong:
            difference = f"first at step {min(wrong)}, {len(wrong)} in all"
        rows.append(Compared(what, f"{len(wanted)} steps", difference))
    ours, theirs = (_state(folder) for folder in (whole, broken))
    for key, what in STATES.items():
        if ours[key] or theirs[key]:
            rows.append(
                _compare_trees(what, *(dict(_leaves(t[key] or {})) for t in (ours, theirs)))
            )
    return rows


def _compare_trees(what: str, ours: dict[str, Any], theirs: dict[str, Any]) -> Compared:
    names = [*ours, *(name for name in theirs if name not in ours)]
    different = [name for name in names if _bits(ours.get(name)) != _bits(theirs.get(name))]
    tensors = [leaf for leaf in ours.values() if isinstance(leaf, Tensor)]
    count = f"{len(ours)} values"
    if tensors:
        count = f"{len(tensors)} tensors, {sum(t.nbytes for t in tensors) / 1e6:.3g} MB"
    return Compared(what, count, f"{different[0]}, {len(different)} of {len(names)}" if different
                    else "")  # fmt: skip


def _bits(leaf: Any) -> tuple[Any, ...]:
    """What is equal where two leaves have the same bits: NaN is equal to itself, 0 is not -0."""
    if isinstance(leaf, Tensor):
        return leaf.dtype, leaf.shape, digest_of(leaf)
    return type(leaf), repr(leaf)


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, branch in tree.items():
            yield from _leaves(branch, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, list | tuple):
        for index, branch in enumerate(tree):
            yield from _leaves(branch, f"{name}.{index}")
    else:
        yield name, tree


def _state(folder: RunFolder) -> dict[str, Any]:
    state = engine.load_checkpoint(folder.checkpoints, restore_rng=False)
    if state is None:
        raise ValueError(f"{folder.name} has no checkpoint")
    return state


def _describe(described: dict[str, Any], recipe: Recipe) -> str:
    versions = described["versions"]
    device = "GPU, deterministic algorithms" if torch.cuda.is_available() else "CPU"
    return (
        f"torch {versions['torch']}, Python {versions['python']}, {described['machine']}, {device}"
        f"; {counted(described['threads'], 'thread')}, {counted(recipe.workers, 'worker')}\n"
        f"{described['settings']}"
    )
