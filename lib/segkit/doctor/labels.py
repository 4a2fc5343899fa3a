"""Checks of masks: do their values mean what they are taken for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from segkit.data.images import _LOSSY
from segkit.doctor.diagnosis import excused_by_lines
from segkit.doctor.finding import Finding, counted
from segkit.doctor.pictures import ramps
from segkit.doctor.record import Record, Scan
from segkit.outputs import IGNORE

MOST_VOID = 0.5
"""Share of void pixels in a split above which there is a warning."""


def classes_unknown(scan: Scan) -> Iterator[Finding]:
    """A folder that does not say what its ids mean."""
    if scan.classes:
        return
    sound = scan.sound
    largest = max((v for r in sound for v in r.labels.values if v != IGNORE), default=0)
    yield Finding(
        "error",
        "classes_unknown",
        f"nobody names the classes; the masks hold ids up to {largest}",
        "without names neither their number is known nor which id is wrong",
        "write the names to classes.txt in the data's folder, one a line, in the order of the ids "
        "(or give that folder, where this is one of its splits)",
    )


def lossy_masks(scan: Scan) -> Iterator[Finding]:
    """Masks that JPEG, WebP or blending has been through."""
    bad = scan.faults.get("lossy_masks", ())
    compressed = [record for record in bad if record.mask and record.mask.format in _LOSSY]
    if compressed:
        formats = ", ".join(sorted({record.mask.format for record in compressed}))
        slopes = _slopes(scan, compressed)
        seen = any(pixels for _, pixels in slopes)
        said = f", {_pixels(slopes)} on a slope between two ids" if seen else ""
        yield Finding(
            "error",
            "lossy_masks",
            f"{counted(len(compressed), 'mask')} saved as {formats}{said}",
            "compression changes pixels, and a changed pixel is another class",
            "save masks as PNG, from the originals",
            scan.places(slopes, lambda values: _mark_slopes(scan, values)),
            len(compressed),
        )
    once = [record for record in bad if not (record.mask and record.mask.format in _LOSSY)]
    if once:
        wrong = any(scan.strays(record) for record in once)
        yield Finding(
            "error" if wrong else "warning",
            "lossy_masks",
            f"{counted(len(once), 'mask')} that look compressed or resized by blending once: "
            f"{_pixels(_slopes(scan, once))} lie on a slope between two ids",
            "borders of regions hold ids that nobody labelled",
            "take the originals; resize masks with nearest neighbour, save them as PNG only",
            scan.places(_slopes(scan, once), lambda values: _mark_slopes(scan, values)),
            len(once),
        )


def class_of_lines(scan: Scan) -> Iterator[Finding]:
    """Masks that would look blended, were there no class of contours."""
    if excused := excused_by_lines(scan):
        line = scan.line_class
        pixels = [(record, record.labels.values.get(line, 0)) for record in excused]
        yield Finding(
            "note",
            "class_of_lines",
            f"id {line} is drawn as lines of one pixel in {counted(len(excused), 'mask')}",
            "contours are so; so is what blending leaves between two ids, if no region has the id",
            "if nobody labelled lines: take the originals, resize masks with nearest neighbour",
            scan.places(pixels, lambda values: values == line),
            len(excused),
        )


def colour_masks(scan: Scan) -> Iterator[Finding]:
    """Masks that hold colours in place of ids."""
    bad = scan.faults.get("colour_masks", ())
    coloured = [record for record in bad if record.labels.colours]
    known = np.array([(r << 16) + (g << 8) + b for r, g, b in scan.palette], np.int64)
    if coloured:
        colours: Counter[int] = Counter()
        for record in coloured:
            colours.update(record.labels.values)
        explained = sum(n for colour, n in colours.items() if colour in known)
        if 2 * explained < sum(colours.values()):
            known = known[:0]  # another palette was used; nothing is right or wrong by this one
        strange = {colour: pixels for colour, pixels in colours.items() if colour not in known}
        fix = (
            "segkit.data.mask_from_colours(segkit.data.read_image(file), palette) makes ids, once; "
            "palette is [(r, g, b), ...] of the classes in their order; save as PNG"
        )
        if all(_is_grey(colour) for colour in colours):
            said, fix = "all grey", "save one of the three channels, if it holds the ids"
        elif not len(known):
            said = "the palette is not known"
        elif strange:
            said = f"{len(strange)} not in the palette, {_pixels_of(strange)}"
        else:
            said = "all of the palette"
        yield Finding(
            "error",
            "colour_masks",
            f"{counted(len(coloured), 'mask')} of {len(colours)} colours in place of ids ({said}); "
            f"most: {_most(colours)}",
            "a mask holds one id in each pixel; a colour picture is refused",
            fix,
            scan.places(
                [(record, _outside(record, known)) for record in coloured],
                lambda values: _mark_outside(values, known),
            ),
            len(coloured),
        )
    shuffled = [record for record in bad if not record.labels.colours]
    if shuffled:
        yield Finding(
            "error",
            "colour_masks",
            f"{counted(len(shuffled), 'mask')} in which the palette's colours have other indices "
            "than in the rest",
            "the index is read as the id: the same region is another class in each file",
            "open as RGB and map colours: segkit.data.mask_from_colours(read_image(file), palette)",
            scan.places([(record, _area(record)) for record in shuffled]),
            len(shuffled),
        )


def zero_and_255_masks(scan: Scan) -> Iterator[Finding]:
    """Masks of 0 and 255, where 255 is not void but the object."""
    bad = scan.faults.get("zero_and_255_masks", ())
    if bad:
        found = [(record, record.labels.values.get(IGNORE, 0)) for record in bad]
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
            f"{counted(len(bad), 'mask')} of 0 and 255 only, {_pixels(found)} of 255",
            "255 is void and is left out of loss and metrics: the object would never be learnt",
            fix,
            scan.places(found, lambda values: values == IGNORE),
            len(bad),
        )


def off_by_one(scan: Scan) -> Iterator[Finding]:
    """Masks that count classes from 1."""
    bad, number = scan.faults.get("off_by_one", ()), len(scan.classes)
    if not bad:
        return
    found = [(record, record.labels.values[number]) for record in bad]
    zeros = sum(record.labels.values.get(0, 0) for record in bad)
    if zeros:
        said = f"besides 0 to {number - 1}, one too many for {number} classes"
        fix = (
            f"if 0 is 'other' (ADE20K, reduce_zero_label): subtract 1 and make 0 void, or take "
            f"segkit.data.ADE20K; if {number} is void: ignore={number}; else name class {number}"
        )
    else:
        said = f"and never 0: they count the {number} classes from 1"
        fix = "subtract 1 from every id but 255"
    yield Finding(
        "error",
        "off_by_one",
        f"{counted(len(bad), 'mask')} with the id {number} ({_pixels(found)}) {said}",
        f"ids are 0 to {number - 1}: every class would be taken for its neighbour",
        fix,
        scan.places(found, lambda values: values == number),
        len(bad),
    )


def values_out_of_range(scan: Scan) -> Iterator[Finding]:
    """Masks with ids of no class."""
    bad = scan.faults.get("values_out_of_range", ())
    if not bad:
        return
    totals: Counter[int] = Counter()
    for record in bad:
        totals.update(scan.strays(record))
    found = [(record, sum(scan.strays(record).values())) for record in bad]
    if set(totals) == {IGNORE - 1}:
        fix = "254 is a void of 255 from which 1 was subtracted: set it back to 255"
    elif all(len(record.labels.values) == 2 and 0 in record.labels.values for record in bad):
        fix = f"two values: divide by the larger one if {max(totals)} marks the object"
    else:
        fix = "set void pixels to 255 (or name their id by ignore=), or name the missing classes"
    strays = np.array(sorted(totals))
    yield Finding(
        "error",
        "values_out_of_range",
        f"{counted(len(bad), 'mask')} with ids that no class has: {_listed(totals)}; "
        f"the {len(scan.classes)} classes have 0 to {len(scan.classes) - 1}, void is 255",
        "the loss refuses such an id, on a GPU with an error that names nothing",
        fix,
        scan.places(found, lambda values: np.isin(values, strays)),
        len(bad),
    )


def void_share(scan: Scan) -> Iterator[Finding]:
    """Masks that are void everywhere, and splits that are void for the most part."""
    empty = []
    for split in scan.splits:
        sound = [r for r in scan.sound if scan.classes and r.split == split]
        counts = [scan.counts(record) for record in sound]
        void = [r for r, count in zip(sound, counts, strict=True) if not count[:-1].any()]
        if sound and len(void) == len(sound):
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
        total = sum(counts, np.zeros(len(scan.classes) + 1, np.int64))
        if total.any() and (share := total[-1] / total.sum()) > MOST_VOID:
            yield Finding(
                "warning",
                "void_share",
                f"{share:.0%} of the pixels of {split} are void",
                "they are left out of loss and metrics: the images teach less than they seem to",
                "check that void is meant, and not a class such as background",
                scan.places([(r, int(count[-1])) for r, count in zip(sound, counts, strict=True)]),
            )
    if empty:
        yield Finding(
            "error",
            "void_share",
            f"{counted(len(empty), 'mask')} void everywhere",
            "such an image teaches nothing, and a batch of them has no loss at all",
            "label them, or leave the pairs out",
            scan.places(
                [(record, _area(record)) for record in empty],
                lambda values: np.ones(values.shape, bool),
            ),
            len(empty),
        )


def _slopes(scan: Scan, records: list[Record]) -> list[tuple[Record, int]]:
    return [(record, scan.slopes(record)) for record in records]


def _mark_slopes(scan: Scan, values: np.ndarray) -> np.ndarray:
    line = scan.line_class
    return ramps(values) if line is None else ramps(values) & (values != line)


def _pixels(found: list[tuple[Record, int]]) -> str:
    return counted(sum(pixels for _, pixels in found), "pixel")


def _pixels_of(values: dict[int, int]) -> str:
    return counted(sum(values.values()), "pixel")


def _area(record: Record) -> int:
    return sum(record.labels.values.values())


def _listed(totals: Counter[int]) -> str:
    shown = ", ".join(f"{value} ({counted(n, 'pixel')})" for value, n in totals.most_common(5))
    return shown + (f" and {len(totals) - 5} more" if len(totals) > 5 else "")


def _most(colours: Counter[int]) -> str:
    return ", ".join(
        f"({code >> 16}, {code >> 8 & 255}, {code & 255})" for code, _ in colours.most_common(4)
    )


def _is_grey(code: int) -> bool:
    return code >> 16 == code >> 8 & 255 == code & 255


def _outside(record: Record, known: np.ndarray) -> int:
    """Pixels of colours that the palette does not have; all where none or every one is there."""
    strange = sum(n for colour, n in record.labels.values.items() if colour not in known)
    return strange or _area(record)


def _mark_outside(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    strange = ~np.isin(values, known)
    return strange if strange.any() else np.ones(values.shape, bool)
