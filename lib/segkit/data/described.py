"""A folder of one's own in whatever layout: ``data.yaml`` says where what is, and what it means.

images: photos/*.jpg       # * is the name by which image and mask are paired
masks: labels/*_mask.png
train: train.txt
val: val.txt
classes: {0: background, 7: road, 11: car, 12: car}
ignore: [3]
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from segkit.data.bands import Reading
from segkit.data.classes import Classes, find_classes, void_ids
from segkit.data.data_file import NAME, Range, SplitFolders, read_data_file, wrong_field
from segkit.data.folder import FolderDataset
from segkit.data.images import IMAGE_SUFFIXES, PictureFile
from segkit.data.layout import is_picture, match_lines, no_folder, read_lines
from segkit.data.pairs import PairDataset, Transform
from segkit.files import FileError, nearby_said, shown, what_is_there
from segkit.outputs import IGNORE

SPLITS = ("train", "val", "test")


def find_description(root: str | bytes | Path) -> Path | None:
    """The file that describes a folder's data: itself, or ``data.yaml`` in it; None for none."""
    path = Path(os.fsdecode(root))
    if is_description(path) and not path.is_dir():
        return path
    return path / NAME if os.path.lexists(path / NAME) else None


def is_description(path: str | Path) -> bool:
    """Whether a path is, by its ending, that of a file that describes data."""
    return Path(path).suffix.lower() in (".yaml", ".yml", ".json")


