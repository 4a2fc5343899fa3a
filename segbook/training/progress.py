"""A picture of a run that grows while it trains: some validation images, validation by validation.

``validation.png`` in the run's folder has a row for each of the first images of the val split: the
image, its labels, and what the network said of it at each validation. The predictions are those of
the validation itself, so that no forward pass is made for them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, PngImagePlugin
from torch import Tensor, nn

from segbook.recipes.recipe import Recipe
from segbook.runs import files
from segbook.runs.folder import PICTURE, RunFolder
from segbook.runs.recording import coloured, small_image, small_labels
from segkit.data import Reading

ROWS, COLUMNS = 2, 8
"""Images, and predictions of each: the first ever and the newest ones."""
HEAD, GAP = 12, 2
"""Pixels above a column, for its step, and between columns."""
RGB = Reading()


@contextlib.contextmanager
def first_predictions(model: nn.Module, batches: Iterator[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """Note the first batch that a network is evaluated on, and what it says of it.

    Args:
        model: that will see the batches, one at a time.
        batches: (images, labels).

    Yields:
        The batches to evaluate, and a list that then holds images, labels and class ids of the
        first `ROWS` images, on the CPU.
    """
    noted: list[Tensor] = []

    def noting() -> Iterator[Any]:
        for images, labels in batches:
            if not noted:
                noted.extend((images[:ROWS], labels[:ROWS]))
            yield images, labels

    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if len(noted) == 2:
            noted.append(output.logits[:ROWS].argmax(1).cpu())

    handle = model.register_forward_hook(note)
    try:
        yield noting(), noted
    finally:
        handle.remove()


def grow(
    folder: RunFolder,
    recipe: Recipe,
    step: int,
    noted: list[Tensor],
    palette: Any,
    reading: Reading = RGB,
) -> None:
    """Add what a network said after a step to the run's picture; later steps' columns go.

    Args:
        folder: of the run.
        recipe: by whose mean and deviation the images are normalised.
        step: the step, of which a resumed run may have made a column before.
        noted: images (B, C, H, W), labels and class ids (B, H, W), see `first_predictions`.
        palette: K colours, RGB in 0..255.
        reading: which of the C bands are seen.
    """
    if len(noted) != 3 or noted[0].dim() != 4:
        return  # no batch at all, or nothing that a picture shows: a volume
    images, labels, ids = noted
    said = _column([_colours(each, palette) for each in ids], f"step {step}")
    try:
        with open(folder.path / PICTURE, "rb", opener=files.regular) as file:
            before: Any = Image.open(file)
            steps = [int(one) for one in before.text["steps"].split()]
            width = (before.width + GAP) // (len(steps) + 2)
            cells = [
                before.crop((i * width, 0, (i + 1) * width - GAP, before.height))
                for i in range(len(steps) + 2)
            ]
        kept = [i for i, one in enumerate(steps) if one < step]
        if cells[0].size != said.size:
            raise ValueError("another picture")
    except Exception:  # there is none, or of whatever kind it is: it begins anew
        mean, std = (torch.tensor(each)[:, None, None] for each in (recipe.mean, recipe.std))
        pixels = ((images * std + mean).clip(0, 1) * 255).round().to(torch.uint8)
        seen = [reading.shown(each).permute(1, 2, 0).numpy() for each in pixels]
        shown = [Image.fromarray(small_image(np.ascontiguousarray(each))) for each in seen]
        truth = [_colours(each, palette) for each in labels]
        cells, steps, kept = [_column(shown, "image"), _column(truth, "labels")], [], []
    if len(kept) == COLUMNS:
        del kept[1]
    cells = [*cells[:2], *(cells[2 + i] for i in kept), said]
    picture = Image.new("RGB", (len(cells) * (said.width + GAP) - GAP, said.height), "white")
    for i, cell in enumerate(cells):
        picture.paste(cell, (i * (said.width + GAP), 0))
    about = PngImagePlugin.PngInfo()
    about.add_text("steps", " ".join(map(str, [*(steps[i] for i in kept), step])))
    written = io.BytesIO()
    picture.save(written, "png", pnginfo=about)
    files.write_whole(folder.path / PICTURE, lambda file: file.write(written.getvalue()))


def _colours(ids: Tensor, palette: Any) -> Image.Image:
    return coloured(small_labels(ids.to(torch.uint8).numpy()), palette).convert("RGB")


def _column(pictures: list[Image.Image], head: str) -> Image.Image:
    """Pictures below each other, with a word above them."""
    height = HEAD + sum(one.height + GAP for one in pictures) - GAP
    column = Image.new("RGB", (max(one.width for one in pictures), height), "white")
    ImageDraw.Draw(column).text((1, 0), head, fill="black")
    top = HEAD
    for one in pictures:
        column.paste(one, (0, top))
        top += one.height + GAP
    return column
