"""Bring the origin's files, or some already in our layout, into it without changing a pixel."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .dataset import DataError, DataSet, Item, Part, pixel_digest, read_image, read_mask
from .progress import in_parallel

INCOMING = ".incoming"  # inside the output folder, so that a finished file moves in by one rename
DEEPEST = 6  # folders below the given one that are searched: host's wrapper, repository, data set


@dataclass(frozen=True)
class Source:
    """Where the pictures come from: a root folder, in our layout or in the origin's."""

    root: Path
    ours: bool


def missing(out: Path, spec: DataSet) -> list[Item]:
    """Return the pictures that `out` does not have yet; all of them where there is no `out`."""
    return [item for item in spec.items() if item.find(out, ours=True) is None]


def find_source(folder: Path, spec: DataSet, *, apart_from: Path | None = None) -> Source:
    """Find the data set in `folder` or below it.

    Args:
        folder: given by the user or just extracted; the data may lie some folders down.
        spec: the data set that is looked for.
        apart_from: a folder that is not searched: the one that is being filled.

    Raises:
        DataError: neither layout is there.
    """
    layouts = {
        ours: [f for p in spec.parts for f in _folders(p, ours=ours)] for ours in (True, False)
    }
    skipped = apart_from.resolve() if apart_from else None
    level = [folder] if folder.resolve() != skipped else []
    for _ in range(DEEPEST + 1):
        for root in level:
            for ours, folders in layouts.items():
                if all((root / name).is_dir() for name in folders):
                    return Source(root, ours)
        level = [
            child
            for root in level
            for child in sorted(root.iterdir())
            if child.is_dir() and not child.is_symlink() and child.resolve() != skipped
        ]
    raise DataError(
        f"{folder}: {spec.title} is not in there; expected the folders {', '.join(layouts[False])} "
        f"(as the origin has them) or {', '.join(layouts[True])} (as this script makes them)"
    )


def convert(source: Source, items: list[Item], out: Path, spec: DataSet) -> None:
    """Write the pictures `items` from `source` to `out`, each verified and each in one rename.

    Args:
        source: where they are.
        items: what is wanted; may be empty.
        out: root of our layout.
        spec: the data set.

    Raises:
        DataError: some are not in the source, or one is not the data set's; the message names them.
    """
    found = [(item, item.find(source.root, ours=source.ours)) for item in items]
    absent = [f"{item.folder(ours=source.ours)}/{item.stem}" for item, path in found if not path]
    if absent:
        shown = ", ".join(absent[:10]) + (", …" if len(absent) > 10 else "")
        raise DataError(f"{source.root}: {len(absent)} pictures are missing: {shown}")
    in_parallel(
        lambda pair: convert_file(*pair, ours=source.ours, out=out, spec=spec),
        found,
        label="convert",
    )


def convert_file(item: Item, path: Path, *, ours: bool, out: Path, spec: DataSet) -> Path:
    """Write one picture: a copy where the file can stay as it is, otherwise an 8-bit PNG.

    Args:
        item: which picture.
        path: its file in the source.
        ours: whether the file already follows our layout (then mask values are class ids).
        out: root of our layout.
        spec: the data set.

    Returns:
        The file written.

    Raises:
        DataError: the pixels are not those of the manifest; nothing is written.
    """
    if item.kind == "image":
        pixels, exact = read_image(path, spec)
    else:
        pixels, exact = read_mask(path, spec)
        if spec.ids_from_origin is not None and not ours:
            try:
                pixels, exact = spec.ids_from_origin(pixels), False
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
        if pixels.max() >= len(spec.classes):
            raise DataError(
                f"{path}: class id {pixels.max()}, allowed are 0 to {len(spec.classes) - 1}"
            )
    if pixel_digest(pixels) != item.digest:
        raise DataError(
            f"{path}: its pixels are not those of {spec.title}; the file was changed or re-encoded "
            "with loss, take it from the origin again"
        )
    # A mask is always PNG; an image may stay lossless WebP.
    suffix = path.suffix if exact and item.kind == "image" else ".png"
    target = out / item.folder(ours=True) / (item.stem + suffix)
    fresh = out / INCOMING / f"{item.part.name}-{item.kind}-{target.name}"
    for folder in (target.parent, fresh.parent):
        folder.mkdir(parents=True, exist_ok=True)
    if exact and path.suffix == suffix:
        shutil.copyfile(path, fresh)
    else:
        Image.fromarray(np.ascontiguousarray(pixels)).save(fresh, format="PNG", optimize=True)
    os.replace(fresh, target)
    return target


def write_text(path: Path, text: str) -> None:
    """Write a small text file in one rename."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8", newline="\n")
    os.replace(fresh, path)


def _folders(part: Part, *, ours: bool) -> tuple[str, str]:
    if ours:
        return part.images, part.masks
    return part.origin_images, part.origin_masks
