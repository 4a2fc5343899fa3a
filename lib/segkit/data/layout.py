"""What a data folder holds: which files make a pair, which of them a list means."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from segkit.data.images import IMAGE_SUFFIXES
from segkit.files import FileError, folded, nearby, nearby_said, read_text, shown, what_is_there

MAX_LIST = 64 << 20
"""Largest list of stems that is read, in bytes."""


class Matches(NamedTuple):
    """What the lines of a list mean.

    Attributes:
        stems: that they name, each once.
        lost: lines that name none.
        repeated: lines whose stem an earlier one has named.
    """

    stems: list[str]
    lost: list[str]
    repeated: list[str]


def find_pairs(root: Path, split: str | None) -> list[tuple[Path, Path]]:
    """Pair the files of images/ and masks/.

    Args:
        root: the data folder.
        split: a folder in it with images/ and masks/, or a list of stems ``<split>.txt``; None for
            images/ and masks/ in ``root``.

    Returns:
        (image, mask), sorted by stem.

    Raises:
        ValueError: a missing folder or list, no pairs, a file without its other half, two files of
            one stem, or a link that leads to no file.
    """
    layout = "expected images/ and masks/ with files of equal stems"
    if not root.is_dir():
        raise ValueError(
            f"no data in {shown(root)}: {no_folder(root)} ({layout}); data_scripts/ has a script "
            "for each known data set, such as: python data_scripts/isbi_em.py --out data/isbi_em"
        )
    lines = None
    folder = root
    if split is not None and not (folder := root / split).is_dir():
        listing = root / f"{split}.txt"
        if not os.path.lexists(listing):
            raise ValueError(
                f"no split {split!r} in {shown(root)}: {layout} in {shown(folder)}, or a list of "
                f"stems {shown(listing)}" + _but(folder, listing)
            )
        folder, lines = root, read_lines(listing, errors="surrogateescape")
        if not lines:
            raise ValueError(
                f"{shown(listing)} lists no stem: one a line, without the file's ending"
            )
    for part in ("images", "masks"):
        if not (folder / part).is_dir():
            raise ValueError(
                f"no folder {shown(folder / part)}: {layout} in {shown(folder)}"
                + _but(folder / part)
            )
    images, masks = _by_stem(folder / "images"), _by_stem(folder / "masks")
    if not images and not masks:
        raise ValueError(
            f"no pairs in {shown(folder)}: images/ and masks/ hold no file that ends in "
            f"{' '.join(IMAGE_SUFFIXES)}"
        )
    if lines is not None:
        listed = match_lines(lines, images.keys() | masks.keys(), folder)
        if listed.lost:
            listing, line = root / f"{split}.txt", listed.lost[0]
            if not line.isascii():
                read_lines(listing)  # raises, where it is no text at all
            near = what_lies_there(folder / "images", line)
            near = near or f"{shown(folder / 'images')} has no such file"
            raise ValueError(
                f"{shown(listing)} lists {line!r}, but {near} ({len(listed.lost)} of {len(lines)} "
                "lines)"
            )
        images = {stem: images[stem] for stem in listed.stems if stem in images}
        masks = {stem: masks[stem] for stem in listed.stems if stem in masks}
    for ours, theirs, other in ((images, masks, "mask"), (masks, images, "image")):
        alone = sorted(ours.keys() - theirs.keys())
        if alone:
            stem = alone[0]
            near = what_lies_there(folder / f"{other}s", stem, theirs)
            hint = f" ({near})" if near else ""
            raise ValueError(
                f"{shown(ours[stem])} has no {other}{hint} ({len(alone)} of {len(ours)} files "
                "have none): the two of a pair have one stem; rename, add or remove files"
            )
    return [(images[stem], masks[stem]) for stem in sorted(images)]


def match_lines(lines: Sequence[str], stems: Collection[str], folder: Path) -> Matches:
    r"""Find the stems that the lines of a list mean.

    A line is a stem; or a file of ``folder``'s images/ or masks/, with its ending or without, from
    there or from the root on, with ``/`` or ``\``; or an image and its mask.

    Args:
        lines: of the list.
        stems: that there are.
        folder: in which images/ and masks/ are.
    """
    known = frozenset(stems)
    found = [(line, _stem_of(line, known, folder)) for line in lines]
    counts = Counter[str]()
    repeated = []
    for line, stem in found:
        if stem is not None and counts[stem]:
            repeated.append(line)
        counts.update([stem] if stem is not None else [])
    return Matches([*counts], [line for line, stem in found if stem is None], repeated)


def what_lies_there(folder: Path, name: str, others: Mapping[str, Path] | None = None) -> str:
    """What lies where a stem or file should be, as a message says it; "" for nothing like it.

    Args:
        folder: where it should be.
        name: its stem, or a line of a list.
        others: the files of the folder by stem, of which one may be meant.
    """
    meant = _plain(name)
    if str(meant.parent) != "." and (folder / meant.name).is_file():
        return f"{shown(folder / meant.name)} lies there, which is another path"
    near = nearby(folder / meant.name) if meant.name else None
    if near is None or near.parent != folder:
        for stem, path in (others or {}).items():
            if stem.startswith(name) or name.startswith(stem):
                return f"{shown(path.name)} has another stem"
        return ""
    if near.suffix.lower() not in IMAGE_SUFFIXES:
        return (
            f"{shown(near)} lies there, whose ending is not read: it has to be one of "
            f"{' '.join(IMAGE_SUFFIXES)}"
        )
    return f"{shown(near)} lies there, which is another name for a program"


def no_folder(root: Path) -> str:
    """What a message says of a folder that there is not."""
    if os.path.lexists(root):
        return f"this {what_is_there(root)}" if not root.is_file() else "this is a file"
    return "there is no such folder" + nearby_said(root)


def find_splits(root: Path) -> list[str]:
    """Which of "train", "val" and "test" a folder has, as subfolders or as lists of stems.

    A test split without a single mask is left out: it is there to predict on.

    Raises:
        ValueError: no such folder, or one without "train" or "val".
    """
    if not root.is_dir():
        raise ValueError(f"data_root={str(root)!r}: {no_folder(root)}")
    splits = [
        split
        for split in ("train", "val", "test")
        if (root / split).is_dir() or os.path.lexists(root / f"{split}.txt")
    ]
    if not {"train", "val"} <= set(splits):
        raise ValueError(
            f"{shown(root)} has no train and val split: make the folders train/ and val/ with "
            "images/ and masks/ in each, or images/ and masks/ with lists of stems train.txt and "
            "val.txt"
            + _but(*(root / f"{name}{end}" for name in ("train", "val") for end in ("", ".txt")))
        )
    return [split for split in splits if split != "test" or _has_masks(root, split)]


def _but(*paths: Path) -> str:
    """Which folders or lists lie in other case where these should, for the end of a message."""
    found = [(nearby(path), path) for path in paths]
    near = sorted(one.name for one, path in found if one and folded(one.name) == folded(path.name))
    return f"; there is {shown(' and '.join(near))} in another case: rename it" * bool(near)


def is_picture(path: Path) -> bool:
    """Whether a file is taken for a picture, by its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_lines(path: Path, *, errors: str = "strict") -> list[str]:
    """Read the lines of a text file that hold something, without the space around them.

    Args:
        path: of the file.
        errors: "surrogateescape" takes other bytes as file names have them.

    Raises:
        ValueError: no plain file, or no text in UTF-8.
    """
    lines = read_text(path, MAX_LIST, errors=errors).split("\n")
    return [line.strip() for line in lines if line.strip()]