class Description:
    """A ``data.yaml`` as the data sets that it describes.

    Args:
        path: of the file.
        ignore: values of void beside the file's.

    Attributes:
        file: what it says.
        root: the folder of the data.
        classes: names, in the order of their numbers, and colours.
        meaning: the class, or IGNORE, of each value that a mask may hold.
        reading: how its images are read.

    Raises:
        ValueError: what it says does not fit together, or there is no such folder; names the file.
    """

    def __init__(self, path: str | Path, ignore: int | Sequence[int] = IGNORE) -> None:
        self.path, self.file = Path(path), read_data_file(path)
        self.root = self.path.parent / self.file.root
        if not self.root.is_dir():
            raise self._wrong("root", no_folder(self.root))
        self.classes, values = self._classes()
        void = {*void_ids(self.file.ignore), *void_ids(ignore)}
        if both := sorted(void & values.keys()):
            raise self._wrong("ignore", f"{both[0]} is {self.classes.names[values[both[0]]]!r}")
        self.meaning = {IGNORE: IGNORE, **values, **dict.fromkeys(sorted(void), IGNORE)}
        self.reading = self._reading()
        channels = self.reading.fixed_channels
        for field in ("mean", "std"):
            given = getattr(self.file, field)
            if given and channels and len(given) != channels:
                raise self._wrong(field, f"{channels} bands are read")
        if (self.file.mean is None) != (self.file.std is None):
            raise FileError(self.path, "has one of mean and std: give both, or neither")

    @cached_property
    def splits(self) -> dict[str, Any]:
        """What is said of each split that there is."""
        given = {split: value for split in SPLITS if (value := getattr(self.file, split))}
        if given:
            return given
        homes = self.root, self.path.parent
        named = [(split, f"{split}.txt") for split in SPLITS]
        lists = {s: one for s, one in named if any(os.path.lexists(h / one) for h in homes)}
        # Where all images lie in train/, that is no split of them, and test/ has no such ones.
        inside = any(self.file.images.startswith(f"{split}/") for split in SPLITS)
        folders = {s: s for s in SPLITS if (self.root / s).is_dir() and not inside}
        both = folders | lists
        return {split: both[split] for split in SPLITS if split in both}

    def open(
        self, split: str | None, *, transform: Transform | None = None, cache: bool = True
    ) -> DescribedFolder:
        """Open one split; None for all pairs of ``images`` and ``masks``."""
        return DescribedFolder(self, split, transform=transform, cache=cache)

    def open_splits(self, *, cache: bool = True) -> dict[str, DescribedFolder]:
        """Open every split.

        Raises:
            ValueError: there is none to train on, or to validate with.
        """
        if missing := [split for split in ("train", "val") if split not in self.splits]:
            raise FileError(
                self.path,
                f"says nothing of {' and '.join(missing)}: `segbook data split` writes lists of "
                "pairs for them; lists and folders of yours go into the fields train and val",
            )
        return {split: self.open(split, cache=cache) for split in self.splits}

    def pairs(self, split: str | None) -> dict[str, tuple[Path, Path]]:
        """Image and mask by name.

        Raises:
            ValueError: no pairs, a file without its other half, or two of one name.
        """
        if split is None:
            return self._both(self.file.images, self.file.masks)
        if split not in self.splits:
            there = f"it has {', '.join(self.splits)}" if self.splits else "it has none"
            raise FileError(self.path, f"has no split {split!r}: {there}")
        said = self.splits[split]
        if isinstance(said, SplitFolders):
            return self._both(said.images, said.masks, split)
        if isinstance(said, str) and (self.root / said).is_dir():
            images, masks = (f"{said}/{part}" for part in (self.file.images, self.file.masks))
            return self._both(images, masks, split)
        where, lines = f"{shown(self.path)}, {split},", said
        if isinstance(said, str):
            where = shown(self.root / said)
            # Lists lie beside this file, where the folder of the data may not be written.
            beside = [one for one in (self.root, self.path.parent) if os.path.lexists(one / said)]
            if not beside:
                missing = what_is_there(self.root / said)
                raise self._wrong(split, f"{shown(self.root / said)} {missing}")
            lines = read_lines(beside[0] / said, errors="surrogateescape")
        if not lines:
            raise ValueError(f"{where} lists no pair: a name a line, or an image and its mask")
        return self._listed(lines, where)

    def _listed(self, lines: Sequence[str], where: str) -> dict[str, tuple[Path, Path]]:
        found: dict[str, tuple[Path, Path]] = {}
        taken: dict[str, tuple[Path, Path]] = {}
        named = []

        def add(name: str, pair: tuple[Path, Path]) -> None:
            image, mask = map(os.path.abspath, pair)  # images/../images/a.png is one of images
            before = taken.setdefault(image, pair)
            if before is pair:
                before = found.setdefault(name, pair)
            elif os.path.abspath(before[1]) == mask:
                return
            if before is not pair:
                raise ValueError(
                    f"{where} lists {shown(before[0])} with {shown(before[1])}, and "
                    f"{shown(pair[0])} with {shown(pair[1])}: of one image, or one name, only one "
                    "line may stand there"
                )

        for line in lines:
            if pair := self._two_files(line):
                add(_unended(pair[0], self.root), pair)
            else:
                named.append(line)
        if named:
            every = self._both(self.file.images, self.file.masks)
            listed = match_lines(named, every.keys(), self.root)
            if listed.lost:
                raise ValueError(
                    f"{where} lists {listed.lost[0]!r:.200}, which is neither a pair of files in "
                    f"{shown(self.root)} nor one of the {len(every)} names of "
                    f"{self.file.images} and {self.file.masks}, such as {next(iter(every))!r:.80} "
                    f"({len(listed.lost)} of {len(lines)} lines)"
                )
            for name in listed.stems:
                add(name, every[name])
        return _short_names(found)

    def _two_files(self, line: str) -> tuple[Path, Path] | None:
        """The image and the mask that a line names, if it is of this kind."""
        for pattern in (r"\t", r"\s*[,;]\s*", r"\s+"):
            parts = [part.strip("\"'") for part in re.split(pattern, line.strip())]
            if len(parts) == 2 and all(Path(part).suffix for part in parts):
                image, mask = (self.root / part.replace("\\", "/") for part in parts)
                if image.is_file() and mask.is_file():
                    return image, mask
        return None

    def _both(self, images: str, masks: str, split: str = "") -> dict[str, tuple[Path, Path]]:
        found = {part: self._files(each, part) for part, each in (("images", images),
                                                                   ("masks", masks))}  # fmt: skip
        ours, theirs = found["images"], found["masks"]
        # A pattern such as *.png also takes *_mask.png.
        taken = {*theirs.values()}
        ours = {name: path for name, path in ours.items() if path not in taken}
        where = f"{shown(self.path)}{f', {split}' * bool(split)}"
        if not ours or not theirs:
            part, each = ("masks", masks) if ours else ("images", images)
            raise ValueError(
                f"{where}: {part} is {each!r}, and no file in {shown(self.root)} is such"
                + nearby_said(self.root / each.partition("*")[0])
            )
        for one, other, kind in ((ours, theirs, "mask"), (theirs, ours, "image")):
            if alone := sorted(one.keys() - other.keys()):
                raise ValueError(
                    f"{where}: {shown(one[alone[0]])} has no {kind}, which would be named "
                    f"{alone[0]!r} in {masks if kind == 'mask' else images} ({len(alone)} of "
                    f"{len(one)} files have none): rename, add or remove files, or list the pairs"
                )
        return _short_names({name: (ours[name], theirs[name]) for name in sorted(ours)})

    def _files(self, pattern: str, field: str) -> dict[str, Path]:
        """The files that a pattern means, by what * stands for."""
        if pattern.count("*") > 1:
            raise self._wrong(field, "* stands there more than once")
        if os.path.isabs(pattern):
            pattern = os.path.relpath(pattern, os.path.realpath(self.root))
        pattern = pattern.strip("/") if "*" in pattern else f"{pattern.rstrip('/')}/*"
        pattern = os.path.normpath(pattern)
        folder = self.root / pattern.partition("*")[0].rpartition("/")[0]
        ended = Path(pattern).suffix.lower() in IMAGE_SUFFIXES
        before, after = map(re.escape, pattern.split("*"))
        endings = "" if ended else f"(?i:{'|'.join(map(re.escape, IMAGE_SUFFIXES))})"
        named = re.compile(f"{before}(.+){after}{endings}")
        found: dict[str, Path] = {}
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder).parts
            if not is_picture(path) or any(part.startswith(".") for part in inside):
                continue
            match = named.fullmatch(path.relative_to(self.root).as_posix())
            if match and (path.is_file() or path.is_symlink()):
                if (name := match[1]) in found:
                    raise ValueError(
                        f"{shown(found[name])} and {shown(path)} have one name, {name!r}: pairs "
                        f"are made by it, so only one may be meant by {field} of "
                        f"{shown(self.path)}, such as {pattern}{path.suffix}"
                    )
                found[name] = path
        return found

    def _classes(self) -> tuple[Classes, dict[int, int]]:
        """Names and colours, and the class of each value."""
        given, palette = self.file.classes, self.file.palette
        if isinstance(given, dict):
            names = [*dict.fromkeys(name.strip() for name in given.values())]
            values = {value: names.index(name.strip()) for value, name in given.items()}
        else:
            names, values = given, {}
        if isinstance(palette, dict):
            known = names or find_classes(self.root).names
            if {*palette} != {*known}:
                odd = sorted({*palette} ^ {*known})
                raise self._wrong("palette", f"{odd[0]!r} is not in both classes and palette")
            palette = [palette[name] for name in known]
        try:
            classes = find_classes(self.root, names, palette)
        except ValueError as error:
            if given is None and self.file.palette is None:
                raise
            field = "classes" if palette is None or names is None else "classes or palette"
            raise FileError(self.path, f"has {field} that do not fit: {error}") from error
        return classes, values or {value: value for value in range(len(classes.names))}

    def _reading(self) -> Reading:
        bands, given, show = self.file.bands, self.file.range, self.file.show
        ranges: list[Range] = []
        if given is not None:
            pairs = [each for each in given if isinstance(each, tuple)]
            plain = tuple(each for each in given if not isinstance(each, tuple))
            ranges = [plain] if len(plain) == 2 and not pairs else pairs
            if not ranges or (pairs and plain):
                raise self._wrong("range", "two numbers, or two for each band")
            if bands and len(ranges) not in (1, len(bands)):
                raise self._wrong("range", f"{len(bands)} bands are read")
            if not all(low < high for low, high in ranges):
                raise self._wrong("range", "the lower value comes first")
            with np.errstate(over="ignore", divide="ignore"):
                bounds = np.array(ranges).astype(np.float32)
                if not np.isfinite(255 / np.diff(bounds)).all() or not np.isfinite(bounds).all():
                    raise self._wrong("range", "finite numbers that differ in 32 bits")
        if show is not None:
            known = bands or ([1, 2, 3] if given is None else None)
            if len(show) not in (1, 3) or (known and not {*show} <= {*known}):
                raise self._wrong("show", f"{known or 'all bands'} are read")
        return Reading(
            bands=tuple(bands or ()), range=tuple(ranges), show=tuple(show or ())
        )  # fmt: skip

    def _wrong(self, field: str, why: str) -> FileError:
        return wrong_field(self.path, field, getattr(self.file, field), why)


