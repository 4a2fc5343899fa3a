"""Compare a folder with what the data set's papers and the manifest say of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .convert import look
from .dataset import FORMATS, DataError, DataSet, Item, Part
from .progress import in_parallel


@dataclass
class Report:
    """What `check` found.

    Args:
        spec: the data set.
        pairs: by part name, the number of complete pairs on disk.
        pixels: by part name, the number of pixels of each class id over the part's masks, int64.
        problems: one line each, naming the file; empty when all is well.
    """

    spec: DataSet
    pairs: dict[str, int] = field(default_factory=dict)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def shares(self, part: Part) -> np.ndarray:
        """Return per cent of the pixels by class id; zeros where no mask could be read."""
        pixels = self.pixels[part.name]
        return 100 * pixels / max(1, pixels.sum())

    def __str__(self) -> str:
        spec = self.spec
        width = max(len(name) for name in spec.classes) + 4
        lines = [" " * width + "".join(f"{p.name:>22}" for p in spec.parts)]
        counts = (f"{self.pairs[p.name]} of {p.count}" for p in spec.parts)
        lines.append(f"{'pairs':<{width}}" + "".join(f"{count:>22}" for count in counts))
        lines.append(f"{'% of pixels':<{width}}" + f"{'here':>12}{'stated':>10}" * len(spec.parts))
        for label, name in enumerate(spec.classes):
            row = f"{label:>2} {name:<{width - 3}}"
            for part in spec.parts:
                stated = f"{part.shares[label]:.3f}" if part.shares else "-"
                row += f"{self.shares(part)[label]:>12.3f}{stated:>10}"
            lines.append(row)
        if self.ok:
            proven = "has the pixels of the origin" if spec.manifest else "can be read"
            lines.append(f"All is well: every picture {proven}.")
        else:
            lines.append(f"{len(self.problems)} problems:")
            lines.extend(f"  {problem}" for problem in self.problems)
        return "\n".join(lines)


class _Seen(NamedTuple):
    problems: list[str]
    there: bool = True
    size: tuple[int, ...] = ()  # (H, W) of what could be read
    counts: np.ndarray | int = 0  # of a mask's 256 values, int64


def check(root: Path, spec: DataSet) -> Report:
    """Look at every file of `root`, in our layout.

    Counts, sizes, modes, class ids, the digest of every picture's pixels where there is a manifest,
    the class shares against the published ones, the list files, and that no other file lies in the
    folders.

    Args:
        root: the folder; one that does not exist has all its files missing.
        spec: what it must hold.

    Returns:
        The report; it never raises for bad data.
    """
    report = Report(spec)
    items = spec.items(root, ours=True)
    results = in_parallel(lambda item: _see(item, root, spec), items, label="check")
    pairs = list(zip(items[::2], results[::2], results[1::2], strict=True))
    for part in spec.parts:
        mine = [(image, mask) for item, image, mask in pairs if item.part is part]
        seen = sum((mask.counts for _, mask in mine), np.zeros(256, np.int64))
        report.pixels[part.name] = seen[: len(spec.classes)]
        report.pairs[part.name] = sum(image.there and mask.there for image, mask in mine)
        report.problems += [p for pair in mine for one in pair for p in one.problems]
        report.problems += [*_strangers(part, root, spec), *_figures(part, report)]
    report.problems += [
        f"{root / item.name(ours=True)}: the mask is not of the image's size"
        for item, image, mask in pairs
        if image.size and mask.size and image.size != mask.size
    ]
    for name, stems in spec.lists.items():
        path = root / name
        if not path.is_file():
            report.problems.append(f"{path}: missing")
        elif path.read_text(encoding="utf-8", errors="replace").split() != list(stems):
            report.problems.append(f"{path}: does not list the {len(stems)} stems of this split")
    return report


def _see(item: Item, root: Path, spec: DataSet) -> _Seen:
    path = item.find(root, ours=True)
    if path is None:
        return _Seen([f"{root / item.name(ours=True)}.png: missing"], there=False)
    try:
        pixels, exact, faults = look(item, path, spec, ours=True)
    except DataError as error:
        return _Seen([str(error)])
    if item.kind == "image":
        inexact = [] if exact else [f"{path}: not stored as {spec.image_mode}"]
        return _Seen(inexact + faults, size=pixels.shape[:2])
    if not exact or path.suffix != ".png":
        faults.insert(0, f"{path}: a mask must be an 8-bit grey PNG")
    counts = np.bincount(pixels.ravel(), minlength=256)
    return _Seen(faults, size=pixels.shape, counts=counts)


def _strangers(part: Part, root: Path, spec: DataSet) -> Iterator[str]:
    """Name what lies in the part's folders and does not belong there: a loader would take it in."""
    stems = set(spec.stems(part, root, ours=True))
    for name in part.folders(ours=True).values():
        folder = root / name
        seen: set[str] = set()
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.stem not in stems or path.suffix not in FORMATS:
                yield f"{path}: does not belong to {spec.title}"
            elif path.stem in seen:
                yield f"{path}: a second file for the stem {path.stem}"
            seen.add(path.stem)


def _figures(part: Part, report: Report) -> Iterator[str]:
    """Compare the part's number of pairs and its class shares with the published ones."""
    if (pairs := report.pairs[part.name]) != part.count:
        yield f"{part.name}: {pairs} pairs, expected {part.count}"
    for label, stated in enumerate(part.shares):
        here = report.shares(part)[label]
        if abs(here - stated) > report.spec.share_tolerance:
            yield (
                f"{part.name}: class {label} ({report.spec.classes[label]}) has {here:.3f} % "
                f"of the pixels, published {stated:.3f} %"
            )
