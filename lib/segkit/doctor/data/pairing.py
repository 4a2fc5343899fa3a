"""Checks of names: is each file found, and has it its other half."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from segkit.data.layout import what_lies_there
from segkit.doctor.data.diagnosis import Record, Scan
from segkit.doctor.data.listing import composed
from segkit.doctor.finding import Finding, Place, counted, error, note, warning
from segkit.files import shown


def image_without_mask(scan: Scan) -> Iterator[Finding]:
    """Images of which the folder has no mask."""
    yield from _without(scan, "image_without_mask", "image", "mask")


def mask_without_image(scan: Scan) -> Iterator[Finding]:
    """Masks of which the folder has no image."""
    yield from _without(scan, "mask_without_image", "mask", "image")


def names_in_two_forms(scan: Scan) -> Iterator[Finding]:
    """Images and masks whose names read the same and are different characters."""
    if twins := _twins(scan):
        yield error(
            "names_in_two_forms",
            f"{counted(len(twins), 'pair')} whose names read the same and differ in their Unicode "
            "form: an accented letter is one character, or a letter and its accent (as Macs do it)",
            "for a program the names are not equal, so that image and mask are no pair",
            "rename both to one form: convmv -r -f utf8 -t utf8 --nfc --notest FOLDER, or "
            "path.rename(path.with_name(unicodedata.normalize('NFC', path.name)))",
            tuple(Place(" ~ ".join(record.where for record in pair)) for pair in twins),
        )


def pictures_in_subfolders(scan: Scan) -> Iterator[Finding]:
    """Folders in images/ and masks/: what they hold is not read."""
    if nested := scan.listing.nested:
        number = sum(pictures for _, pictures in nested)
        yield Finding(
            "warning" if scan.records else "error",
            "pictures_in_subfolders",
            f"{counted(number, 'picture')} in {counted(len(nested), 'folder')} within images/ or "
            f"masks/, such as {shown(nested[0][0])}",
            "images/ and masks/ are read without their subfolders: these pictures are left out",
            "move them up, images and masks alike, as city1_x.png where city1/ and city2/ both "
            "have x.png; of images/train/ and masks/train/ make train/images/ and train/masks/",
            tuple(Place(str(folder)) for folder, _ in nested),
        )


def listed_without_files(scan: Scan) -> Iterator[Finding]:
    """Stems in a list of a split that no file has."""
    if lost := scan.listing.lost:
        listing, stem = lost[0]
        spelt = {composed(record.stem) for record in scan.records if record.split == listing.stem}
        folder = next((Path(r.pictures[0].file).parent for r in scan.records if r.image), None)
        there = folder and what_lies_there(folder, stem)
        near = f" ({there})" if there else ""
        if composed(stem) in spelt:
            near = " (a file of this name is there, in another Unicode form)"
        yield error(
            "listed_without_files",
            f"{counted(len(lost), 'stem')} of a list without a file; {shown(listing)} lists "
            f"{stem!r}{near}",
            "the data set cannot be opened, and the split is smaller than it claims to be",
            "put the files there, or take the stems out of the list (a stem has no ending)",
            tuple(Place(f"{listing}: {stem}") for listing, stem in lost),
        )


def listed_twice(scan: Scan) -> Iterator[Finding]:
    """Lines of a list that name a pair once more."""
    if repeated := scan.listing.repeated:
        listing, line = repeated[0]
        yield warning(
            "listed_twice",
            f"{counted(len(repeated), 'line')} of a list that name a pair again; {shown(listing)} "
            f"has {line!r} more than once",
            "each pair is taken once, however often it is listed",
            "take the repeated lines out of the list",
            tuple(Place(f"{listing}: {line}") for listing, line in repeated),
        )


def in_two_splits(scan: Scan) -> Iterator[Finding]:
    """Images that two splits read from one file."""
    homes: dict[str, set[str]] = defaultdict(set)
    for record in scan.records:
        if record.image:
            homes[record.image.file].add(record.split)
    both = {file: splits for file, splits in homes.items() if len(splits) > 1}
    if both:
        first = next(iter(both))
        yield warning(
            "in_two_splits",
            f"{counted(len(both), 'image')} of two splits; {shown(first)} is in "
            f"{' and '.join(sorted(both[first]))}",
            "what was learnt by heart counts as understood: the figures come out too high",
            "take each out of one of the two lists",
            tuple(Place(file) for file in both),
        )


def unlabelled_splits(scan: Scan) -> Iterator[Finding]:
    """Splits of images only: to predict on, not to learn from or to measure with."""
    for split, number in scan.listing.unlabelled:
        yield note(
            "unlabelled_splits",
            f"{split} has {counted(number, 'image')} and no mask, and is left out",
            "it is there to predict on: what is learnt and measured comes from the other splits",
            "",
        )


def several_files_of_one_stem(scan: Scan) -> Iterator[Finding]:
    """Files that differ in their endings only."""
    if doubles := scan.listing.doubles:
        kept, other = doubles[0]
        yield error(
            "several_files_of_one_stem",
            f"{counted(len(doubles), 'file')} too many; {shown(kept)} and "
            f"{shown(other.name)} share a stem",
            "pairs are made by stem, so nobody knows which of the two is meant",
            "keep one of them",
            tuple(Place(str(other)) for _, other in doubles),
        )


def _halves(scan: Scan) -> list[Record]:
    """The records of a folder in which one half is missing."""
    return [r for r in scan.records if scan.listing.splits and not (r.image and r.mask)]


def _twins(scan: Scan) -> list[list[Record]]:
    """Halves that would be a pair if their names had one Unicode form: an image, then a mask."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in _halves(scan):
        groups[record.split, composed(record.stem)].append(record)
    found = [sorted(group, key=lambda r: r.image is None) for group in groups.values()]
    return [group for group in found if [r.image is None for r in group] == [False, True]]


def _without(scan: Scan, check: str, ours: str, other: str) -> Iterator[Finding]:
    twins = {id(record) for group in _twins(scan) for record in group}
    halves = [r for r in _halves(scan) if getattr(r, ours) and id(r) not in twins]
    if halves:
        first = halves[0]
        folder = Path(first.where).parent.parent / f"{other}s"
        near = what_lies_there(folder, first.stem) or f"{shown(folder)} has no such file"
        yield error(
            check,
            f"{counted(len(halves), ours)} without {other}; of {shown(first.where)}: {near}",
            "the data set cannot be opened; or, paired by order, all behind it get a neighbour's",
            f"add the {other} under the same stem (an ending that is read), or remove the {ours}",
            tuple(Place(record.where) for record in halves),
        )
