"""Judge a data set's pictures, bring them into our layout unchanged, and check what lies there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from .dataset import FORMATS, DataError, DataSet, Item, Part, pixel_digest
from .progress import in_parallel

INCOMING = ".incoming"  # inside the output folder, so that a finished file moves in by one rename


def look(
    item: Item, path: Path, spec: DataSet, *, ours: bool
) -> tuple[np.ndarray, bool, list[str]]:
    """Decode the file of a picture and judge it; in our layout a mask's values are class ids.

    Returns:
        The pixels, uint8, (H, W, 3) of an image in RGB and (H, W) otherwise (of a palette, its
        indices); whether the file can stay as it is; faults, one line each, naming the file.

    Raises:
        DataError: unreadable, of another size than the data set's, or a mask in colour.
    """
    try:
        with Image.open(path, formats=[FORMATS[path.suffix]]) as picture:
            if fits := spec.size in (None, picture.size):  # asked before it fills the memory
                picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        kinds = f"{FORMATS[path.suffix]}, as its name says"
        raise DataError(f"{path}: cannot be read as {kinds} ({error})") from error
    if spec.size and not fits:
        here, wanted = ("x".join(map(str, size)) for size in (picture.size, spec.size))
        raise DataError(f"{path}: {here}, expected {wanted}")
    if item.kind == "image":
        exact = picture.mode == spec.image_mode
        pixels, faults = np.asarray(picture.convert(spec.image_mode)), []
    else:
        if picture.mode not in ("L", "P"):
            raise DataError(
                f"{path}: mode {picture.mode}; a mask holds class ids in one 8-bit channel, "
                "not colours"
            )
        exact = picture.mode == "L" and path.suffix == ".png"
        pixels, faults = np.asarray(picture), []
        if spec.ids_from_origin is not None and not ours:
            try:
                pixels, exact = spec.ids_from_origin(pixels), False
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
        if strays := [str(n) for n in np.unique(pixels) if n >= len(spec.classes)]:
            most = len(spec.classes) - 1
            faults.append(f"{path}: class id {', '.join(strays)}, allowed are 0 to {most}")
    if item.digest and pixel_digest(pixels) != item.digest:
        faults.append(f"{path}: its pixels are not the origin's (changed, or saved with loss)")
    return pixels, exact, faults


def make_manifest(root: Path, spec: DataSet) -> dict[str, tuple[str, str]]:
    """Digest what lies under `root`, known to be right, in our layout; as `read_manifest`."""
    items = spec.items(root, ours=True)
    pictures = ((item, item.find(root, ours=True) or root) for item in items)
    digests = [pixel_digest(look(item, path, spec, ours=True)[0]) for item, path in pictures]
    names = [f"{item.part.name}/{item.stem}" for item in items[::2]]
    return dict(zip(names, zip(digests[::2], digests[1::2], strict=True), strict=True))


def find_source(folder: Path, spec: DataSet) -> Path:
    """Find the folder that holds the origin's folders: the given one or some folders down.

    Raises:
        DataError: it is not there.
    """
    wanted = [name for part in spec.parts for name in part.folders(ours=False).values()]
    for here, _, _ in os.walk(folder):  # which follows no links
        if all(Path(here, name).is_dir() for name in wanted):
            return Path(here)
    raise DataError(
        f"{folder}: {spec.title} is not in there; expected the origin's folders {', '.join(wanted)}"
    )


def convert(source: Path, out: Path, spec: DataSet) -> None:
    """Write what `out` lacks, each picture judged and each in one rename.

    Raises:
        DataError: some are not in the source, or one is not the data set's; the message names them.
    """
    lacking = [i for i in spec.items(source, ours=False) if i.find(out, ours=True) is None]
    found = {item: path for item in lacking if (path := item.find(source, ours=False))}
    if absent := [item.name(ours=False) for item in lacking if item not in found]:
        shown = ", ".join(absent[:10]) + (", …" if len(absent) > 10 else "")
        raise DataError(f"{source}: {len(absent)} pictures are missing: {shown}")
    in_parallel(lambda item: _convert_file(item, found[item], out, spec), lacking, label="convert")


def _convert_file(item: Item, path: Path, out: Path, spec: DataSet) -> None:
    """Write one picture: a copy where the file can stay as it is, otherwise an 8-bit PNG."""
    pixels, exact, faults = look(item, path, spec, ours=False)
    if faults:
        raise DataError(f"{faults[0]}; take it from the origin again")
    target = out / (item.name(ours=True) + (path.suffix if exact else ".png"))
    fresh = out / INCOMING / f"{item.part.name}-{item.kind}-{target.name}"
    for folder in (target.parent, fresh.parent):
        folder.mkdir(parents=True, exist_ok=True)
    if exact:
        shutil.copyfile(path, fresh)
    else:
        Image.fromarray(pixels).save(fresh, format="PNG", optimize=True)
    os.replace(fresh, target)


class _Seen(NamedTuple):
    there: bool
    problems: list[str]
    size: tuple[int, ...] = ()  # (H, W) of what could be read
    counts: np.ndarray = np.zeros(256, np.int64)  # of a mask's values


def check(root: Path, spec: DataSet) -> list[str]:
    """Look at every file of the folder `root`, in our layout.

    Counts, sizes, modes, class ids, the digest of every picture's pixels where there is a manifest,
    the class shares against the published ones, the list files, and that no other file lies in the
    folders.

    Returns:
        What is wrong, one line each, naming the file; empty when all is well.
    """
    problems = []
    items = spec.items(root, ours=True)
    seen = in_parallel(lambda item: _see(item, root, spec), items, label="check")
    pairs = list(zip(items[::2], seen[::2], seen[1::2], strict=True))
    for part in spec.parts:
        mine = [(image, mask) for item, image, mask in pairs if item.part is part]
        problems += [problem for pair in mine for one in pair for problem in one.problems]
        problems += _strangers(part, root, spec)
        complete = sum(image.there and mask.there for image, mask in mine)
        if complete != part.count:
            problems.append(f"{part.name}: {complete} pairs, expected {part.count}")
        counts = np.sum([mask.counts for _, mask in mine], axis=0)
        here = 100 * counts / max(1, counts[: len(spec.classes)].sum())
        problems += [
            f"{part.name}: class {label} ({spec.classes[label]}) has {here[label]:.3f} % of the "
            f"pixels, published {share:.3f} %"
            for label, share in enumerate(part.shares)
            if abs(here[label] - share) > spec.share_tolerance
        ]
    problems += [
        f"{root / item.name(ours=True)}: the mask is not of the image's size"
        for item, image, mask in pairs
        if image.size and mask.size and image.size != mask.size
    ]
    for name, lines in spec.lists.items():
        path = root / name
        if not path.is_file():
            problems.append(f"{path}: missing")
            continue
        written = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if [line.strip() for line in written if line.strip()] != list(lines):
            problems.append(f"{path}: does not hold the {len(lines)} lines that it should")
    return problems


def _see(item: Item, root: Path, spec: DataSet) -> _Seen:
    path = item.find(root, ours=True)
    if path is None:
        return _Seen(False, [f"{root / item.name(ours=True)}.png: missing"])
    try:
        pixels, exact, faults = look(item, path, spec, ours=True)
    except DataError as error:
        return _Seen(True, [str(error)])
    if not exact:
        wanted = spec.image_mode if item.kind == "image" else "an 8-bit grey PNG"
        faults.insert(0, f"{path}: not stored as {wanted}")
    return _Seen(True, faults, pixels.shape[:2], np.bincount(pixels.ravel(), minlength=256))


def _strangers(part: Part, root: Path, spec: DataSet) -> Iterator[str]:
    """Name what lies in the part's folders and does not belong there: a loader would take it in."""
    stems = set(spec.stems(part, root, ours=True))
    for name in part.folders(ours=True).values():
        seen: set[str] = set()
        for path in sorted((root / name).glob("*")):
            if path.stem not in stems or path.suffix not in FORMATS:
                yield f"{path}: does not belong to {spec.title}"
            elif path.stem in seen:
                yield f"{path}: a second file for the stem {path.stem}"
            seen.add(path.stem)
