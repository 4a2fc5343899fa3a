"""What a data folder holds: which files make a pair, which classes there are."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.data.images import IMAGE_SUFFIXES
from segkit.outputs import IGNORE


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
            f"no data in {root}: there is no such folder ({layout}); data_scripts/ has a script "
            "for each known data set, such as: python data_scripts/isbi_em.py --out data/isbi_em"
        )
    listed = None
    folder = root
    if split is not None:
        folder = root / split
        if not folder.is_dir():
            listing = root / f"{split}.txt"
            if not listing.is_file():
                raise ValueError(
                    f"no split {split!r} in {root}: {layout} in {folder}, or a list of stems "
                    f"{listing}"
                )
            folder, listed = root, read_lines(listing)
            if not listed:
                raise ValueError(f"{listing} lists no stem: one a line, without the file's ending")
    for part in ("images", "masks"):
        if not (folder / part).is_dir():
            raise ValueError(f"no folder {folder / part}: {layout} in {folder}")
    images, masks = _by_stem(folder / "images"), _by_stem(folder / "masks")
    if not images and not masks:
        raise ValueError(
            f"no pairs in {folder}: images/ and masks/ hold no file that ends in "
            f"{' '.join(IMAGE_SUFFIXES)}"
        )
    if listed is not None:
        images = {stem: images[stem] for stem in listed if stem in images}
        masks = {stem: masks[stem] for stem in listed if stem in masks}
        lost = [stem for stem in listed if stem not in images and stem not in masks]
        if lost:
            raise ValueError(
                f"{root / f'{split}.txt'} lists {lost[0]!r}, but {folder / 'images'} has no such "
                f"file ({len(lost)} of {len(listed)} stems are missing)"
            )
    for ours, theirs, other in ((images, masks, "mask"), (masks, images, "image")):
        alone = sorted(ours.keys() - theirs.keys())
        if alone:
            stem = alone[0]
            near = [name for name in theirs if name.startswith(stem) or stem.startswith(name)]
            hint = f" ({theirs[near[0]].name} has another stem)" if near else ""
            raise ValueError(
                f"{ours[stem]} has no {other}{hint}, and so have {len(alone)} of {len(ours)} "
                "files: the two of a pair have one stem; rename, add or remove files"
            )
    return [(images[stem], masks[stem]) for stem in sorted(images)]


def find_splits(root: Path) -> list[str]:
    """Which of "train", "val" and "test" a folder has, as subfolders or as lists of stems.

    Raises:
        ValueError: no such folder, or one without "train" or "val".
    """
    if not root.is_dir():
        raise ValueError(f"data_root={str(root)!r}: there is no such folder")
    splits = [
        split
        for split in ("train", "val", "test")
        if (root / split).is_dir() or (root / f"{split}.txt").is_file()
    ]
    if not {"train", "val"} <= set(splits):
        raise ValueError(
            f"{root} has no train and val split: make the folders train/ and val/ with images/ and "
            "masks/ in each, or images/ and masks/ with lists of stems train.txt and val.txt"
        )
    return splits


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file that hold something, without the space around them.

    Raises:
        ValueError: no text in UTF-8 (the mark with which Windows begins one is no text).
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}): save it as such") from error
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


def what_is_there(path: Path) -> str:
    """What a message says of a path that is no file."""
    if path.is_dir():
        return "is a folder, not a file"
    if path.is_symlink():
        return f"is a link to {os.readlink(path)}, where no file is"
    return "is missing"


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    files = file_names(folder)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.name not in files:
            raise ValueError(
                f"{path} {what_is_there(path)}: put the file there, or remove the entry"
            )
        if path.stem in found:
            raise ValueError(
                f"{found[path.stem]} and {path} have one stem: pairs are made by stem, so only one "
                "of them may stay"
            )
        found[path.stem] = path
    return found


def find_classes(
    root: Path,
    classes: Sequence[str] | None,
    palette: Sequence[tuple[int, int, int]] | None,
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Take names and colours from the arguments, or else from the file beside the data.

    Args:
        root: the data folder, in which classes.json or classes.txt may be.
        classes: names in the order of the ids, or None.
        palette: RGB of each class, 0..255, or None.

    Returns:
        Names and colours; colours that nobody gave are PASCAL VOC's.

    Raises:
        ValueError: no names anywhere, fewer than 2 or more than 255, two of one name, or a palette
            that does not fit.
    """
    source: Any = "classes="
    names: Any = classes
    if classes is None:
        if (source := root / "classes.json").is_file():
            try:
                names = json.loads(source.read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{source} is no JSON: {error}") from error
            if isinstance(names, dict):
                palette = names.get("palette") if palette is None else palette
                names = names.get("classes", names)
        elif (source := root / "classes.txt").is_file():
            names = read_lines(source)
        else:
            raise ValueError(
                f"the classes of {root} are not known: write their names to classes.txt there, one "
                "a line, in the order of the ids (in Python, classes=(name, ...) does as well)"
            )
    fits = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not fits or not 2 <= len(names) <= IGNORE or len(set(names)) != len(names):
        raise ValueError(
            f"{source} gives {names!r}: 2 to 255 different names are needed (two classes are "
            "object and background)"
        )
    if palette is None:
        palette = [distinct(index) for index in range(len(names))]
    try:
        colours: Any = tuple(tuple(map(operator.index, colour)) for colour in palette)
    except TypeError:
        colours = ()
    fits = all(len(colour) == 3 and 0 <= min(colour) <= max(colour) <= 255 for colour in colours)
    if not fits or len(colours) != len(names):
        raise ValueError(
            f"palette={palette!r} for {len(names)} classes: give (red, green, blue) in 0..255 "
            "for each class"
        )
    return tuple(names), colours


def distinct(index: int) -> tuple[int, int, int]:
    """Colour number ``index`` of PASCAL VOC's palette: its bits spread over red, green, blue."""
    colour = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            colour[channel] |= (index >> channel & 1) << 7 - bit
        index >>= 3
    return colour[0], colour[1], colour[2]
