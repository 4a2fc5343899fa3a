"""One process of `segbook prove-resume`: it trains a run and writes a line for each step.

    python -m segbook.runs.trace RUN_FOLDER

Floats are written as hexadecimal numbers, which lose no bit; images, labels and the states of the
random number generators as hashes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import sys
from typing import Any

import torch
from torch import Tensor

from segbook.recipes.recipe import Recipe
from segbook.runs.few import Few
from segbook.runs.folder import RunFolder
from segkit import random_state

VALIDATED = 4
"""Images of the validation: a proof needs no more, and Cityscapes has 500."""
TRACE = "trace.jsonl"


def read_trace(folder: RunFolder) -> list[dict[str, Any]]:
    """The lines of all processes that trained a run; one that a kill cut short is left out."""
    lines = []
    for text in (folder.path / TRACE).read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return lines


def digest_of(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes."""
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(content).hexdigest()


def record(folder: RunFolder) -> None:
    """Train a run to its end, in this process; print each line as well.

    Args:
        folder: of the run; ``choose_for`` in its ``run.json`` is a number of steps, for which it
            chooses its precision and memory format.
    """
    from segbook.runs.training import Run
    from segbook.runs.tune import choose, first_batch

    torch.use_deterministic_algorithms(torch.cuda.is_available(), warn_only=True)
    described = folder.read()
    recipe = Recipe.from_dict(described["recipe"])
    run = Run(recipe, folder, show=lambda text: None)
    run.sets["val"] = Few(run.sets["val"], VALIDATED)
    if steps := described.get("choose_for"):  # before steps are seen: measuring makes others
        longer = dataclasses.replace(recipe, steps=steps)
        choice = choose(longer, run.model, lambda: first_batch(run), run.loss)
        folder.update(choice=choice.to_dict())
    seen: dict[str, list[str]] = {"images": [], "labels": []}
    loss = run.loss

    def see_images(model: Any, arguments: tuple[Tensor]) -> None:
        if model.training:
            seen["images"].append(digest_of(arguments[0]))

    def see_labels(output: Any, labels: Tensor) -> Any:
        seen["labels"].append(digest_of(labels))
        return loss(output, labels)

    run.model.register_forward_pre_hook(see_images)
    run.loss = see_labels
    with open(folder.path / TRACE, "a", encoding="utf-8") as trace:
        trace.write("\n")  # a kill may have cut the last line short
        for step in run.train():
            line = {
                "step": step.index,
                "loss": step.loss.hex(),
                "lr": float(step.lr).hex(),
                **seen,
                "rng": random_state.digest(),
            }
            text = json.dumps(line) + "\n"
            trace.write(text)
            trace.flush()
            sys.stdout.write(text)
            sys.stdout.flush()
            for batches in seen.values():
                batches.clear()


if __name__ == "__main__":
    record(RunFolder(sys.argv[1]))
