"""What is known of each pair, and what is wrong with its mask.

Each faulty mask gets one name for its fault, so that one fault is not reported three times.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from segkit.doctor.data.listing import Listing
from segkit.doctor.data.pictures import Fingerprint, Labels, Picture, look_at_mask
from segkit.doctor.finding import Place
from segkit.outputs import IGNORE

# Share of border pixels that lie on a slope. Masks drawn by people and by programs have up to 2 %
# (CamVid), and 10 % at 40x32 pixels; JPEG of quality 50 to 95 leaves 20 to 40 %, resizing by
# blending 23 % or more. Values that stand for no class are evidence of their own.
SLOPES, _SLOPES_WITH_STRAYS = 0.15, 0.05
FEWEST_BORDERS = 100
_FEW_STRAYS = 2
_INSIDE = 0.05  # share of a class inside of its regions, below which it is drawn as lines
_MARKED = 4


class Record(NamedTuple):
    """What is known of one pair.

    Attributes:
        split: name of its split.
        index: its number in the split.
        stem: its name.
        image: the file of the image; None where there is none.
        mask: the file of the mask; None where there is none.
        fingerprint: of the image, None where it cannot be decoded.
        labels: what the mask holds; without values where it cannot be decoded.
        mapped: the values are classes already, as the data set gives them; else they are those of
            the file.
        refused: why the data set does not give this pair; "" where it does.
    """

    split: str
    index: int
    stem: str
    image: Picture | None
    mask: Picture | None
    fingerprint: Fingerprint | None = None
    labels: Labels = Labels({})
    mapped: bool = False
    refused: str = ""

    @property
    def pictures(self) -> list[Picture]:
        """The files that there are: image, mask."""
        return [picture for picture in (self.image, self.mask) if picture is not None]

    @property
    def where(self) -> str:
        """The mask's file, or else the image's, or else the name of the sample."""
        return self.pictures[-1].file if self.pictures else f"{self.split}/{self.stem}"

    @property
    def lossy(self) -> str:
        """The compression of a mask's file that keeps no exact values; "" for another."""
        return self.mask.lossy if self.mask else ""