class DescribedFolder(FolderDataset):
    """A split of a folder that a ``data.yaml`` describes, see `segkit.data.data_file.DataFile`.

    Args:
        description: of the folder.
        split: one of its splits; None for all pairs.
        transform: callable ``(image, mask) -> (image, mask)``; None for the raw pair.
        cache: keep what was decoded.

    Attributes:
        reading: how images are read, as the header of weights keeps it.

    Raises:
        ValueError: no pairs, or a file without its other half; on access: a damaged file, two
            sizes in a pair, or a value that is no class. The message names the file.
    """

    def __init__(
        self,
        description: Description,
        split: str | None,
        *,
        transform: Transform | None = None,
        cache: bool = True,
    ) -> None:
        # FolderDataset's own constructor would look for images/ and masks/.
        PairDataset.__init__(self, transform, cache)
        self.description, self.reading = description, description.reading
        self.root, self.split = description.root, split
        found = description.pairs(split)
        self._names, self._pairs = [*found], list[tuple[Path, Path | None]](found.values())
        self.classes, self.palette, self.coloured = description.classes
        self.meaning = description.meaning
        self._meaning = {
            "values": sorted(self.meaning.items()),
            "names": self._names,
            "reading": self.reading.to_dict(),
        }

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return self.reading.fixed_channels or self._read_image(self._pairs[0][0]).shape[0]

    def stem(self, index: int) -> str:
        """Return the name by which image and mask number ``index`` are paired."""
        return self._names[index]

    def _read_image(self, path: Path) -> Tensor:
        if self.reading.same_values(Reading()):
            with PictureFile(path) as file:
                if file.deep:  # of RGB PIL would drop 8 bits, and say nothing
                    raise FileError(
                        path,
                        "has more than 8 bits a channel: say which values are 0 and 1, such as "
                        f"range: [0, 65535] in {shown(self.description.path)}",
                    )
        return self.reading.read(path)

    def _complaint(self, values: list[int], strays: int) -> str:
        if strays > 5:
            return "is it a map of ids at all, never smoothed, resized by blending or coloured?"
        return (
            f"of which {shown(self.description.path)} says nothing: name them in classes, or in "
            "ignore"
        )


