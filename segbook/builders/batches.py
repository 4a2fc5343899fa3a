"""The batches that a run is fed with: this process's part of them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Iterator
from typing import Any

from torch import Tensor

from segbook.builders.data import build_augmentation, build_normalisation
from segbook.recipes.recipe import Recipe
from segkit import data
from segkit.data import BadSample
from segkit.data.rare_classes import Focused, RareClassSampling
from segkit.engine import distributed


def train_batches(
    recipe: Recipe,
    dataset: Any,
    *,
    start: int = 0,
    show: Callable[[str], None] = lambda line: None,
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """The endless stream of batches through the recipe's phases.

    Args:
        recipe: whose phases, augmentation, batch size and seed.
        dataset: the train split.
        start: optimizer steps that were already made.
        show: is told of each sample that is left out, once.
    """
    plan = recipe.schedule_of_crops()
    ends = [begins for begins, *_ in plan[1:]] + [None]
    known: set[int] = set()

    def left_out(sample: BadSample) -> None:
        if sample.index not in known:  # each phase meets it again
            show(str(sample))
        known.add(sample.index)

    draw = None
    if recipe.rare_class_sampling:
        draw = RareClassSampling(dataset, share=recipe.rare_class_sampling, seed=recipe.seed)
    pieces = []
    for (begins, crop, scale), end in zip(plan, ends, strict=True):
        first = max(begins, start)
        if end is not None and first >= end:
            continue
        augment = functools.partial(build_augmentation, recipe, crop, scale)
        shown = Focused(dataset, augment) if draw else dataset.with_transform(augment())
        pieces.append(
            data.batches(
                shown,
                batch_size=recipe.batch_size,
                seed=recipe.seed,
                start=first * recipe.accumulate,
                stop=None if end is None else end * recipe.accumulate,
                workers=recipe.workers,
                timeout=recipe.worker_timeout,
                rank=distributed.rank(),
                world_size=distributed.world_size(),
                bad_samples=recipe.bad_samples,
                on_bad=left_out,
                draw=draw,
            )
        )
    try:
        yield from itertools.chain.from_iterable(pieces)
    finally:
        for piece in pieces:
            piece.close()


def eval_batches(recipe: Recipe, dataset: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole images of a split, once each over all processes."""
    world_size = distributed.world_size()
    return data.sequential(
        dataset.with_transform(build_normalisation(recipe)),
        batch_size=max(1, (recipe.eval_batch_size or recipe.batch_size) // world_size),
        workers=recipe.workers,
        timeout=recipe.worker_timeout,
        rank=distributed.rank(),
        world_size=world_size,
    )
