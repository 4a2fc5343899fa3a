"""Images and masks in two folders, paired by file stem."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from segkit.data.classes import find_classes, void_ids
from segkit.data.images import MAX_BYTES, read_image, read_mask, turning_cure
from segkit.data.layout import find_pairs
from segkit.data.pairs import PairDataset, Transform
from segkit.files import FileError, open_regular, shown
from segkit.outputs import IGNORE


class FolderDataset(PairDataset):
    """A data set of your own: ``images/`` and ``masks/``, pairs by file stem.

        root/images/street_01.jpg     root/masks/street_01.png

    With ``split="train"`` the two folders are those of ``root/train``, or, where there is no such
    folder, ``root/train.txt`` lists the stems to take from them, one a line. Masks are pictures of
    one channel that hold class ids (see `segkit.data.images.read_mask`).

    Args:
        root: the folder.
        split: name of a subfolder or of a list of stems; None for everything in ``root``.
        classes: names in the order of the ids. None reads ``root/classes.json`` (a list of names,
            or ``{"classes": [...], "palette": [[r, g, b], ...]}``) or ``root/classes.txt`` (one
            name a line), or the lists of some other tools under these names, see
            `segkit.data.classes.find_classes`.
        palette: RGB of each class, 0..255; None takes that of ``classes.json``, or else distinct
            colours.
        ignore: the id by which the files mark void pixels, or several; they are read as IGNORE
            (255), as is 255.
        transform: callable ``(image, mask) -> (image, mask)``; None for the raw pair.
        cache: keep what was decoded, H*W*4 bytes a pair.

    Attributes:
        classes: names in the order of the ids.
        palette: RGB of each class.
        num_classes: K, void not counted.
        meaning: the class, or IGNORE, of each value that a mask's file may hold.
        coloured: whether somebody gave the palette.

    Raises:
        ValueError: a missing folder, no pairs, an image without its mask or the other way round,
            two files of one stem, a link that leads to no file, or classes and palette that do
            not fit. On access: a damaged file, two sizes in a pair, or a label out of range. The
            message names the file.

    Warns:
        UserWarning: a mask of a two-class data set that holds 0 and 255 only, once.
    """

    _warned = False

    def __init__(
        self,
        root: str | bytes | Path,
        split: str | None = None,
        *,
        classes: Sequence[str] | None = None,
        palette: Sequence[tuple[int, int, int]] | None = None,
        ignore: int | Sequence[int] = IGNORE,
        transform: Transform | None = None,
        cache: bool = True,
    ) -> None:
        super().__init__(transform, cache)
        self.root, self.split = Path(os.fsdecode(root)), split
        void = void_ids(ignore)
        self._pairs: list[tuple[Path, Path | None]] = [*find_pairs(self.root, split)]
        self.classes, self.palette, self.coloured = find_classes(self.root, classes, palette)
        self.meaning = meaning_of(len(self.classes), void)
        # One id stands by itself: the manifests of old runs have it so.
        self._meaning: Any = void[0] if len(void) == 1 else [*void] or IGNORE

    def __len__(self) -> int:
        return len(self._pairs)

    def stem(self, index: int) -> str:
        """Return the name by which image and mask number ``index`` are paired."""
        return self._pairs[index][0].stem

    def files(self, index: int) -> tuple[Path, Path | None]:
        """Return the files of image and mask number ``index``; None for a mask there is none of."""
        return self._pairs[index]

    def manifest(self) -> str:
        """Return a fingerprint of the data: sha256 in hexadecimal.

        It changes with a stem, a class name, the meaning of an id, the size of an image file and
        any byte of a mask; images are not read, so that it takes no longer than reading the masks.
        Of what is no readable file it holds that it is none.
        """
        digest = hashlib.sha256(json.dumps([self.classes, self._meaning]).encode())
        for image, mask in self._pairs:
            content, size = _sha256(mask) if mask else "", _size(image)
            digest.update(os.fsencode(image.stem) + f"\0{size}\0{content}\n".encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        split = "" if self.split is None else f", split={self.split!r}"
        return (
            f"{type(self).__name__}({str(self.root)!r}{split}: {len(self)} pairs, "
            f"{self.num_classes} classes)"
        )

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        image_path, mask_path = self._pairs[index]
        image = self._read_image(image_path)
        mask = self._read_labels(mask_path, image.shape[1:])
        if image.shape[1:] != mask.shape:
            turned = image.shape[1:] == mask.shape[::-1] and mask_path is not None
            cure = turning_cure(image_path, mask_path) if turned and mask_path else ""
            cure = cure or "resize with nearest neighbour, or check that the two belong together"
            raise FileError(
                image_path,
                f"has {image.shape[2]}x{image.shape[1]} pixels (width x height) and "
                f"{shown(mask_path)} {mask.shape[1]}x{mask.shape[0]}: a mask has the size of its "
                f"image; {cure}",
            )
        return image, mask

    def _read_image(self, path: Path) -> Tensor:
        """Read an image: uint8 (3, H, W)."""
        return read_image(path)

    def _read_values(self, path: Path) -> Tensor:
        """Read a mask as its file has it: uint8, shape (H, W)."""
        return read_mask(path)

    def _read_labels(self, path: Path | None, size: tuple[int, ...]) -> Tensor:
        """Turn the values of a mask's file into classes and refuse those that stand for none.

        Args:
            path: the mask's file; without one everything is void.
            size: (height, width) of the image.
        """
        if path is None:
            return torch.full(size, IGNORE, dtype=torch.uint8)
        mask = self._read_values(path)
        counts = torch.bincount(mask.flatten(), minlength=256)
        values, meaning = counts.nonzero().flatten().tolist(), self.meaning
        if strays := [value for value in values if value not in meaning]:
            held = ", ".join(f"{value} ({int(counts[value])} pixels)" for value in strays[:5])
            held += f" and {len(strays) - 5} more values" if len(strays) > 5 else ""
            raise FileError(path, f"holds {held}, {self._complaint(values, len(strays))}")
        void = meaning.get(IGNORE, IGNORE) == IGNORE
        if self.num_classes == 2 and values == [0, IGNORE] and void and not self._warned:
            self._warned = True
            warnings.warn(
                f"{shown(path)} holds 0 and 255 only, and 255 is void: if it marks the object, "
                "divide the masks by 255",
                stacklevel=5,
            )
        if all(meaning[value] == value for value in values):
            return mask
        table = [meaning.get(value, IGNORE) for value in range(256)]
        return torch.tensor(table, dtype=torch.uint8)[mask.long()]

    def _complaint(self, values: list[int], strays: int) -> str:
        if len(values) == 2 and values[0] == 0:
            hint = f"divide it by {values[1]} if {values[1]} marks the object"
        elif strays > 5:
            hint = "is it a map of ids at all, never smoothed, resized by blending or coloured?"
        else:
            beside = [value for value in values if value not in self.meaning]
            hint = f"mark void pixels by 255, or name their id ({ignore_option(beside)}), or add "
            hint += "the classes"
        void = ", ".join(str(value) for value, label in self.meaning.items() if label == IGNORE)
        return (
            f"but the {self.num_classes} classes have the ids 0 to {self.num_classes - 1} and void "
            f"is {void}: {hint}"
        )


def write_folder(
    root: str | Path,
    pairs: Iterable[tuple[Tensor, Tensor]],
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]] | None = None,
    *,
    split: str | None = None,
) -> None:
    """Write images and masks as PNG files, and the names of the classes, for `FolderDataset`.

    Args:
        root: the folder; it is made where there is none.
        pairs: uint8 (3, H, W) and uint8 (H, W), such as the raw pairs of any data set. The files
            are called 000.png, 001.png and so on.
        classes: names in the order of the ids.
        palette: RGB of each class, 0..255; None leaves the colours to whoever reads it.
        split: a folder in ``root``; None for ``root`` itself.

    Raises:
        ValueError: something lies in the folder's images/ or masks/ already.

    Example:
        >>> streets = SyntheticStreets("val", length=3)  # doctest: +SKIP
        >>> pairs = map(streets.raw, range(3))  # doctest: +SKIP
        >>> write_folder("val", pairs, streets.classes, streets.palette)  # doctest: +SKIP
    """
    folders = [Path(root) / (split or "") / part for part in ("images", "masks")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ValueError(f"{shown(folder)} is not empty: give another folder, or empty it")
    for number, (image, mask) in enumerate(pairs):
        for folder, values in zip(folders, (image.permute(1, 2, 0), mask), strict=True):
            Image.fromarray(values.numpy()).save(folder / f"{number:03d}.png")
    said = {"classes": list(classes)} | ({"palette": palette} if palette else {})
    (Path(root) / "classes.json").write_text(json.dumps(said), encoding="utf-8")


def meaning_of(num_classes: int, void: Sequence[int]) -> dict[int, int]:
    """The class, or IGNORE, of each value that a mask's file may hold.

    Args:
        num_classes: K.
        void: ids that mark void besides IGNORE; they may be any.
    """
    return {**{k: k for k in range(num_classes)}, **dict.fromkeys([*void, IGNORE], IGNORE)}


def ignore_option(values: Sequence[int]) -> str:
    """How a user says that ids are void: in Python and for a recipe."""
    one = str(values[0]) if len(values) == 1 else f"({', '.join(map(str, values))})"
    typed = ",".join(map(str, values))
    return f"ignore={one} in FolderDataset, --set ignore={typed} for a recipe"


def _sha256(path: Path) -> str:
    try:
        with open_regular(path, MAX_BYTES) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (ValueError, OSError):  # reading the pair says what is wrong
        return "unreadable"


def _size(path: Path) -> int | str:
    try:
        return path.stat().st_size
    except OSError:
        return "unreadable"
