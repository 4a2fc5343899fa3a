"""One process of `segbook prove-resume`: it trains a run and writes a line for each step.

    python -m segbook.training.step_digests RUN_FOLDER

Floats are written as hexadecimal numbers, which lose no bit; images, labels and the states of the
random number generators as hashes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from segbook.builders.batches import train_batches
from segbook.recipes.recipe import Recipe
from segbook.runs.files import regular
from segbook.runs.folder import RunFolder
from segbook.training.loop import train
from segbook.training.state import build
from segkit import random_state
from segkit.data.subset import Subset

VALIDATED = 4
"""Images of the validation: a proof needs no more, and Cityscapes has 500."""
DIGESTS = "steps.jsonl"


def read_digests(folder: RunFolder) -> list[dict[str, Any]]:
    """The lines of all processes that trained a run; one that a kill cut short is left out."""
    lines = []
    for text in (folder.path / DIGESTS).read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return lines


def digest_of(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes."""
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(content.tobytes()).hexdigest()


def record(folder: RunFolder) -> None:
    """Train a run to its end, in this process; print each line as well."""
    torch.use_deterministic_algorithms(torch.cuda.is_available(), warn_only=True)
    recipe = Recipe.from_dict(folder.read()["recipe"])
    state = build(recipe, folder)
    state.sets["val"] = Subset(state.sets["val"], VALIDATED)
    seen: dict[str, list[str]] = {"images": [], "labels": []}

    def batches(*arguments: Any, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
        with contextlib.closing(train_batches(*arguments, **options)) as stream:
            for images, labels in stream:
                seen["images"].append(digest_of(images))
                seen["labels"].append(digest_of(labels))
                yield images, labels

    with open(folder.path / DIGESTS, "a", encoding="utf-8", opener=regular) as file:
        file.write("\n")  # a kill may have cut the last line short
        for step in train(state, folder, show=lambda line: None, batches=batches):
            line = {
                "step": step.index,
                "loss": step.loss.hex(),
                "lr": float(step.lr).hex(),
                **seen,
                "rng": random_state.digest(),
            }
            text = json.dumps(line) + "\n"
            file.write(text)
            file.flush()
            sys.stdout.write(text)
            sys.stdout.flush()
            for digests in seen.values():
                digests.clear()


if __name__ == "__main__":
    record(RunFolder(sys.argv[1]))