def open_folder(
    root: str | bytes | Path,
    split: str | None = None,
    *,
    ignore: int | Sequence[int] = IGNORE,
    cache: bool = True,
    **options: Any,
) -> FolderDataset:
    """Open a folder of one's own, by its ``data.yaml`` where it has one.

    Args:
        root: the folder, or a file such as ``data.yaml`` anywhere.
        split: as `FolderDataset` takes it; None for all pairs.
        ignore: values of void in the masks.
        cache: keep what was decoded.
        **options: of `FolderDataset`, for a folder without ``data.yaml``.

    Raises:
        ValueError: as `FolderDataset` and `DescribedFolder`.
    """
    if path := find_description(root):
        return Description(path, ignore).open(split, cache=cache)
    return FolderDataset(root, split, ignore=ignore, cache=cache, **options)


def _unended(path: Path, root: Path) -> str:
    # A line may name a file outside of root, or by .. within it.
    return Path(os.path.relpath(path, root)).with_suffix("").as_posix()


def _short_names(pairs: Mapping[str, tuple[Path, Path]]) -> dict[str, tuple[Path, Path]]:
    """The same pairs by the last part of their names, where these differ."""
    counts = Counter(name.rpartition("/")[2] for name in pairs)
    if max(counts.values(), default=1) > 1:
        return dict(pairs)
    return {name.rpartition("/")[2]: pair for name, pair in pairs.items()}
