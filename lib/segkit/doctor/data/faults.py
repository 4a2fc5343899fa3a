"""Faults on purpose: what happens to data folders, planted to see whether anybody notices."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from segkit.data.classes import find_classes
from segkit.data.images import read_image, read_mask
from segkit.data.layout import is_picture
from segkit.files import shown
from segkit.outputs import IGNORE

FAULTS = {
    "image_without_mask": "somebody tidied up: a mask is gone",
    "unreadable_or_truncated": "the copy broke off, or the disk was full",
    "size_mismatch": "the mask was cut to the interesting part",
    "zero_and_255_masks": "a tool that knows only object and background",
    "values_out_of_range": "a brush of the wrong number",
    "off_by_one": "another tool counts the classes from 1",
    "colour_masks": "the picture for the eye was saved, not the ids",
    "lossy_masks": "JPEG, for smaller files",
    "void_share": "the annotator skipped this one",
    "near_duplicates": "the image is in the other split, too, a little darker",
}
"""How each fault comes to be, by the check that finds it."""


def plant(
    root: str | Path, fault: str, pair: int = 0, *, split: str = "train", other: str = "val"
) -> Path:
    """Damage one pair of a data folder, to see whether a loader, a training or a check notices.

    Files are changed and removed for good: work on a copy.

    Args:
        root: a folder with ``train/images``, ``train/masks`` and so on, and its list of classes.
        fault: one of `FAULTS`.
        pair: which image of the split, from 0, in the order of names.
        split: of the pair.
        other: the split that gets the copy, of ``"near_duplicates"``.

    Returns:
        The file that is damaged, gone or new.

    Raises:
        ValueError: no such fault, folder or pair, or a pair that is damaged already.

    Example:
        >>> plant("copy_of_mine", "off_by_one", pair=3)  # doctest: +SKIP
        PosixPath('copy_of_mine/train/masks/003.png')
    """
    if fault not in FAULTS:
        raise ValueError(f"fault={fault!r}: choose one of {', '.join(FAULTS)}")
    folder = Path(root) / split
    images, masks = _pictures(folder / "images"), _pictures(folder / "masks")
    if pair not in range(len(images)):
        raise ValueError(f"pair={pair}: {shown(folder)} has {len(images)} images, from 0")
    image = images[pair]
    found = [path for path in masks if path.stem == image.stem]
    if len(found) != 1:
        raise ValueError(f"{shown(image)} has {len(found)} masks: choose a pair with one")
    (path,) = found
    number = len(find_classes(Path(root)).names)
    mask = read_mask(path).numpy()
    last = mask[mask != IGNORE].max(initial=0)  # the last class that is there
    match fault:
        case "image_without_mask":
            path.unlink()
        case "unreadable_or_truncated":
            content = image.read_bytes()
            image.write_bytes(content[: len(content) // 2])
            return image
        case "size_mismatch":
            height, width = mask.shape
            return _save(mask[: height * 3 // 4, : width * 3 // 4], path)
        case "zero_and_255_masks":
            return _save(np.where(mask == last, 255, 0), path)
        case "values_out_of_range":
            return _save(np.where(mask == last, min(number + 26, IGNORE - 1), mask), path)
        case "off_by_one":
            return _save(np.where(mask == IGNORE, IGNORE, mask + 1), path)
        case "colour_masks":
            colours = np.zeros((256, 3), np.uint8)
            colours[:number] = find_classes(Path(root)).palette
            return _save(colours[mask], path)
        case "lossy_masks":
            path.unlink()
            return _save(mask, path.with_suffix(".jpg"))
        case "void_share":
            return _save(np.full_like(mask, IGNORE), path)
        case "near_duplicates":
            copy = Path(root) / other / "images" / f"copy_of_{image.stem}.png"
            darker = read_image(image).permute(1, 2, 0).numpy() * 0.9
            shutil.copy(path, copy.parent.parent / "masks" / (copy.stem + path.suffix))
            return _save(darker, copy)
    return path


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"no folder {shown(folder)}: a split has images/ and masks/")
    return sorted(filter(is_picture, folder.iterdir()))


def _save(values: np.ndarray, path: Path) -> Path:
    Image.fromarray(values.astype(np.uint8)).save(path, quality=90)  # PNG has none
    return path
