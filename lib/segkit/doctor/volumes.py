"""What hurts a training on volumes: files, voxels, labels."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segkit.doctor.finding import Finding, Place, by_severity, counted, error, note, warning
from segkit.outputs import IGNORE

UNEQUAL = 1.2
"""Factor between the longest and the shortest voxel of a data set, along one axis, that is told."""


class Record(NamedTuple):
    """A case that could be read.

    Attributes:
        split: in which it is.
        place: its image's file.
        size: (depth, height, width) in voxels.
        channels: C.
        spacing: length of a voxel along each axis, in mm.
        voxels: of each class, (K,).
        flat: whether all voxels of a channel have one value.
        digest: of the image's values.
    """

    split: str
    place: Place
    size: tuple[int, int, int]
    channels: int
    spacing: tuple[float, float, float]
    voxels: Tensor
    flat: bool
    digest: str


class Looked(NamedTuple):
    """What was found, and of what.

    Attributes:
        records: of the cases that could be read.
        findings: errors, then warnings, then notes.
    """

    records: list[Record]
    findings: list[Finding]


def inspect_volumes(
    sets: Mapping[str, Any], *, progress: Callable[[int, int], None] | None = None
) -> Looked:
    """Read every volume and say what is wrong.

    Args:
        sets: data sets by split, as `segkit.data.VolumeDataset`.
        progress: called after each case with how many of how many are done.
    """
    records: list[Record] = []
    unread: list[str] = []
    total, done = sum(map(len, sets.values())), 0
    for split, one in sets.items():
        for index in range(len(one)):
            try:
                records.append(_record(split, one, index))
            except (ValueError, OSError) as problem:
                unread.append(str(problem))
            done += 1
            if progress is not None:
                progress(done, total)
    classes = next(iter(sets.values())).classes
    found = [*_unread(unread), *_channels(records), *_flat(records), *_spacing(records)]
    found += [*_labels(records, classes), *_twice(records)]
    return Looked(records, by_severity(found))


def _record(split: str, one: Any, index: int) -> Record:
    image, mask = one.raw(index)
    spacing = one.spacing(index) if hasattr(one, "spacing") else (1.0, 1.0, 1.0)
    files = one.files(index) if hasattr(one, "files") else (one.stem(index),)
    counts = torch.bincount(mask.flatten().int(), minlength=IGNORE + 1)
    flat = bool((image.amin((1, 2, 3)) == image.amax((1, 2, 3))).any())
    digest = hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()
    place, size = Place(str(files[0])), (mask.shape[0], mask.shape[1], mask.shape[2])
    voxels = counts[: len(one.classes)]
    return Record(split, place, size, len(image), spacing, voxels, flat, digest)


def _unread(unread: list[str]) -> Iterator[Finding]:
    for problem in unread[:5]:
        why = "a training leaves it out, and stops where there are too many"
        yield error("unreadable_volume", problem, why, "do what it says, or take the case out")
    if len(unread) > 5:
        more = counted(len(unread) - 5, "volume")
        yield error("unreadable_volume", f"{more} more cannot be read", "", "mend these first")


def _channels(records: list[Record]) -> Iterator[Finding]:
    having = Counter(record.channels for record in records)
    if len(having) > 1:
        usual = having.most_common(1)[0][0]
        others = [record for record in records if record.channels != usual]
        yield error(
            "channels_differ",
            f"{counted(len(others), 'volume')} of other channels than {usual}",
            "the network takes one number of channels",
            "take them out, or give them the same channels",
            tuple(record.place for record in others),
        )


def _flat(records: list[Record]) -> Iterator[Finding]:
    if flat := [record for record in records if record.flat]:
        yield warning(
            "flat_volume",
            f"{counted(len(flat), 'volume')} with a channel of one value",
            "nothing can be seen in it",
            "look at how it was made, or take it out",
            tuple(record.place for record in flat),
        )


def _spacing(records: list[Record]) -> Iterator[Finding]:
    for axis, name in enumerate(("depth", "height", "width")):
        sides = sorted((r.spacing[axis], r.place) for r in records)
        if sides and sides[-1][0] > UNEQUAL * sides[0][0]:
            yield warning(
                "spacings_differ",
                f"voxels are {sides[0][0]:g} to {sides[-1][0]:g} mm long along {name}",
                "nothing here resamples: the network sees one and the same thing at many sizes",
                "resample all volumes to one spacing first, labels by nearest neighbour; "
                "predictions belong to the resampled grid",
                (sides[0][1], sides[-1][1]),
            )


def _labels(records: list[Record], classes: tuple[str, ...]) -> Iterator[Finding]:
    empty = [record for record in records if not record.voxels[1:].any()]
    if empty:
        yield note(
            "volume_without_foreground",
            f"{counted(len(empty), 'volume')} without a voxel of any class but {classes[0]!r}",
            "their patches are random ones",
            "",
            tuple(record.place for record in empty),
        )
    for split in dict.fromkeys(record.split for record in records):
        pixels = sum(record.voxels for record in records if record.split == split)
        absent = [name for name, n in zip(classes, torch.as_tensor(pixels), strict=True) if not n]
        if absent:
            yield warning(
                "classes_never_present",
                f"{split} has no voxel of {', '.join(absent)}",
                "what is never shown is not learned, and what is not there is not measured",
                "add cases that have it, or take the class out",
            )


def _twice(records: list[Record]) -> Iterator[Finding]:
    same: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        same[record.digest].append(record)
    twins = [group for group in same.values() if len({record.split for record in group}) > 1]
    if twins:
        yield error(
            "exact_duplicates",
            f"{counted(len(twins), 'volume')} in more than one split",
            "a figure of what was trained on says nothing of other cases",
            "take each out of all splits but one",
            tuple(record.place for group in twins for record in group),
        )


def patches(records: list[Record], crop: tuple[int, int, int]) -> Finding | None:
    """Patches that are larger than the volumes, and so are filled with padding.

    Args:
        records: as `inspect_volumes` gives them.
        crop: (depth, height, width) of the patches.
    """
    sizes = [record.size for record in records]
    if not sizes:
        return None
    covered = sum(math.prod(min(s, c) for s, c in zip(size, crop, strict=True)) for size in sizes)
    padding = 1 - covered / (len(sizes) * math.prod(crop))
    if padding < 0.25:
        return None
    middle = [sorted(sides)[len(sizes) // 2] for sides in zip(*sizes, strict=True)]
    smaller = tuple(min(c, m) for c, m in zip(crop, middle, strict=True))
    return warning(
        "crop_larger_than_volumes",
        f"patches of {'x'.join(map(str, crop))} from volumes of {'x'.join(map(str, middle))} are "
        f"{padding:.0%} padding",
        "padding is void: it costs time and teaches nothing",
        f"--set crop='{smaller}'",
    )
