"""One pass over the data: every pair is decoded once and described in a small record."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segkit.doctor.listing import Listed, list_folder
from segkit.doctor.machine import available_cores
from segkit.doctor.pictures import (
    Labels,
    Picture,
    describe,
    fingerprint,
    look_at_header,
    look_at_image,
    look_at_mask,
)
from segkit.doctor.record import Record, Scan
from segkit.outputs import IGNORE

Progress = Callable[[int, int], None]
"""Is told how many pairs of how many are done."""

_MOST_WORKERS = 8
_WORTH_WORKERS = 200  # with fewer pairs, starting processes takes longer than it saves


def scan_folder(
    root: Path,
    *,
    splits: tuple[str, ...] | None = None,
    classes: tuple[str, ...] = (),
    palette: tuple[tuple[int, int, int], ...] = (),
    ignore: int = IGNORE,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Look at every pair of a folder, also at those that cannot be used.

    Args:
        root: holds images/ and masks/, or folders of splits that hold them.
        splits: the ones to look at; None for all.
        classes: names in the order of the ids; () where they are not known.
        palette: RGB of each class; () where nobody gave one.
        ignore: the id by which the files mark void; 255 does so as well.
        workers: processes; 0 for this one, None for a number that suits cores and pairs.
        progress: told after each pair how many of how many are done.

    Raises:
        ValueError: no such folder, nothing that looks like pairs, no such split.
    """
    listing = list_folder(root, splits)
    meaning = {**{value: value for value in range(len(classes))}, ignore: IGNORE, IGNORE: IGNORE}
    numbers = dict.fromkeys(listing.splits, -1)
    tasks = []
    for pair in listing.pairs:
        numbers[pair.split] += 1
        tasks.append((numbers[pair.split], pair))
    records = tuple(_look_at_all(_Pairs(tasks, {}), workers, progress))
    return Scan(listing.splits, records, classes, palette, meaning, listing=listing)


def scan_data(
    sets: Mapping[str, Any], *, workers: int | None = None, progress: Progress | None = None
) -> Scan:
    """Look at every pair of data sets, as training gets it; where one is refused, at its files.

    Args:
        sets: data set by split: ``len``, ``raw``, ``stem``, ``classes``, ``palette``.
        workers: processes; 0 for this one, None for a number that suits cores and pairs.
        progress: told after each pair how many of how many are done.

    Raises:
        ValueError: no data set, or two of them have different classes.
    """
    if not sets:
        raise ValueError("sets is empty: give data sets by split, such as {'train': ..., 'val': …}")
    first = next(iter(sets))
    for split, dataset in sets.items():
        if tuple(dataset.classes) != tuple(sets[first].classes):
            raise ValueError(
                f"{split!r} has {len(dataset.classes)} classes and {first!r} "
                f"{len(sets[first].classes)}, or others: the splits of a data set share them"
            )
    tasks = []
    for split, dataset in sets.items():
        for index in range(len(dataset)):
            tasks.append((index, Listed(split, dataset.stem(index), *_files(dataset, index))))
    records = tuple(_look_at_all(_Pairs(tasks, dict(sets)), workers, progress))
    chosen = sets[first]
    palette = tuple(map(tuple, chosen.palette))
    return Scan(tuple(sets), records, tuple(chosen.classes), palette, _meaning(chosen), dict(sets))


def _files(dataset: Any, index: int) -> tuple[Path | None, Path | None]:
    """Image and mask of a data set that has files; the synthetic ones have none."""
    return dataset.files(index) if hasattr(dataset, "files") else (None, None)


def _meaning(dataset: Any) -> dict[int, int]:
    """The class, or IGNORE, of each value that a mask may hold."""
    if hasattr(dataset, "meaning"):
        return dict(dataset.meaning)
    return {**{value: value for value in range(len(dataset.classes))}, IGNORE: IGNORE}


def _look_at_all(pairs: _Pairs, workers: int | None, progress: Progress | None) -> Iterator[Record]:
    if workers is None:
        workers = min(available_cores(), _MOST_WORKERS) if len(pairs) >= _WORTH_WORKERS else 0
    workers = 0 if workers == 1 else workers
    # DataLoader's workers are what training starts as well: one thread each, ended with the loop,
    # and an error that names a worker that was killed.
    loader = DataLoader(
        pairs.for_workers() if workers else pairs,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        generator=torch.Generator(),  # else the loader would draw from the caller's
    )
    for done, record in enumerate(loader, 1):
        if progress is not None:
            progress(done, len(pairs))
        yield record


def _as_it_is(record: Record) -> Record:
    return record


class _Pairs(Dataset):
    """Records by number: looking at a pair is what a worker does."""

    def __init__(self, tasks: list[tuple[int, Listed]], sets: dict[str, Any]) -> None:
        self.tasks, self.sets = tasks, sets

    def __len__(self) -> int:
        return len(self.tasks)

    def for_workers(self) -> _Pairs:
        """The same with data sets that keep nothing: a worker reads each pair only once."""
        sets = {split: copy.copy(dataset) for split, dataset in self.sets.items()}
        for dataset in sets.values():
            if getattr(dataset, "cache", False):
                dataset.cache = False
        return _Pairs(self.tasks, sets)

    def __getitem__(self, number: int) -> Record:
        index, (split, stem, image, mask) = self.tasks[number]
        refused = ""
        if split in self.sets:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    pair = self.sets[split].raw(index)
                return _record_of(split, index, stem, image, mask, *pair)
            except Exception as error:
                refused = str(error) or type(error).__name__
        found_image, look = look_at_image(image) if image else (None, None)
        found_mask, _, labels = look_at_mask(mask) if mask else (None, None, Labels({}))
        return Record(split, index, stem, found_image, found_mask, look, labels, refused=refused)


def _record_of(
    split: str,
    index: int,
    stem: str,
    image_file: Path | None,
    mask_file: Path | None,
    image: Tensor,
    mask: Tensor,
) -> Record:
    if image.dtype != torch.uint8 or mask.dtype != torch.uint8 or image.shape[1:] != mask.shape:
        raise ValueError(
            f"raw({index}) gives {image.dtype} {tuple(image.shape)} and {mask.dtype} "
            f"{tuple(mask.shape)}: it is uint8 (3, H, W) and uint8 (H, W)"
        )
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    labels = describe(mask.numpy())
    size = (mask.shape[0], mask.shape[1])
    name = Picture(f"{split}/{stem}", mode="RGB", size=size)
    found_image = look_at_header(image_file)[0]._replace(size=size) if image_file else name
    found_mask, palette = look_at_header(mask_file) if mask_file else (None, {})
    used = {value: palette[value] for value in labels.values if value in palette}
    if found_mask is not None:
        found_mask = found_mask._replace(size=size, error="", too_large=False)
    look = fingerprint(Image.fromarray(pixels))
    return Record(
        split, index, stem, found_image, found_mask, look, labels._replace(palette=used), True
    )