def file_names(folder: Path) -> set[str]:
    """The names of a folder's files, and of the links that lead to one; none of no folder."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        # Of what is no link the folder itself knows the kind, which spares a look at every file.
        return {
            entry.name
            for entry in entries
            if entry.is_file(follow_symlinks=False) or Path(entry.path).is_file()
        }


def _has_masks(root: Path, split: str) -> bool:
    if (root / split).is_dir():
        folder = root / split / "masks"
        return folder.is_dir() and any(map(is_picture, folder.iterdir()))
    masks = root / "masks"
    stems = {path.stem for path in masks.iterdir() if is_picture(path)} if masks.is_dir() else ()
    lines = read_lines(root / f"{split}.txt", errors="surrogateescape")
    return bool(match_lines(lines, stems, root).stems)


def _stem_of(line: str, stems: frozenset[str], folder: Path) -> str | None:
    if line in stems:
        return line
    path = _plain(line)
    stem = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
    # What a list calls city2/a.png is not images/a.png.
    home = os.path.normpath(os.path.join(os.path.abspath(folder), path.parent))
    homes = (folder, folder / "images", folder / "masks")
    if home in {os.path.abspath(one) for one in homes}:
        if meant := [one for one in (stem, path.name) if one in stems]:
            return meant[0]
    parts = [part for part in re.split(r"[\s,;]+", line) if part]
    if len(parts) == 2:
        image, mask = (_stem_of(part, stems, folder) for part in parts)
        return image if image == mask else None
    return None


def _plain(line: str) -> PurePosixPath:
    r"""A path without the quotes around it, with ``/`` for ``\`` and a home for ``~``."""
    text = line.strip().strip("\"'").strip().replace("\\", "/")
    return PurePosixPath(os.path.expanduser(text))


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    files = file_names(folder)
    for path in sorted(filter(is_picture, folder.iterdir())):
        if path.name not in files:
            raise FileError(path, f"{what_is_there(path)}: put the file there, or remove the entry")
        if path.stem in found:
            raise ValueError(
                f"{shown(found[path.stem])} and {shown(path)} have one stem: pairs are made by "
                "stem, so only one of them may stay"
            )
        found[path.stem] = path
    return found
