"""A folder of unknown layout: which files are images, which are their masks, what the masks hold.

Each guess is kept with what it was guessed from, so that a user can judge it.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from segkit.data.bands import read_bands
from segkit.data.classes import find_classes
from segkit.data.images import PictureFile
from segkit.data.layout import is_picture
from segkit.doctor.data.pictures import Labels, look_at_mask
from segkit.files import folded, shown
from segkit.outputs import IGNORE

IMAGES = {
    "images", "image", "img", "imgs", "photos", "photo", "pictures", "jpegimages", "inputs",
    "input", "frames", "scans", "raw", "rgb", "sat", "leftimg8bit", "x",
}  # fmt: skip
"""Names of folders of images, and ends of the names of images."""
MASKS = {
    "masks", "mask", "labels", "label", "lbl", "gt", "gts", "groundtruth", "ground_truth",
    "annotations", "annotation", "ann", "annot", "segmentation", "segmentations", "seg", "segs",
    "segmentationclass", "labelids", "gtfine", "targets", "target", "y",
}  # fmt: skip
"""Names of folders of masks, and ends of the names of masks."""
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "dev": "val", "test": "test", "testing": "test",
}  # fmt: skip
"""Names of folders of a split, and the split's own."""
MOST_FILES = 200_000
LOOKED_AT = 200
"""Masks, evenly spread, whose values are counted."""
MEASURED = 50
"""Images, evenly spread, of which bands and range are taken."""
FEW = 30
"""Different values of masks, at most, that are taken for classes."""
_HOLE = "\0"  # in the place of a split's folder


class Place(NamedTuple):
    """Where files of one kind lie: a folder and what stands before and after their names."""

    home: str
    before: str = ""
    after: str = ""

    def pattern(self, split: str = "") -> str:
        """As `segkit.data.data_file.DataFile` has it."""
        home = self.home.replace(_HOLE, split)
        if not (self.before or self.after):
            return home or "."
        return f"{home}/{self.before}*{self.after}" if home else f"{self.before}*{self.after}"


@dataclass(frozen=True)
class Discovery:
    """What was found in a folder.

    Attributes:
        images: where the images are.
        masks: where the masks are.
        splits: the folder of each split, by the split.
        pairs: images with a mask, of all splits.
        alone: images without one.
        values: pixels by value of the masks that were looked at.
        looked_at: how many masks that were.
        classes: name by value.
        named_by: the file of the names; "" where the values name them.
        colours: a mask that holds colours, if there is one; then there are no classes.
        bands: how many bands images have that are no RGB of 8 bits; 0 for those.
        range: the smallest and the largest value that was seen, of images that are not of bytes.
        grey: whether images are grey, of 8 bits.
        others: other places that might have been masks.
    """

    images: Place
    masks: Place
    splits: Mapping[str, str]
    pairs: int
    alone: int
    values: Mapping[int, int]
    looked_at: int
    classes: Mapping[int, str]
    named_by: str = ""
    colours: str = ""
    bands: int = 0
    range: tuple[float, float] | None = None
    grey: bool = False
    others: tuple[str, ...] = field(default=())


