"""Checks of whole splits: what is in them, and what they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from segkit.doctor.data.diagnosis import Record, Scan
from segkit.doctor.finding import Finding, Place, counted, note, warning
from segkit.files import folded, shown
from segkit.losses import inverse_log_frequency_weights, median_frequency_weights

FEWEST_PAIRS = 10
"""A split of fewer pairs is warned of."""

# Copies in another format, size, brightness or with 2 % cut from each side differ in 8 bits at most
# and correlate with 0.97 or more. Of CamVid's frames in different splits, two that are one second
# apart have 5 bits and 0.965, all others that are within 8 bits less than 0.93.
NEAR_BITS, NEAR_CORRELATION = 8, 0.96


def split_in_another_case(scan: Scan) -> Iterator[Finding]:
    """Splits that a recipe looks for by a name of another case."""
    for split in scan.splits:
        if (name := folded(split)) != split and name in ("train", "val", "test"):
            yield warning(
                "split_in_another_case",
                f"{shown(split)} is not {name}: names have a case",
                f"a recipe reads {name}, and does not find it",
                f"rename {shown(split)} to {name}",
            )


def tiny_split(scan: Scan) -> Iterator[Finding]:
    """Splits of no pairs or few."""
    for split in scan.splits:
        number = sum(record.split == split for record in scan.records)
        if number < FEWEST_PAIRS:
            yield Finding(
                "warning" if number else "error",
                "tiny_split",
                f"{split} has {counted(number, 'pair')}",
                "there is nothing to read"
                if not number
                else "what is learnt is learnt by heart"
                if split == "train"
                else "a figure from so few images says little about others",
                "add pairs, or move some from another split",
            )


def classes_never_present(scan: Scan) -> Iterator[Finding]:
    """Classes of which a split has not one pixel."""
    for split in scan.splits:
        pixels, _, _ = _frequencies(scan, split)
        if not pixels.any():  # no labels at all is another finding
            continue
        absent = [name for name, n in zip(scan.classes, pixels, strict=True) if not n]
        if not absent:
            continue
        shifted = absent[0] == scan.classes[0] and len(absent) == 1
        yield warning(
            "classes_never_present",
            f"{split} has no pixel of {counted(len(absent), 'class')}"
            f" of {len(scan.classes)}: {', '.join(absent[:8])}{' …' if len(absent) > 8 else ''}",
            "the network cannot learn them"
            if split == "train"
            else "their IoU is undefined there, and the mean is taken over the others",
            "check that the ids do not count from 1, as 0 is the one that is missing"
            if shifted
            else "add images with them, split by class, or take them out of the classes",
        )


def class_frequencies(scan: Scan) -> Iterator[Finding]:
    """How often each class occurs where a network learns, and weights that make up for it."""
    split = "train" if "train" in scan.splits else scan.splits[0]
    pixels, area, images = _frequencies(scan, split)
    if not pixels.any():
        return
    median = median_frequency_weights(pixels.tolist(), area.tolist()).tolist()
    log = inverse_log_frequency_weights(pixels.tolist()).tolist()
    width = max(map(len, scan.classes))
    table = [f"{'':{width}}   share   images  median frequency  inverse log frequency"] + [
        f"{name:{width}} {n / pixels.sum():7.2%} {count:8,} {middle:17.3f} {inverse:22.3f}"
        for name, n, count, middle, inverse in zip(
            scan.classes, pixels, images, median, log, strict=True
        )
    ]
    rarest = min(np.flatnonzero(pixels), key=lambda index: pixels[index])
    yield note(
        "class_frequencies",
        f"{scan.classes[rarest]} is the rarest class of {split}, with "
        f"{pixels[rarest] / pixels.sum():.2%} of the labelled pixels; weights by two formulas:\n  "
        + "\n  ".join(table),
        "rare classes weigh little in the loss, and as much as the others in the mean IoU",
        "if rare classes matter: one of the two columns as class weights of the loss, in a recipe "
        "class_weights=median or inverse_log",
    )


def near_duplicates(scan: Scan) -> Iterator[Finding]:
    """Images of two splits that are one picture, or nearly."""
    pairs = sorted(_alike(scan.records), key=lambda pair: -pair[2])
    if pairs:
        one, other, likeness = pairs[0]
        yield warning(
            "near_duplicates",
            f"{counted(len(pairs), 'pair')} of images in two splits look alike, such as "
            f"{_name(one)} and {_name(other)} (correlation {likeness:.3f})",
            "what was learnt by heart counts as understood: the figures come out too high",
            "keep each picture, and neighbouring frames of a video, in one split",
            tuple(Place(f"{_name(one)} ~ {_name(other)}") for one, other, _ in pairs),
        )


def exact_duplicates(scan: Scan) -> Iterator[Finding]:
    """Images of one split with the same pixels."""
    groups: dict[tuple[str, bytes], list[Record]] = defaultdict(list)
    for record in scan.records:
        if record.fingerprint:
            groups[record.split, record.fingerprint.digest].append(record)
    again = [group for group in groups.values() if len(group) > 1]
    if again:
        contrary = sum(any(r.labels != g[0].labels for r in g) for g in again)
        extra = sum(len(group) - 1 for group in again)
        yield Finding(
            "warning" if contrary else "note",
            "exact_duplicates",
            f"{counted(extra, 'image')} there again in the same split"
            + (f", {contrary} of them with another mask" if contrary else ""),
            "the network is told two different truths"
            if contrary
            else "they count twice in training and in the figures",
            "keep one of each",
            tuple(Place(" = ".join(map(_name, group[:4]))) for group in again),
            extra,
        )


def _frequencies(scan: Scan, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By class: its pixels, the pixels of the images that hold it, the number of these images."""
    pixels, area, images = np.zeros((3, len(scan.classes)), np.int64)
    for record in scan.sound:
        if record.split == split:
            counts = scan.counts(record)
            present = counts[:-1] > 0
            pixels += counts[:-1]
            area += present * counts.sum()
            images += present
    return pixels, area, images


