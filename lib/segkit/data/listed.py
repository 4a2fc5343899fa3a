"""Data sets of the papers in their own folder layouts: what they have in common."""

from __future__ import annotations

import hashlib
import json
import operator
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segkit.data.folder import FolderDataset
from segkit.data.images import read_image, read_mask
from segkit.outputs import IGNORE


class ListedDataset(FolderDataset):
    """Pairs that a known layout names, with masks whose values stand for known classes.

    Args:
        root: the folder of the data.
        split: the name of the split.
        pairs: files of image and mask; None in place of a mask: everything is void.
        classes: names in the order of the ids.
        palette: RGB of each class, 0..255.
        ids: class of each value that a mask may hold; IGNORE (255) for void.
        usual: number of pairs that the papers use; another number is told by a warning.
        transform: callable ``(image, mask) -> (image, mask)``; None for the raw pair.
        cache: keep what was decoded, H*W*4 bytes a pair.

    Raises:
        ValueError: on access: a damaged file, two sizes in a pair, or a value that is not in
            ``ids``. The message names the file.

    Warns:
        UserWarning: another number of pairs than ``usual``.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        pairs: Sequence[tuple[Path, Path | None]],
        *,
        classes: tuple[str, ...],
        palette: tuple[tuple[int, int, int], ...],
        ids: Mapping[int, int],
        usual: int,
        transform: Callable[[Tensor, Tensor], tuple[Any, Any]] | None,
        cache: bool,
    ) -> None:
        # FolderDataset's own constructor would look for images/ and masks/.
        self.root, self.split, self.ignore = root, split, IGNORE
        self.classes, self.palette = classes, palette
        self.transform, self.cache = transform, cache
        self._pairs, self._decoded = list(pairs), {}
        self._ids = dict(ids)
        self._table = torch.full((256,), IGNORE, dtype=torch.uint8)
        for value, label in self._ids.items():
            self._table[value] = label
        if len(self) != usual:
            warnings.warn(
                f"{split} of {root} holds {len(self)} pairs, the papers use {usual}: figures will "
                "not compare",
                stacklevel=3,
            )

    def manifest(self) -> str:
        """Return a fingerprint of the data: sha256 in hexadecimal.

        It changes with a stem, a class name, the ids, the size of an image file and any byte of a
        mask.
        """
        what = [self.classes, sorted(self._ids.items())]
        digest = hashlib.sha256(json.dumps(what).encode())
        for image, mask in self._pairs:
            content = hashlib.sha256(mask.read_bytes()).hexdigest() if mask else ""
            digest.update(f"{image.stem}\0{image.stat().st_size}\0{content}\n".encode())
        return digest.hexdigest()

    def read_labels(self, path: Path) -> Tensor:
        """Read a mask as its file has it: uint8, shape (H, W)."""
        return read_mask(path)

    def _decode(self, index: int) -> tuple[Tensor, Tensor]:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)} in {self!r}")
        index %= len(self)
        if index in self._decoded:
            return self._decoded[index]
        image_path, mask_path = self._pairs[index]
        image = read_image(image_path)
        if mask_path is None:
            mask = torch.full(image.shape[1:], IGNORE, dtype=torch.uint8)
        else:
            mask = self._to_classes(self.read_labels(mask_path), mask_path)
        if image.shape[1:] != mask.shape:
            raise ValueError(
                f"{image_path} has {image.shape[2]}x{image.shape[1]} pixels (width x height) and "
                f"{mask_path} {mask.shape[1]}x{mask.shape[0]}: unpack the data again"
            )
        if self.cache:
            self._decoded[index] = image, mask
        return image, mask

    def _to_classes(self, values: Tensor, path: Path) -> Tensor:
        """Turn the values of a file into classes and refuse those that stand for none."""
        counts = torch.bincount(values.flatten(), minlength=256)
        strays = [v for v in counts.nonzero().flatten().tolist() if v not in self._ids]
        if strays:
            shown = ", ".join(f"{value} ({int(counts[value])} pixels)" for value in strays[:5])
            raise ValueError(
                f"{path} holds {shown}, which no class of {type(self).__name__} has: the file was "
                "changed or is another kind of label; unpack the data again"
            )
        return self._table[values.long()]


def read_lines(path: Path) -> list[str]:
    """Read the lines of a list that hold something, without the space around them."""
    return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]


def check_split(split: str, splits: Mapping[str, int], name: str) -> None:
    """Refuse a split that the data set does not have.

    Raises:
        ValueError: no such split; the message lists those that there are.
    """
    if split not in splits:
        raise ValueError(f"split={split!r}: {name} has {', '.join(map(repr, splits))}")


def check_files(files: Sequence[Path], cure: str) -> None:
    """Refuse data of which a file is missing, at once instead of hours into a training.

    Args:
        files: what has to be there; folders are listed once each, which is faster than asking for
            every file.
        cure: what to do about it.

    Raises:
        ValueError: files are missing; the first and their number are told.
    """
    there: dict[Path, set[str]] = {}
    for folder in {path.parent for path in files}:
        there[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
    lost = [path for path in files if path.name not in there[path.parent]]
    if lost:
        raise ValueError(f"{lost[0]} is missing ({len(lost)} of {len(files)} files): {cure}")
