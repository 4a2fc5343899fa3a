"""Data sets of the papers in their own folder layouts: what they have in common."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segkit.data.folder import FolderDataset
from segkit.data.images import read_mask
from segkit.data.layout import file_names, what_is_there
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
        self._ids, self._meaning = dict(ids), sorted(ids.items())
        self._table = torch.full((256,), IGNORE, dtype=torch.uint8)
        for value, label in self._ids.items():
            self._table[value] = label
        if len(self) != usual:
            warnings.warn(
                f"{split} of {root} holds {len(self)} pairs, the papers use {usual}: figures will "
                "not compare",
                stacklevel=3,
            )

    @property
    def meaning(self) -> dict[int, int]:
        """The class, or IGNORE, of each value that a mask's file may hold."""
        return dict(self._ids)

    def _read_values(self, path: Path) -> Tensor:
        """Read a mask as its file has it: uint8, shape (H, W)."""
        return read_mask(path)

    def _read_labels(self, path: Path | None, size: tuple[int, ...]) -> Tensor:
        """Turn the values of a file into classes and refuse those that stand for none."""
        if path is None:
            return torch.full(size, IGNORE, dtype=torch.uint8)
        values = self._read_values(path)
        counts = torch.bincount(values.flatten(), minlength=256)
        strays = [v for v in counts.nonzero().flatten().tolist() if v not in self._ids]
        if strays:
            shown = ", ".join(f"{value} ({int(counts[value])} pixels)" for value in strays[:5])
            raise ValueError(
                f"{path} holds {shown}, which no class of {type(self).__name__} has: the file was "
                "changed or is another kind of label; unpack the data again"
            )
        return self._table[values.long()]


def check_split(split: str, splits: Mapping[str, int], name: str) -> None:
    """Refuse a split that the data set does not have.

    Raises:
        ValueError: no such split; the message lists those that there are.
    """
    if split not in splits:
        raise ValueError(f"split={split!r}: {name} has {', '.join(map(repr, splits))}")


def find_files(folder: Path, pattern: str) -> list[Path]:
    """Find what a layout's pattern names, sorted, without what systems hide there (``._a.png``).

    Args:
        folder: where to look.
        pattern: glob relative to ``folder``.
    """
    return sorted(
        path
        for path in folder.glob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def check_files(files: Sequence[Path], cure: str) -> None:
    """Refuse data of which a file is missing, at once instead of hours into a training.

    Args:
        files: what has to be there; folders are listed once each, which is faster than asking for
            every file.
        cure: what to do about it.

    Raises:
        ValueError: files are missing, or links lead to none; the first and their number are told.
    """
    there = {folder: file_names(folder) for folder in {path.parent for path in files}}
    lost = [path for path in files if path.name not in there[path.parent]]
    if lost:
        raise ValueError(
            f"{lost[0]} {what_is_there(lost[0])} ({len(lost)} of {len(files)} files): {cure}"
        )