@dataclass(frozen=True, eq=False)
class Scan:
    """The records of all pairs, and what is needed to judge them.

    Attributes:
        splits: their names.
        records: of all pairs, split by split.
        classes: names in the order of the ids; () where they are not known.
        palette: RGB of each class.
        meaning: class, or IGNORE, of every value that a mask's file may hold.
        sets: the data sets by split, where it was not a folder that was scanned.
        listing: what the folder holds; empty where it was none.
        coloured: whether somebody gave the palette; else it is PASCAL VOC's.
    """

    splits: tuple[str, ...]
    records: tuple[Record, ...]
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    meaning: Mapping[int, int]
    sets: Mapping[str, Any] = field(default_factory=dict)
    listing: Listing = Listing((), (), (), ())
    coloured: bool = False

    @cached_property
    def faults(self) -> dict[str, list[Record]]:
        """The masks that can be decoded and have a fault, each by the name of one fault.

        The names: "lossy_masks", "colour_masks", "sixteen_bit", "zero_and_255_masks",
        "off_by_one", "values_out_of_range".
        """
        faults: dict[str, list[Record]] = defaultdict(list)
        rest: list[Record] = []
        for record in self.records:
            if record.labels.values:
                fault = _fault_by_itself(self, record)
                (faults[fault] if fault else rest).append(record)
        for fault, find in (
            ("colour_masks", _shuffled_palettes),
            ("zero_and_255_masks", _binary),
            ("off_by_one", lambda records: _off_by_one(self, records)),
            ("values_out_of_range", lambda records: [r for r in records if self.strays(r)]),
        ):
            found = find(rest)
            faults[fault] += found
            taken = {id(record) for record in found}
            rest = [record for record in rest if id(record) not in taken]
        return faults

    @cached_property
    def faulty(self) -> frozenset[int]:
        """The ``id`` of each record whose mask has a fault."""
        return frozenset(id(record) for records in self.faults.values() for record in records)

    @cached_property
    def sound(self) -> list[Record]:
        """The pairs whose mask can be read and has no fault."""
        return [r for r in self.records if r.labels.values and id(r) not in self.faulty]

    @cached_property
    def line_class(self) -> int | None:
        """The value that is drawn as lines of one pixel in all masks, such as contours, if any.

        Where its id lies between those of the regions that it parts, the mask has slopes by right.
        Three facts of all masks tell it from blending: two thirds of all slopes are of this one
        value, where blending leaves many; at least half of the masks have them; and it has no
        regions anywhere, as an ordinary class has whose id is between two others.
        """
        ramps, insides, pixels = Counter[int](), Counter[int](), Counter[int]()
        for record in self.records:
            ramps.update(record.labels.ramps)
            insides.update(record.labels.insides)
            pixels.update(record.labels.values)
        masks = [record.labels for record in self.records if record.labels.borders]
        for value, count in ramps.most_common(1):
            having = sum(value in labels.ramps for labels in masks)
            usual = 3 * count >= 2 * ramps.total() and 2 * having >= len(masks)
            if usual and insides[value] < _INSIDE * pixels[value]:
                return value
        return None

    def slopes(self, record: Record) -> int:
        """Pixels on a slope between two ids, without those of a class that is drawn as lines."""
        ramps = record.labels.ramps
        return sum(pixels for value, pixels in ramps.items() if value != self.line_class)

    def strays(self, record: Record) -> dict[int, int]:
        """Pixels by value of those values that stand for no class and not for void."""
        if not self.classes:
            return {}
        allowed = {*range(len(self.classes)), IGNORE} if record.mapped else self.meaning
        values = record.labels.values
        return {value: pixels for value, pixels in values.items() if value not in allowed}

    def counts(self, record: Record) -> np.ndarray:
        """Pixels of each class, and of void as the last, int64 (K + 1,)."""
        counts = np.zeros(len(self.classes) + 1, np.int64)
        for value, pixels in record.labels.values.items():
            label = value if record.mapped else self.meaning.get(value, IGNORE)
            counts[label if label < len(self.classes) else -1] += pixels
        return counts

    def places(
        self,
        records: Iterable[Record],
        mark: Callable[[np.ndarray], np.ndarray] | None = None,
        pixels: Callable[[Record], int] | None = None,
    ) -> tuple[Place, ...]:
        """Turn masks into places, most pixels first, and mark the pixels of the first few.

        Args:
            records: of the masks.
            mark: which values of an array are concerned, bool of its shape; where none of a mask
                is, all are. None marks nothing.
            pixels: how many of a mask's pixels are concerned; None counts what ``mark`` marks.
        """

        def marked(record: Record) -> int:
            values, counts = np.array([*record.labels.values.items()], np.int64).T
            return int(counts[mark(values)].sum() if mark else 0) or int(counts.sum())

        found = [(record, (pixels or marked)(record)) for record in records]
        places = []
        for record, count in sorted(found, key=lambda hit: -hit[1]):
            values = shown = None
            if mark and len(places) < _MARKED:  # decode once more
                if record.mapped:
                    values = self.sets[record.split].raw(record.index)[1].numpy()
                elif record.mask:
                    values = look_at_mask(Path(record.mask.file))[1]
            if mark and values is not None:
                shown = torch.from_numpy(mark(values))
                if pixels is None and not shown.any():
                    shown = torch.ones_like(shown)
            places.append(Place(record.where, count, shown))
        return tuple(places)


def _fault_by_itself(scan: Scan, record: Record) -> str:
    """The fault that one mask shows without the others; "" for none."""
    values = record.labels.values
    # A data set that gives the pair has its own way to read the file, such as VOC's .mat.
    if not record.mapped and record.mask is not None:
        if record.lossy:
            return "lossy_masks"
        if record.labels.colours:
            return "colour_masks"
        if record.mask.deep and not 0 <= min(values) <= max(values) <= 255:
            return "sixteen_bit"
    strays, borders = len(scan.strays(record)), record.labels.borders
    limit = _SLOPES_WITH_STRAYS if strays > _FEW_STRAYS else SLOPES
    blended = borders >= FEWEST_BORDERS and scan.slopes(record) > limit * borders
    return "lossy_masks" if blended else ""


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
    both = [record for record in records if set(record.labels.values) == {0, IGNORE}]
    if not both or any(values - {0, IGNORE} for values in held):
        return both
    return [record for record in records if IGNORE in record.labels.values]


def _off_by_one(scan: Scan, records: list[Record]) -> list[Record]:
    """Masks with K for K classes, where their ids count from 1 or the whole set has one too many.

    A mask that holds 0 as well is one of them only where no mask of the data holds other strays.
    """
    too_many = {len(scan.classes)}
    found = [record for record in records if set(scan.strays(record)) == too_many]
    if any(set(scan.strays(record)) - too_many for record in records):
        return [record for record in found if 0 not in record.labels.values]
    return found
