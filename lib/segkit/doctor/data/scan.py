"""One pass over the data: every pair is decoded once and described in a small record."""

from __future__ import annotations

import copy
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segkit.data.bands import Reading, reading_of
from segkit.data.classes import Classes, find_classes, has_classes, void_ids
from segkit.data.described import Description, find_description
from segkit.data.folder import meaning_of
from segkit.doctor.data import pictures
from segkit.doctor.data.diagnosis import Record, Scan
from segkit.doctor.data.listing import Listed, list_folder
from segkit.doctor.machine import available_cores
from segkit.outputs import IGNORE

Progress = Callable[[int, int], None]
"""Called with how many pairs of how many are done."""

_MOST_WORKERS = 8
_WORTH_WORKERS = 200  # with fewer pairs, starting processes takes longer than it saves


def scan_folder(
    root: str | bytes | Path,
    *,
    splits: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    palette: Sequence[tuple[int, int, int]] | None = None,
    ignore: int | Sequence[int] = IGNORE,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Look at every pair of a folder, also at those that cannot be used.

    Args:
        root: holds images/ and masks/, or folders of splits that hold them, or a data.yaml; or is
            such a file.
        splits: the ones to look at; None for all.
        classes: names in the order of the ids; None for those of classes.json or classes.txt, if
            there is one of them.
        palette: RGB of each class, 0..255; None for that of classes.json.
        ignore: the id, or ids, by which the files mark void; 255 does so as well.
        workers: processes; 0 for this one, None for a number that suits cores and pairs.
        progress: called after each pair with how many of how many are done.

    Raises:
        ValueError: no such folder, nothing that looks like pairs, no such split, or classes and
            palette that do not fit.
    """
    if path := find_description(root):
        described = Description(path, ignore)
        names: Sequence[str | None] = splits or [*described.splits] or [None]
        sets = {name or "all": described.open(name, cache=False) for name in names}
        return scan_data(sets, workers=workers, progress=progress)
    root, known = Path(os.fsdecode(root)), Classes((), ())
    if classes or has_classes(root):
        known = find_classes(root, classes, palette)
    listing = list_folder(root, splits)
    numbers = Counter[str]()
    tasks = []
    for pair in listing.pairs:
        tasks.append((numbers[pair.split], pair))
        numbers[pair.split] += 1
    meaning = meaning_of(len(known.names), void_ids(ignore))
    records = _look_at_all(_Pairs(tasks, {}), workers, progress)
    return Scan(
        listing.splits, records, known.names, known.palette, meaning,
        listing=listing, coloured=known.coloured,
    )  # fmt: skip


def scan_data(
    sets: Mapping[str, Any], *, workers: int | None = None, progress: Progress | None = None
) -> Scan:
    """Look at every pair of data sets, as training gets it; where one is refused, at its files.

    Args:
        sets: data set by split: ``len``, ``raw``, ``stem``, ``classes``, ``palette``.
        workers: processes; 0 for this one, None for a number that suits cores and pairs.
        progress: called after each pair with how many of how many are done.

    Raises:
        ValueError: no data set, or two of them have different classes.
    """
    if not sets:
        raise ValueError("sets is empty: give data sets by split, such as {'train': ..., 'val': …}")
    first, chosen = next(iter(sets.items()))
    classes = tuple(chosen.classes)
    tasks, uncached = [], {}
    for split, dataset in sets.items():
        if tuple(dataset.classes) != classes:
            raise ValueError(
                f"{split!r} has {len(dataset.classes)} classes and {first!r} {len(classes)}, or "
                "others: the splits of a data set share them"
            )
        uncached[split] = copy.copy(dataset)
        if getattr(dataset, "cache", False):  # each pair is read once: nothing is worth keeping
            uncached[split].cache = False
        for index in range(len(dataset)):
            files = dataset.files(index) if hasattr(dataset, "files") else (None, None)
            tasks.append((index, Listed(split, dataset.stem(index), *files)))
    records = _look_at_all(_Pairs(tasks, uncached), workers, progress)
    meaning = dict(getattr(chosen, "meaning", meaning_of(len(classes), ())))
    return Scan(
        tuple(sets), records, classes, tuple(map(tuple, chosen.palette)), meaning, uncached,
        coloured=getattr(chosen, "coloured", True),
    )  # fmt: skip


def _look_at_all(
    pairs: _Pairs, workers: int | None, progress: Progress | None
) -> tuple[Record, ...]:
    if workers is None:
        workers = min(available_cores(), _MOST_WORKERS) if len(pairs) >= _WORTH_WORKERS else 0
    # DataLoader's workers are what training starts as well: one thread each, ended with the loop,
    # and an error that names a worker that was killed.
    loader = DataLoader(
        pairs,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=0 if workers == 1 else workers,
        generator=torch.Generator(),  # else the loader would draw from the caller's
    )
    records = []
    for record in loader:
        records.append(record)
        if progress is not None:
            progress(len(records), len(pairs))
    return tuple(records)


def _as_it_is(record: Any) -> Any:
    return record


class _Pairs(Dataset):
    """Records by number: looking at a pair is what a worker does."""

    def __init__(self, tasks: list[tuple[int, Listed]], sets: dict[str, Any]) -> None:
        self.tasks, self.sets = tasks, sets

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, number: int) -> Record:
        index, pair = self.tasks[number]
        refused = ""
        if pair.split in self.sets:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    chosen = self.sets[pair.split]
                    return _record_of(index, pair, *chosen.raw(index), reading=reading_of(chosen))
            except Exception as error:
                refused = str(error) or type(error).__name__
        image, print_ = pictures.look_at_image(pair.image) if pair.image else (None, None)
        mask, _, labels = (
            pictures.look_at_mask(pair.mask) if pair.mask else (None, None, pictures.Labels({}))
        )
        for picture in (image, mask):
            refused = refused or (picture.refused if picture else "")
        return Record(pair.split, index, pair.stem, image, mask, print_, labels, refused=refused)


def _record_of(
    index: int, pair: Listed, image: Tensor, mask: Tensor, *, reading: Reading
) -> Record:
    """The record of a pair as its data set gives it."""
    fits = image.dtype == torch.uint8 or reading.to_dict()
    if not fits or mask.dtype != torch.uint8 or image.shape[1:] != mask.shape:
        raise ValueError(
            f"raw({index}) gives {image.dtype} {tuple(image.shape)} and {mask.dtype} "
            f"{tuple(mask.shape)}: it is uint8 (3, H, W) and uint8 (H, W)"
        )
    size = (mask.shape[0], mask.shape[1])
    image_file = pictures.Picture(f"{pair.split}/{pair.stem}", mode="RGB", size=size)
    if pair.image:
        image_file = pictures.look_at_header(pair.image)[0]._replace(size=size)
    labels, mask_file = pictures.count_labels(mask.numpy()), None
    if pair.mask:
        found, palette = pictures.look_at_header(pair.mask)
        mask_file = found._replace(size=size, error="", too_large=False)
        used = {value: palette[value] for value in labels.values if value in palette}
        labels = labels._replace(palette=used)
    seen = np.ascontiguousarray(reading.shown(image).permute(1, 2, 0).numpy())
    print_ = pictures.fingerprint(Image.fromarray(seen))
    if reading.to_dict():  # two images that are seen alike may differ in the bits below
        digest = hashlib.blake2b(image.contiguous().numpy().tobytes(), digest_size=16)
        print_ = print_._replace(digest=digest.digest())
        image_file = image_file._replace(mode="RGB", deep=False, error="", refused="")
    return Record(pair.split, index, pair.stem, image_file, mask_file, print_, labels, True)
