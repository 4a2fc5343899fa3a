"""Which files of a folder belong together, with everything that does not fit kept for a report."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from segkit.data.images import IMAGE_SUFFIXES
from segkit.data.layout import read_lines

_PARTS = ("images", "masks")


class Listed(NamedTuple):
    """The files of one stem: both, or the one that is there."""

    split: str
    stem: str
    image: Path | None
    mask: Path | None


class Listing(NamedTuple):
    """What a data folder holds.

    Attributes:
        splits: their names; "all" where the folder has no splits.
        pairs: by split and stem.
        doubles: (kept, left out) where files of one folder share a stem.
        lost: (list, stem) of stems in a list that have no file at all.
        nested: folders within images/ or masks/ that hold pictures, and how many.
    """

    splits: tuple[str, ...]
    pairs: tuple[Listed, ...]
    doubles: tuple[tuple[Path, Path], ...]
    lost: tuple[tuple[Path, str], ...]
    nested: tuple[tuple[Path, int], ...] = ()


def list_folder(root: Path, splits: Sequence[str] | None = None) -> Listing:
    """List a folder of pairs as `segkit.data.FolderDataset` would, but go on at every fault.

    Args:
        root: holds images/ and masks/, with lists of stems ``<split>.txt`` or without, or folders
            that hold images/ and masks/.
        splits: the splits to take; None takes all that are there.

    Raises:
        ValueError: no such folder, nothing in it that looks like pairs, or no such split.
    """
    layout = "expected images/ and masks/ with files of equal stems, in it or in a folder per split"
    if not root.is_dir():
        raise ValueError(f"no data in {root}: there is no such folder ({layout})")
    folders = {
        folder.name: folder
        for folder in sorted(root.iterdir())
        if folder.name not in _PARTS and any(os.path.isdir(folder / part) for part in _PARTS)
    }
    doubles: list[tuple[Path, Path]] = []
    found = {split: _pairs(folder, split, doubles) for split, folder in folders.items()}
    lost: list[tuple[Path, str]] = []
    if any((root / part).is_dir() for part in _PARTS):
        everything = _pairs(root, "all", doubles)
        lists = _lists(root, {pair.stem for pair in everything})
        for listing, stems in lists.items():
            wanted = set(map(composed, stems))
            chosen = [pair for pair in everything if composed(pair.stem) in wanted]
            found[listing.stem] = [pair._replace(split=listing.stem) for pair in chosen]
            there = {pair.stem for pair in chosen}
            lost += [(listing, stem) for stem in dict.fromkeys(stems) if stem not in there]
        if not lists:
            found["all"] = everything
    if not found:
        raise ValueError(f"no pairs in {root}: {layout}; other layouts have data sets of their own")
    if splits is not None:
        if missing := [split for split in splits if split not in found]:
            raise ValueError(f"no split {missing[0]!r} in {root}: it has {', '.join(found)}")
        found = {split: found[split] for split in splits}
    pairs = tuple(pair for part in found.values() for pair in part)
    lost = [(listing, stem) for listing, stem in lost if listing.stem in found]
    homes = dict.fromkeys(folders.get(split, root) for split in found)
    nested = [inside for home in homes for inside in _nested(home)]
    return Listing(tuple(found), pairs, tuple(doubles), tuple(lost), tuple(nested))


def composed(name: str) -> str:
    """A name in one Unicode form: of "ü" as one character, and of "u" with its dots."""
    return unicodedata.normalize("NFC", name)


def _lists(root: Path, stems: set[str]) -> dict[Path, list[str]]:
    """The lists of stems beside images/: those of the usual names, texts that are half stems."""
    lists = {}
    for path in sorted(root.glob("*.txt")):
        try:
            lines = read_lines(path)
        except ValueError:
            continue
        known = sum(line in stems for line in lines)
        if path.stem in ("train", "val", "test") or (known and 2 * known >= len(lines)):
            lists[path] = lines
    return lists


def _pairs(folder: Path, split: str, doubles: list[tuple[Path, Path]]) -> list[Listed]:
    images = _by_stem(folder / "images", doubles)
    masks = _by_stem(folder / "masks", doubles)
    stems = sorted(images.keys() | masks.keys())
    return [Listed(split, stem, images.get(stem), masks.get(stem)) for stem in stems]


def _by_stem(folder: Path, doubles: list[tuple[Path, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in filter(_is_picture, _entries(folder)):
        if found.setdefault(path.stem, path) is not path:
            doubles.append((found[path.stem], path))
    return found


def _nested(home: Path) -> Iterator[tuple[Path, int]]:
    """Folders within images/ and masks/ with pictures in them, however deep, and how many."""
    for folder in (entry for part in _PARTS for entry in _entries(home / part)):
        if folder.is_dir() and not (_is_picture(folder) or folder.name.startswith(".")):
            if number := sum(map(_is_picture, folder.rglob("*"))):
                yield folder, number


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _is_picture(path: Path) -> bool:
    """Whether a file is taken for a picture, by its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