def discover(root: Path) -> Discovery:
    """Look for images and masks in a folder, whatever its layout.

    Raises:
        ValueError: no such folder, no pictures, or none that can be paired; says what is there.
    """
    if not root.is_dir():
        raise ValueError(f"{shown(root)} is no folder: give the one that holds images and masks")
    files = list(_files(root))
    if not files:
        raise ValueError(
            f"{shown(root)} holds no pictures (PNG, JPEG, TIFF, BMP, WebP), in no folder of it"
        )
    homes: dict[str, dict[str, list[tuple[str, Path]]]] = defaultdict(lambda: defaultdict(list))
    folders: dict[str, str] = {}
    for path in files:
        home, split, name = _home(path)
        folders.update({SPLITS[folded(split)]: split} if split else {})
        homes[home][split].append((name, root / path))
    matches = sorted(_matches(homes), key=lambda match: match[:3], reverse=True)
    if not matches:
        most = Counter({home: sum(map(len, each.values())) for home, each in homes.items()})
        held = ", ".join(
            f"{one.replace(_HOLE, 'train') or '.'} ({n})" for one, n in most.most_common(6)
        )
        raise ValueError(
            f"{shown(root)} holds {len(files)} pictures and no two of one name, an image and its "
            f"mask: {shown(held)}. Write data.yaml by hand: images and masks are patterns in which "
            "* is the name that both share"
        )
    *_, images, masks, pairs = matches[0]
    splits = {SPLITS[folded(one)]: one for one in homes[images.home] if one}
    alone = -len(pairs)
    for each in homes[images.home].values():
        alone += sum(_is_at(name, images) and not _is_at(name, masks, strict=True)
                     for name, _ in each)  # fmt: skip
    values, colours, looked_at = _values([mask for _, mask in pairs])
    classes, named_by = _classes(root, values)
    bands, span, grey = _bands([image for image, _ in pairs])
    return Discovery(
        images, masks, splits, len(pairs), max(0, alone), values, looked_at,
        {} if colours else classes, named_by, colours, bands, span, grey,
        tuple(dict.fromkeys(match[4].pattern("train") for match in matches[1:6]
                            if match[4].home != masks.home)),
    )  # fmt: skip


