"""Which files of a folder belong together, with everything that does not fit kept for a report."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from segkit.data.layout import Matches, is_picture, match_lines, no_folder, read_lines
from segkit.files import shown

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
        repeated: (list, line) of lines that name a pair again.
        unlabelled: splits of images without a single mask, besides those to learn from, and how
            many images.
    """

    splits: tuple[str, ...]
    pairs: tuple[Listed, ...]
    doubles: tuple[tuple[Path, Path], ...]
    lost: tuple[tuple[Path, str], ...]
    nested: tuple[tuple[Path, int], ...] = ()
    repeated: tuple[tuple[Path, str], ...] = ()
    unlabelled: tuple[tuple[str, int], ...] = ()


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
        raise ValueError(f"no data in {shown(root)}: {no_folder(root)} ({layout})")
    folders = {
        folder.name: folder
        for folder in sorted(root.iterdir())
        if folder.name not in _PARTS and any(os.path.isdir(folder / part) for part in _PARTS)
    }
    doubles: list[tuple[Path, Path]] = []
    found = {split: _pairs(folder, split, doubles) for split, folder in folders.items()}
    lost: list[tuple[Path, str]] = []
    repeated: list[tuple[Path, str]] = []
    if any((root / part).is_dir() for part in _PARTS):
        everything = _pairs(root, "all", doubles)
        lists = _lists(root, {pair.stem for pair in everything})
        for listing, matches in lists.items():
            wanted = set(map(composed, [*matches.stems, *matches.lost]))
            chosen = [pair for pair in everything if composed(pair.stem) in wanted]
            found[listing.stem] = [pair._replace(split=listing.stem) for pair in chosen]
            lost += [(listing, line) for line in dict.fromkeys(matches.lost)]
            repeated += [(listing, line) for line in dict.fromkeys(matches.repeated)]
        if not lists:
            found["all"] = everything
    if not found:
        raise ValueError(
            f"no pairs in {shown(root)}: {layout}; other layouts have data sets of their own"
        )
    unlabelled = {
        split: len(pairs)
        for split, pairs in found.items()
        if split not in ("train", "val", "all", *(splits or ()))
        and not any(pair.mask for pair in pairs)
    }
    found = {split: pairs for split, pairs in found.items() if split not in unlabelled}
    if splits is not None:
        if missing := [split for split in splits if split not in found]:
            raise ValueError(f"no split {missing[0]!r} in {shown(root)}: it has {', '.join(found)}")
        found = {split: found[split] for split in splits}
    pairs = tuple(pair for part in found.values() for pair in part)
    lost, repeated = (
        [(listing, line) for listing, line in lines if listing.stem in found]
        for lines in (lost, repeated)
    )
    homes = dict.fromkeys(folders.get(split, root) for split in found)
    nested = [inside for home in homes for inside in _nested(home)]
    return Listing(
        tuple(found), pairs, tuple(doubles), tuple(lost), tuple(nested), tuple(repeated),
        tuple(unlabelled.items()),
    )  # fmt: skip


def composed(name: str) -> str:
    """A name in one Unicode form: of "ü" as one character, and of "u" with its dots."""
    return unicodedata.normalize("NFC", name)


def _lists(root: Path, stems: set[str]) -> dict[Path, Matches]:
    """The lists of stems beside images/: those of the usual names, texts that are half stems."""
    lists = {}
    for path in sorted(root.glob("*.txt")):
        usual = path.stem in ("train", "val", "test")
        try:
            lines = read_lines(path, errors="surrogateescape")
        except ValueError:
            if usual:
                raise
            continue
        found = match_lines(lines, stems, root)
        if usual or (found.stems and len(found.stems) >= len(found.lost)):
            lists[path] = found
    return lists


def _pairs(folder: Path, split: str, doubles: list[tuple[Path, Path]]) -> list[Listed]:
    images = _by_stem(folder / "images", doubles)
    masks = _by_stem(folder / "masks", doubles)
    stems = sorted(images.keys() | masks.keys())
    return [Listed(split, stem, images.get(stem), masks.get(stem)) for stem in stems]


def _by_stem(folder: Path, doubles: list[tuple[Path, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in filter(is_picture, _entries(folder)):
        if found.setdefault(path.stem, path) is not path:
            doubles.append((found[path.stem], path))
    return found


def _nested(home: Path) -> Iterator[tuple[Path, int]]:
    """Folders within images/ and masks/ with pictures in them, however deep, and how many."""
    for folder in (entry for part in _PARTS for entry in _entries(home / part)):
        if folder.is_dir() and not (is_picture(folder) or folder.name.startswith(".")):
            if number := sum(map(is_picture, folder.rglob("*"))):
                yield folder, number


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
