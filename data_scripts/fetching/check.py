"""Compare a folder with what the data set's papers and the manifest say of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .dataset import SUFFIXES, DataError, DataSet, Item, Part, pixel_digest, read_image, read_mask
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
                row += f"{self.shares(part)[label]:>12.3f}{part.shares[label]:>10.3f}"
            lines.append(row)
        if self.ok:
            size = f"{spec.size[0]}x{spec.size[1]}"
            lines.append(f"All is well: every picture is {size} and has the pixels of the origin.")
        else:
            lines.append(f"{len(self.problems)} problems:")
            lines.extend(f"  {problem}" for problem in self.problems)
        return "\n".join(lines)


def check(root: Path, spec: DataSet) -> Report:
    """Look at every file of `root`, in our layout.

    Counts, sizes, modes, class ids, the digest of every picture's pixels, the class shares against
    the published ones, the list files, and that no other file lies in the folders.

    Args:
        root: the folder; one that does not exist has all its files missing.
        spec: what it must hold.

    Returns:
        The report; it never raises for bad data.
    """
    report = Report(spec)
    items = list(spec.items())
    results = in_parallel(lambda item: _look(item, root, spec), items, label="check")
    for part in spec.parts:
        mine = [(i, r) for i, r in zip(items, results, strict=True) if i.part is part]
        report.pixels[part.name] = sum(
            (r.pixels for _, r in mine if r.pixels is not None), np.zeros(256, np.int64)
        )[: len(spec.classes)]
        absent = {i.stem for i, r in mine if r.absent}
        report.pairs[part.name] = len({i.stem for i, _ in mine} - absent)
        report.problems += [p for _, r in mine for p in r.problems]
        report.problems += _strangers(part, root, spec)
        report.problems += _counts(part, report)
    for name, stems in spec.lists.items():
        path = root / name
        if not path.is_file():
            report.problems.append(f"{path}: missing")
        elif path.read_text(encoding="utf-8", errors="replace").split() != list(stems):
            report.problems.append(f"{path}: does not list the {len(stems)} stems of this split")
    return report


@dataclass
class _Look:
    problems: list[str] = field(default_factory=list)
    absent: bool = False
    pixels: np.ndarray | None = None  # (256,) int64, masks only


def _look(item: Item, root: Path, spec: DataSet) -> _Look:
    path = item.find(root, ours=True)
    if path is None:
        where = root / item.folder(ours=True) / item.stem
        return _Look([f"{where}.png: missing"], absent=True)
    look = _Look()
    try:
        if item.kind == "image":
            pixels, exact = read_image(path, spec)
            if not exact:
                look.problems.append(f"{path}: not stored as {spec.image_mode}")
        else:
            pixels, exact = read_mask(path, spec)
            if not exact or path.suffix != ".png":
                look.problems.append(f"{path}: a mask must be an 8-bit grey PNG")
            look.pixels = np.bincount(pixels.ravel(), minlength=256)
            if wrong := np.flatnonzero(look.pixels[len(spec.classes) :]).tolist():
                ids = ", ".join(str(label + len(spec.classes)) for label in wrong)
                look.problems.append(
                    f"{path}: class id {ids}, allowed are 0 to {len(spec.classes) - 1}"
                )
    except DataError as error:
        return _Look([str(error)])
    if pixel_digest(pixels) != item.digest:
        look.problems.append(f"{path}: its pixels are not the origin's")
    return look


def _strangers(part: Part, root: Path, spec: DataSet) -> list[str]:
    """Name what lies in the part's folders and does not belong there: a loader would take it in."""
    stems = set(spec.stems(part))
    problems = []
    for name in (part.images, part.masks):
        folder = root / name
        seen: set[str] = set()
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.stem not in stems or path.suffix not in SUFFIXES:
                problems.append(f"{path}: does not belong to {spec.title}")
            elif path.stem in seen:
                problems.append(f"{path}: a second file for the stem {path.stem}")
            seen.add(path.stem)
    return problems


def _counts(part: Part, report: Report) -> list[str]:
    problems = []
    if (pairs := report.pairs[part.name]) != part.count:
        problems.append(f"{part.name}: {pairs} pairs, expected {part.count}")
    for label, (here, stated) in enumerate(zip(report.shares(part), part.shares, strict=True)):
        if abs(here - stated) > report.spec.share_tolerance:
            problems.append(
                f"{part.name}: class {label} ({report.spec.classes[label]}) has {here:.3f} % "
                f"of the pixels, published {stated:.3f} %"
            )
    return problems