def _files(root: Path) -> Iterator[PurePosixPath]:
    """Every picture in a folder, from there on."""
    number = 0
    for folder, inside, names in os.walk(root):
        inside[:] = sorted(one for one in inside if not one.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if is_picture(path):
                number += 1
                if number > MOST_FILES:
                    raise ValueError(
                        f"{shown(root)} holds more than {MOST_FILES:,} pictures: give the folder "
                        "of one data set, or write data.yaml by hand"
                    )
                yield PurePosixPath(path.relative_to(root).as_posix())


def _home(path: PurePosixPath) -> tuple[str, str, str]:
    """Of a file: the folder of its kind, its split's folder, and its name from there on."""
    parts = [*path.parts[:-1]]
    at = next((i for i, part in enumerate(parts) if folded(part) in SPLITS), None)
    split = "" if at is None else parts[at]
    if at is not None:
        parts[at] = _HOLE
    kinds = [i for i, part in enumerate(parts) if folded(part) in IMAGES | MASKS | {_HOLE}]
    depth = kinds[-1] + 1 if kinds else len(parts)
    name = PurePosixPath(*path.parts[depth:])
    return "/".join(parts[:depth]), split, name.as_posix()


def _kind(home: str) -> str:
    """What the names of folders say that lies in one."""
    words = [folded(part) for part in home.split("/")]
    if any(word in MASKS for word in words):
        return "masks"
    return "images" if any(word in IMAGES for word in words) else ""


def _matches(
    homes: Mapping[str, Mapping[str, Sequence[tuple[str, Path]]]],
) -> Iterator[tuple[bool, int, int, Place, Place, list[tuple[Path, Path]]]]:
    """Places of images and masks that have names in common: how likely, how many."""
    largest = sorted(homes, key=lambda home: -sum(map(len, homes[home].values())))[:24]
    for image_home in largest:
        for mask_home in largest:
            kinds = _kind(image_home), _kind(mask_home)
            same = image_home == mask_home
            if kinds[0] == "masks" and not same:
                continue
            if kinds[1] != "masks" and not same and kinds[1] == "images":
                continue
            likely = 2 * (kinds[1] == "masks") + (kinds[0] == "images")
            for before, after in _affixes(homes[mask_home]):
                for first, last in _affixes(homes[image_home]):
                    masks = Place(mask_home, before, after)
                    images = Place(image_home, first, last)
                    if same and (before, after) == (first, last):
                        continue
                    if not likely and not (before or after):
                        continue
                    pairs = _pairs(homes, images, masks)
                    if pairs:
                        plain = 4 - sum(map(bool, (before, after, first, last)))
                        named = likely >= 2 or bool(before or after)
                        yield named, len(pairs), 8 * likely + plain, images, masks, pairs


def _affixes(files: Mapping[str, Sequence[tuple[str, Path]]]) -> list[tuple[str, str]]:
    """What may stand before and after the names of files: nothing, or a word that says a kind."""
    words = "|".join(sorted(map(re.escape, IMAGES | MASKS), key=len, reverse=True))
    found = Counter[tuple[str, str]]()
    for each in files.values():
        for name, _ in each[:500]:
            stem = PurePosixPath(name).stem
            # gtFine_labelIds, mask, L: of several words the whole end.
            if match := re.search(rf"(?i)((?:[_\-. ](?:{words}))+)$", stem):
                found["", match[1]] += 1
            if match := re.match(rf"(?i)((?:{words})[_\-. ])", stem):
                found[match[1], ""] += 1
    stems = [PurePosixPath(name).stem[::-1] for each in files.values() for name, _ in each]
    common = os.path.commonprefix(stems)[::-1] if len(stems) > 1 else ""
    if match := re.search(r"[_\-. ].*", common):  # CamVid's _L
        found["", match[0]] += 1
    return [("", ""), *(affix for affix, _ in found.most_common(3))]


def _pairs(
    homes: Mapping[str, Mapping[str, Sequence[tuple[str, Path]]]], images: Place, masks: Place
) -> list[tuple[Path, Path]]:
    found = []
    for split, files in homes[images.home].items():
        theirs = {
            key: path
            for name, path in homes[masks.home].get(split, ())
            if (key := _key(name, masks)) is not None
        }
        taken = {*theirs.values()} if images.home == masks.home else set()
        for name, path in files:
            key = _key(name, images)
            if key is not None and key in theirs and path not in taken:
                found.append((path, theirs[key]))
    return found


def _key(name: str, place: Place) -> str | None:
    """What * stands for in a name; None where it is not of this place."""
    path = PurePosixPath(name)
    stem = path.stem
    if not (stem.startswith(place.before) and stem.endswith(place.after)):
        return None
    key = stem[len(place.before) : len(stem) - len(place.after)]
    return (path.parent / key).as_posix() if key else None


def _is_at(name: str, place: Place, *, strict: bool = False) -> bool:
    if strict and not (place.before or place.after):
        return False
    return _key(name, place) is not None


def _spread(paths: Sequence[Path], most: int) -> list[Path]:
    count = min(most, len(paths))
    return [paths[k * len(paths) // count] for k in range(count)]


def _values(masks: Sequence[Path]) -> tuple[dict[int, int], str, int]:
    """Pixels by value of some masks, one that holds colours, and how many were read."""
    values, colours, number = Counter[int](), "", 0
    for path in _spread(masks, LOOKED_AT):
        _, _, labels = look_at_mask(path)
        if labels == Labels({}):
            continue
        if labels.colours:
            colours = colours or str(path)
            continue
        values.update(labels.values)
        number += 1
    return dict(sorted(values.items())), colours, number


def _classes(root: Path, values: Mapping[int, int]) -> tuple[dict[int, str], str]:
    """Name by value, from a list of classes or from the values."""
    known = [value for value in values if 0 <= value <= IGNORE]
    names: tuple[str, ...] = ()
    for folder in (root, *sorted(one for one in root.iterdir() if one.is_dir())):
        try:
            names = find_classes(folder).names
        except (ValueError, OSError):
            continue
        return dict(enumerate(names)), str(folder)
    if known == [0, IGNORE]:
        return {0: "background", IGNORE: "object"}, ""
    if len(known) > FEW:
        return {}, ""
    rest = [value for value in known if value != IGNORE]
    return {v: "background" if v == 0 else f"class_{v}" for v in rest}, ""


def _bands(images: Sequence[Path]) -> tuple[int, tuple[float, float] | None, bool]:
    """How many bands images have that are no 8-bit RGB, the range of their values, and grey."""
    some = _spread(images, MEASURED)
    try:
        with PictureFile(some[0]) as file:
            if not file.deep and file.mode in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK"):
                return 0, None, file.mode == "L"
    except ValueError:
        pass
    low, high, bands = np.inf, -np.inf, 0
    for path in some:
        try:
            values = read_bands(path, ())
        except ValueError:
            continue
        if not values.size or not np.isfinite(values).all():
            continue
        bands = len(values)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        if values.dtype == np.uint8:
            low, high = 0, 255
    return bands, (low, high) if low < high else None, False
