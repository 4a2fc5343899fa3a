"""Bring the origin's files, or some already in our layout, into it without changing a pixel."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from .dataset import DataError, DataSet, Item, pixel_digest, read_picture
from .progress import in_parallel

INCOMING = ".incoming"  # inside the output folder, so that a finished file moves in by one rename
DEEPEST = 6  # folders below the given one that are searched: host's wrapper, repository, data set


class Source(NamedTuple):
    """Where the pictures come from: a root folder, in our layout or in the origin's."""

    root: Path
    ours: bool


class Look(NamedTuple):
    """What one picture holds: its pixels, whether its file has exactly these, what is wrong."""

    pixels: np.ndarray
    exact: bool
    faults: list[str]


def look(item: Item, path: Path, spec: DataSet, *, ours: bool) -> Look:
    """Decode the file of a picture and judge it; in our layout a mask's values are class ids.

    Raises:
        DataError: it cannot be read as what it should be.
    """
    pixels, exact = read_picture(path, item.kind, spec)
    faults = []
    if item.kind == "mask":
        if spec.ids_from_origin is not None and not ours:
            try:
                pixels, exact = spec.ids_from_origin(pixels), False
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
        strays = np.flatnonzero(np.bincount(pixels.ravel())[len(spec.classes) :])
        if strays.size:
            ids = ", ".join(str(stray + len(spec.classes)) for stray in strays)
            faults.append(f"{path}: class id {ids}, allowed are 0 to {len(spec.classes) - 1}")
    if item.digest and pixel_digest(pixels) != item.digest:
        faults.append(f"{path}: its pixels are not the origin's (changed, or saved with loss)")
    return Look(pixels, exact, faults)


def missing(out: Path, spec: DataSet, source: Source | None = None) -> list[Item]:
    """Return the pictures of the manifest, or else of `source`, that `out` does not have yet."""
    root, ours = source or (out, True)
    return [item for item in spec.items(root, ours=ours) if item.find(out, ours=True) is None]


def find_source(folder: Path, spec: DataSet, *, apart_from: Path | None = None) -> Source:
    """Find the data set in `folder` or some folders down, but not in the one that is being filled.

    Raises:
        DataError: neither layout is there.
    """
    ours, theirs = (
        [name for part in spec.parts for name in part.folders(ours=ours).values()]
        for ours in (True, False)
    )
    for here, below, _ in os.walk(folder):  # which follows no links
        root = Path(here)
        below.sort()
        if len(root.relative_to(folder).parts) == DEEPEST:
            below.clear()
        if apart_from and root.resolve() == apart_from.resolve():
            below.clear()
        elif all((root / name).is_dir() for name in ours):
            return Source(root, ours=True)
        elif all((root / name).is_dir() for name in theirs):
            return Source(root, ours=False)
    raise DataError(
        f"{folder}: {spec.title} is not in there; expected the folders {', '.join(theirs)} (as the "
        f"origin has them) or {', '.join(ours)} (as this script makes them)"
    )


def convert(source: Source, out: Path, spec: DataSet) -> None:
    """Write what `out` lacks, each picture judged and each in one rename.

    Raises:
        DataError: some are not in the source, or one is not the data set's; the message names them.
    """
    found = [(i, i.find(source.root, ours=source.ours)) for i in missing(out, spec, source)]
    if absent := [item.name(ours=source.ours) for item, path in found if path is None]:
        shown = ", ".join(absent[:10]) + (", …" if len(absent) > 10 else "")
        raise DataError(f"{source.root}: {len(absent)} pictures are missing: {shown}")
    in_parallel(
        lambda pair: convert_file(*pair, out, spec, ours=source.ours), found, label="convert"
    )


def convert_file(item: Item, path: Path, out: Path, spec: DataSet, *, ours: bool) -> None:
    """Write one picture: a copy where the file can stay as it is, otherwise an 8-bit PNG.

    Raises:
        DataError: it is not the data set's; nothing is written.
    """
    pixels, exact, faults = look(item, path, spec, ours=ours)
    if faults:
        raise DataError(f"{faults[0]}; take it from the origin again")
    # A mask is always PNG; an image may stay what it is.
    stays = exact and (item.kind == "image" or path.suffix == ".png")
    target = out / (item.name(ours=True) + (path.suffix if stays else ".png"))
    fresh = out / INCOMING / f"{item.part.name}-{item.kind}-{target.name}"
    for folder in (target.parent, fresh.parent):
        folder.mkdir(parents=True, exist_ok=True)
    if stays:
        shutil.copyfile(path, fresh)
    else:
        Image.fromarray(np.ascontiguousarray(pixels)).save(fresh, format="PNG", optimize=True)
    os.replace(fresh, target)


def write_text(path: Path, text: str) -> None:
    """Write a small text file in one rename."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8", newline="\n")
    os.replace(fresh, path)