def groups_of_alike(records: Sequence[Record]) -> list[list[Record]]:
    """Records in groups of which no two are alike: images that are one picture, or nearly.

    They are the connected components of what is alike: of a video all frames, one by one.

    Args:
        records: of a scan.

    Returns:
        The groups, and in each the records, in the order of ``records``.
    """
    first = {id(record): number for number, record in enumerate(records)}
    parent = [*range(len(records))]

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    for one, other, _ in _alike(records, across=False):
        low, high = sorted((root(first[id(one)]), root(first[id(other)])))
        parent[high] = low
    found: dict[int, list[Record]] = defaultdict(list)
    for number, record in enumerate(records):
        found[root(number)].append(record)
    return [*found.values()]


def _alike(
    records: Sequence[Record], *, across: bool = True
) -> Iterator[tuple[Record, Record, float]]:
    """Pairs of records, with the correlation of their thumbnails.

    Args:
        records: of a scan.
        across: only those in two splits.
    """
    records = [record for record in records if record.fingerprint]
    prints = [record.fingerprint for record in records if record.fingerprint]
    splits = np.array([record.split for record in records])
    if not records or (across and len(set(splits)) < 2):
        return
    hashes = np.array([one.hash for one in prints], ">u8")
    signs = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32) * 2 - 1
    seen = np.stack([np.frombuffer(one.thumbnail, np.uint8) for one in prints]).astype(np.float32)
    seen -= seen.mean(axis=1, keepdims=True)
    seen /= np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1)  # plain images stay 0
    for number, record in enumerate(records):
        # The product of two rows of signs is 64 - 2 * (bits that differ).
        near = signs[:number] @ signs[number] >= 64 - 2 * NEAR_BITS
        if across:
            near &= splits[:number] != record.split
        for other in np.flatnonzero(near):
            if record.image and record.image.file == _name(records[other]):
                continue  # one file in two lists is a finding of its own
            # Plain images correlate with none: no finding, but equal ones are dealt out together.
            same = not across and prints[other].digest == prints[number].digest
            likeness = 1.0 if same else float(seen[other] @ seen[number])
            if likeness >= NEAR_CORRELATION:
                yield records[other], record, likeness


def _name(record: Record) -> str:
    return record.image.file if record.image else record.where
