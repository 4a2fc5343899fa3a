"""Checks of masks: do their values mean what they are taken for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from segkit.data.folder import ignore_option
from segkit.doctor.data.diagnosis import FEWEST_BORDERS, SLOPES, Record, Scan
from segkit.doctor.data.pictures import ramps
from segkit.doctor.finding import Finding, Place, counted, error, note, warning
from segkit.files import shown
from segkit.outputs import IGNORE

MOST_VOID = 0.5
"""Share of void pixels in a split above which there is a warning."""


def classes_unknown(scan: Scan) -> Iterator[Finding]:
    """A folder that does not say what its ids mean."""
    if not scan.classes:
        held = (value for record in scan.sound for value in record.labels.values)
        largest = max((value for value in held if value != IGNORE), default=0)
        yield error(
            "classes_unknown",
            f"nobody names the classes; the masks hold ids up to {largest}",
            "without names neither their number is known nor which id is wrong",
            "write the names to classes.txt in the data's folder, one a line, in the order of the "
            "ids (or give that folder, where this is one of its splits)",
        )


def lossy_masks(scan: Scan) -> Iterator[Finding]:
    """Masks that JPEG, WebP or blending has been through."""

    def mark(values: np.ndarray) -> np.ndarray:
        return ramps(values) & (values != scan.line_class)  # no value equals None

    bad = scan.faults["lossy_masks"]
    if compressed := [record for record in bad if record.lossy]:
        places = scan.places(compressed, mark, scan.slopes)
        formats = ", ".join(sorted({record.lossy for record in compressed}))
        seen = any(place.pixels for place in places)
        yield error(
            "lossy_masks",
            f"{counted(len(compressed), 'mask')} saved as {formats}"
            + f", {_pixels(places)} on a slope between two ids" * seen,
            "compression changes pixels, and a changed pixel is another class",
            "save masks as PNG, from the originals",
            places,
        )
    if once := [record for record in bad if not record.lossy]:
        places = scan.places(once, mark, scan.slopes)
        yield Finding(
            "error" if any(map(scan.strays, once)) else "warning",
            "lossy_masks",
            f"{counted(len(once), 'mask')} that look compressed or resized by blending once: "
            f"{_pixels(places)} lie on a slope between two ids",
            "borders of regions hold ids that nobody labelled",
            "take the originals; resize masks with nearest neighbour, save them as PNG only",
            places,
        )


def class_of_lines(scan: Scan) -> Iterator[Finding]:
    """Masks that would look blended, were there no class of contours."""
    excused = [
        record
        for record in scan.sound
        if record.labels.borders >= FEWEST_BORDERS
        and sum(record.labels.ramps.values()) > SLOPES * record.labels.borders
    ]
    if excused:
        yield note(
            "class_of_lines",
            f"id {scan.line_class} is drawn as lines of one pixel in "
            f"{counted(len(excused), 'mask')}",
            "contours are so; so is what blending leaves between two ids, if no region has the id",
            "if nobody labelled lines: take the originals, resize masks with nearest neighbour",
            scan.places(excused, lambda values: values == scan.line_class),
        )


def colour_masks(scan: Scan) -> Iterator[Finding]:
    """Masks that hold colours in place of ids."""
    bad = scan.faults["colour_masks"]
    if coloured := [record for record in bad if record.labels.colours]:
        known = np.array([(r << 16) + (g << 8) + b for r, g, b in scan.palette], np.int64)
        colours = _total(record.labels.values for record in coloured)
        explained = sum(n for colour, n in colours.items() if colour in known)
        if 2 * explained < colours.total():
            known = known[:0]  # another palette was used; nothing is right or wrong by this one
        strange = [n for colour, n in colours.items() if colour not in known]
        fix = (
            "segkit.data.mask_from_colours(segkit.data.read_image(file), palette) makes ids, once; "
            "palette is [(r, g, b), ...] of the classes in their order; save as PNG"
        )
        rgb = {code: (code >> 16, code >> 8 & 255, code & 255) for code in colours}
        if all(red == green == blue for red, green, blue in rgb.values()):
            which, fix = "all grey", "save one of the three channels, if it holds the ids"
        elif not len(known):
            which = "the palette is not known"
        elif strange:
            which = f"{len(strange)} not in the palette, {counted(sum(strange), 'pixel')}"
        else:
            which = "all of the palette"
        most = ", ".join(str(rgb[code]) for code, _ in colours.most_common(4))
        yield error(
            "colour_masks",
            f"{counted(len(coloured), 'mask')} of {len(colours)} colours in place of ids ({which});"
            f" most: {most}",
            "a mask holds one id in each pixel; a colour picture is refused",
            fix,
            scan.places(coloured, lambda values: ~np.isin(values, known)),
        )
    if shuffled := [record for record in bad if not record.labels.colours]:
        yield error(
            "colour_masks",
            f"{counted(len(shuffled), 'mask')} in which the palette's colours have other indices "
            "than in the rest",
            "the index is read as the id: the same region is another class in each file",
            "open as RGB and map colours: segkit.data.mask_from_colours(read_image(file), palette)",
            scan.places(shuffled),
        )


def other_palette(scan: Scan) -> Iterator[Finding]:
    """Masks whose own palette shows classes in other colours than the list of classes does."""
    if not scan.coloured:
        return
    colours = dict(enumerate(scan.palette))
    other, swapped = [], []
    for record in scan.sound:
        own = record.labels.palette or {}
        odd = {
            k: rgb
            for k, rgb in own.items()
            if scan.meaning.get(k) == k and colours.get(k, rgb) != rgb
        }
        if odd:
            other.append((record, odd))
            if any(rgb in scan.palette for rgb in odd.values()):
                swapped.append((record, odd))
    if chosen := swapped or other:
        value, rgb = next(
            (k, c) for k, c in chosen[0][1].items() if not swapped or c in scan.palette
        )
        meant = f", which is {scan.classes[scan.palette.index(rgb)]!r}'s" if swapped else ""
        yield (warning if swapped else note)(
            "other_palette",
            f"{counted(len(chosen), 'mask')} whose own palette is not that of the classes, such as "
            f"{shown(chosen[0][0].where)}: id {value}, {scan.classes[value]!r}, is {rgb} in it"
            f"{meant}, and {colours[value]} in the list of classes",
            "the index counts, and the classes' order may be another than the masks'"
            if swapped
            else "nothing, if only the colours differ: the index counts",
            "compare the order of classes.json with the program's that drew the masks; where the "
            "names are right, take the palette of the masks into classes.json",
            scan.places([record for record, _ in chosen]),
        )


def zero_and_255_masks(scan: Scan) -> Iterator[Finding]:
    """Masks of 0 and 255, where 255 is not void but the object."""
    if bad := scan.faults["zero_and_255_masks"]:
        places = scan.places(bad, lambda values: values == IGNORE)
        named = any(set(r.labels.values) - {0, IGNORE} for r in scan.sound)
        fix = "divide the masks by 255, so that 1 is the object (if 255 is truly void, ignore this)"
        if len(scan.classes) > 2:
            fix = (
                f"label them again from the source: 255 is one of {len(scan.classes)} classes, and "
                "0 hides the rest; or 255 -> its id, and 0 -> 255 (void)"
            )
        yield Finding(
            # Of two classes, others name the object by an id: these may well show none.
            "warning" if named and len(scan.classes) == 2 else "error",
            "zero_and_255_masks",
            f"{counted(len(bad), 'mask')} of 0 and 255 only, {_pixels(places)} of 255",
            "255 is void and is left out of loss and metrics: the object would never be learnt",
            fix,
            places,
        )


def off_by_one(scan: Scan) -> Iterator[Finding]:
    """Masks that count classes from 1."""
    number = len(scan.classes)
    if bad := scan.faults["off_by_one"]:
        places = scan.places(bad, lambda values: values == number)
        if any(0 in record.labels.values for record in bad):
            how = f"besides 0 to {number - 1}, one too many for {number} classes"
            fix = (
                "if 0 is 'other' (ADE20K, reduce_zero_label): subtract 1 and make 0 void, or take "
                f"segkit.data.ADE20K; if {number} is void: {ignore_option([number])}; else name "
                f"class {number}"
            )
        else:
            how = f"and never 0: they count the {number} classes from 1"
            fix = "subtract 1 from every id but 255"
        yield error(
            "off_by_one",
            f"{counted(len(bad), 'mask')} with the id {number} ({_pixels(places)}) {how}",
            f"ids are 0 to {number - 1}: every class would be taken for its neighbour",
            fix,
            places,
        )


def values_out_of_range(scan: Scan) -> Iterator[Finding]:
    """Masks with ids of no class."""
    if bad := scan.faults["values_out_of_range"]:
        totals = _total(map(scan.strays, bad))
        if set(totals) == {IGNORE - 1}:
            fix = "254 is a void of 255 from which 1 was subtracted: set it back to 255"
        elif all(len(record.labels.values) == 2 and 0 in record.labels.values for record in bad):
            fix = f"two values: divide by the larger one if {max(totals)} marks the object"
        else:
            void = ignore_option(sorted(totals)[:5])
            fix = f"set void pixels to 255 (or name their id: {void}), or name the missing classes"
        ids = ", ".join(f"{value} ({counted(n, 'pixel')})" for value, n in totals.most_common(5))
        more = f" and {len(totals) - 5} more" * (len(totals) > 5)
        yield error(
            "values_out_of_range",
            f"{counted(len(bad), 'mask')} with ids that no class has: {ids}{more}; the "
            f"{len(scan.classes)} classes have 0 to {len(scan.classes) - 1}, void is 255",
            "the loss refuses such an id, on a GPU with an error that names nothing",
            fix,
            scan.places(bad, lambda values: np.isin(values, list(totals))),
        )


def void_share(scan: Scan) -> Iterator[Finding]:
    """Masks that are void everywhere, and splits that are void for the most part."""
    empty: list[Record] = []
    for split in scan.splits:
        sound = [r for r in scan.sound if scan.classes and r.split == split]
        if not sound:
            continue
        counts = np.stack([scan.counts(record) for record in sound])
        void = [sound[index] for index in np.flatnonzero(~counts[:, :-1].any(1))]
        if len(void) == len(sound):
            yield Finding(
                "error" if split == "train" else "warning",
                "void_share",
                f"all {counted(len(sound), 'mask')} of {split} are void everywhere",
                "nothing can be learnt or measured there (the labels of a test split may be kept "
                "back)",
                "get the labels, or take another split",
            )
            continue
        empty += void
        if (share := counts[:, -1].sum() / counts.sum()) > MOST_VOID:
            yield warning(
                "void_share",
                f"{share:.0%} of the pixels of {split} are void",
                "they are left out of loss and metrics: the images teach less than they seem to",
                "check that void is meant, and not a class such as background",
                scan.places(sound, pixels=lambda record: int(scan.counts(record)[-1])),
            )
    if empty:
        yield note(
            "void_share",
            f"{counted(len(empty), 'mask')} void everywhere",
            "such an image teaches nothing",
            "label them, or leave the pairs out, unless that is meant",
            scan.places(empty, lambda values: np.ones(values.shape, bool)),
        )


def _total(counts: Iterable[Mapping[int, int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for values in counts:
        total.update(values)
    return total


def _pixels(places: Sequence[Place]) -> str:
    return counted(sum(place.pixels for place in places), "pixel")
