"""What is wrong with a mask: one name for each, so that one fault is not reported three times."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from segkit.data.images import _LOSSY
from segkit.outputs import IGNORE

if TYPE_CHECKING:
    from segkit.doctor.record import Record, Scan

# Share of border pixels that lie on a slope. Masks drawn by people and by programs have up to 2 %
# (CamVid), and 10 % at 40x32 pixels; JPEG of quality 50 to 95 leaves 20 to 40 %, resizing by
# blending 23 % or more. Values that stand for no class are evidence of their own.
_SLOPES, _SLOPES_WITH_STRAYS = 0.15, 0.05
_FEWEST_BORDERS = 100
_FEW_STRAYS = 2
_INSIDE = 0.05  # share of a class inside of its regions, below which it is drawn as lines


def diagnose(scan: Scan) -> dict[str, tuple[Record, ...]]:
    """Give each faulty mask that can be decoded the name of its fault.

    Returns:
        Masks by name of the fault: "lossy_masks", "colour_masks", "sixteen_bit",
        "zero_and_255_masks", "off_by_one", "values_out_of_range".
    """
    faults: dict[str, list[Record]] = defaultdict(list)
    rest = []
    for record in scan.records:
        if not record.labels.values:
            continue
        if fault := _by_itself(scan, record):
            faults[fault].append(record)
        else:
            rest.append(record)
    for fault, records in (
        ("colour_masks", _shuffled_palettes(rest)),
        ("zero_and_255_masks", _binary(rest)),
        ("off_by_one", _off_by_one(scan, rest)),
    ):
        taken = {id(record) for record in records}
        rest = [record for record in rest if id(record) not in taken]
        faults[fault] += records
    faults["values_out_of_range"] = [record for record in rest if scan.strays(record)]
    return {fault: tuple(records) for fault, records in faults.items()}


def _by_itself(scan: Scan, record: Record) -> str:
    """The fault that one mask shows without the others; "" for none."""
    values = record.labels.values
    # A data set that gives the pair has its own way to read the file, such as VOC's .mat.
    if not record.mapped and record.mask is not None:
        if record.mask.format in _LOSSY:
            return "lossy_masks"
        if record.labels.colours:
            return "colour_masks"
        if record.mask.deep and not 0 <= min(values) <= max(values) <= 255:
            return "sixteen_bit"
    strays = len(scan.strays(record))
    limit = _SLOPES_WITH_STRAYS if strays > _FEW_STRAYS else _SLOPES
    if record.labels.borders >= _FEWEST_BORDERS:
        if scan.slopes(record) > limit * record.labels.borders:
            return "lossy_masks"
    return ""


def find_line_class(scan: Scan) -> int | None:
    """The value that is drawn as lines of one pixel, such as contours; None where there is none.

    Where its id lies between those of the regions that it parts, the mask has slopes by right.
    Three facts of all masks tell it from blending: two thirds of all slopes are of this one value,
    where blending leaves many; at least half of the masks have them; and it has no regions
    anywhere, as an ordinary class has whose id is between two others.
    """
    ramps, insides, pixels = Counter[int](), Counter[int](), Counter[int]()
    for record in scan.records:
        ramps.update(record.labels.ramps)
        insides.update(record.labels.insides)
        pixels.update(record.labels.values)
    masks = [record.labels for record in scan.records if record.labels.borders]
    for value, count in ramps.most_common(1):
        having = sum(value in labels.ramps for labels in masks)
        usual = 3 * count >= 2 * ramps.total() and 2 * having >= len(masks)
        if usual and insides[value] < _INSIDE * pixels[value]:
            return value
    return None


def excused_by_lines(scan: Scan) -> tuple[Record, ...]:
    """Masks with many slopes that are all laid to the class that is drawn as lines."""
    return tuple(
        record
        for record in scan.sound
        if record.labels.borders >= _FEWEST_BORDERS
        and sum(record.labels.ramps.values()) > _SLOPES * record.labels.borders
    )


def _shuffled_palettes(records: list[Record]) -> list[Record]:
    """Masks in which colours have other indices than in most: their indices are no ids."""
    votes: dict[int, Counter[tuple[int, int, int]]] = defaultdict(Counter)
    for record in records:
        for index, colour in (record.labels.palette or {}).items():
            votes[index][colour] += 1
    usual = {index: counter.most_common(1)[0][0] for index, counter in votes.items()}
    index_of = {colour: index for index, colour in usual.items()}
    return [
        record
        for record in records
        if any(
            colour != usual[index] and index_of.get(colour, index) != index
            for index, colour in (record.labels.palette or {}).items()
        )
    ]


def _binary(records: list[Record]) -> list[Record]:
    """Masks of 0 and 255 where no other mask has 255 beside an id: here it cannot mean void."""
    held = [set(record.labels.values) for record in records]
    if any(IGNORE in values and values - {0, IGNORE} for values in held):
        return []
    both = [r for r, values in zip(records, held, strict=True) if values == {0, IGNORE}]
    if not both or any(values - {0, IGNORE} for values in held):
        return both
    return [r for r, values in zip(records, held, strict=True) if IGNORE in values]


def _off_by_one(scan: Scan, records: list[Record]) -> list[Record]:
    """Masks with K for K classes, where their ids count from 1 or the whole set has one too many.

    A mask that holds 0 as well is one of them only where no mask of the data holds other strays.
    """
    too_many = {len(scan.classes)}
    strays = [set(scan.strays(record)) for record in records]
    everywhere = set().union(*strays) == too_many
    return [
        record
        for record, values in zip(records, strays, strict=True)
        if values == too_many and (everywhere or 0 not in record.labels.values)
    ]
