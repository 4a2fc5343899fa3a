"""What a scan remembers: a small record of each pair, and all of them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from segkit.doctor.diagnosis import diagnose, find_line_class
from segkit.doctor.finding import Place
from segkit.doctor.listing import Listing
from segkit.doctor.pictures import Fingerprint, Labels, Picture, look_at_mask
from segkit.outputs import IGNORE

_LISTED, _MARKED = 20, 4


class Record(NamedTuple):
    """What is known of one pair.

    Attributes:
        split: name of its split.
        index: its number in the split.
        stem: its name.
        image: the file of the image; None where there is none.
        mask: the file of the mask; None where there is none.
        look: fingerprint of the image, None where it cannot be decoded.
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
    look: Fingerprint | None = None
    labels: Labels = Labels({})
    mapped: bool = False
    refused: str = ""

    @property
    def where(self) -> str:
        """The mask's file, or else the image's, or else the name of the sample."""
        files = [picture.file for picture in (self.mask, self.image) if picture is not None]
        return files[0] if files else f"{self.split}/{self.stem}"


@dataclass(frozen=True, eq=False)
class Scan:
    """The records of all pairs, and what is needed to judge them.

    Attributes:
        splits: their names.
        records: of all pairs, split by split.
        classes: names in the order of the ids; () where they are not known.
        palette: RGB of each class; () where nobody gave one.
        meaning: class, or IGNORE, of every value that a mask's file may hold.
        sets: the data sets by split, where it was not a folder that was scanned.
        listing: what the folder holds, where it was one.
    """

    splits: tuple[str, ...]
    records: tuple[Record, ...]
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    meaning: Mapping[int, int]
    sets: Mapping[str, Any] = field(default_factory=dict)
    listing: Listing | None = None

    @cached_property
    def faults(self) -> dict[str, tuple[Record, ...]]:
        """The masks with a fault by the name of the fault, one for each mask."""
        return diagnose(self)

    @cached_property
    def sound(self) -> tuple[Record, ...]:
        """The pairs whose mask can be read and has no fault."""
        faulty = {id(record) for records in self.faults.values() for record in records}
        return tuple(r for r in self.records if r.labels.values and id(r) not in faulty)

    @cached_property
    def line_class(self) -> int | None:
        """The value that is drawn as lines of one pixel in all masks, such as contours, if any."""
        return find_line_class(self)

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

    def values(self, record: Record) -> np.ndarray | None:
        """Decode a mask again: (H, W) as in the record's labels; None where that fails."""
        if record.mapped:
            return self.sets[record.split].raw(record.index)[1].numpy()
        return None if record.mask is None else look_at_mask(Path(record.mask.file))[1]

    def places(
        self,
        found: list[tuple[Record, int]],
        mark: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> tuple[Place, ...]:
        """Turn pairs into places, most pixels first, and mark the pixels of the first few.

        Args:
            found: pairs, each with how many of its pixels are concerned.
            mark: bool (H, W) of the pixels concerned, from a mask's values; None marks nothing.
        """
        worst = sorted(found, key=lambda hit: -hit[1])[:_LISTED]
        places = []
        for number, (record, pixels) in enumerate(worst):
            values = self.values(record) if mark and number < _MARKED else None
            marked = (
                None if values is None else torch.from_numpy(np.ascontiguousarray(mark(values)))
            )
            places.append(Place(record.where, pixels, marked))
        return tuple(places)
