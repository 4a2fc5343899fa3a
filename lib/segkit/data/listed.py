"""Data sets of the papers in their own folder layouts: what they have in common."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from segkit.data.folder import FolderDataset
from segkit.data.layout import file_names
from segkit.data.pairs import PairDataset, Transform
from segkit.files import FileError, shown, what_is_there


class ListedDataset(FolderDataset):
    """Pairs that a known layout names, with masks whose values stand for known classes.

    A subclass finds the pairs, and gives its constants as class attributes.

    Args:
        root: the folder of the data.
        split: the name of the split.
        transform: callable ``(image, mask) -> (image, mask)``; None for the raw pair.
        cache: keep what was decoded, H*W*4 bytes a pair.

    Attributes:
        name: of the data set, as messages have it.
        usual: number of pairs that the papers use, by split.
        ids: class of each value that a mask may hold; IGNORE (255) for void.

    Raises:
        ValueError: an unknown split, or what `_find` raises; on access: a damaged file, two sizes
            in a pair, or a value that is not in ``ids``. The message names the file.

    Warns:
        UserWarning: another number of pairs than the papers use.
    """

    name: ClassVar[str]
    usual: ClassVar[Mapping[str, int]]
    ids: ClassVar[Mapping[int, int]]

    def __init__(
        self,
        root: str | bytes | Path,
        split: str,
        *,
        transform: Transform | None = None,
        cache: bool = False,
    ) -> None:
        if split not in self.usual:
            raise ValueError(f"split={split!r}: {self.name} has {', '.join(map(repr, self.usual))}")
        # FolderDataset's own constructor would look for images/ and masks/.
        PairDataset.__init__(self, transform, cache)
        self.root, self.split, self.coloured = Path(os.fsdecode(root)), split, True
        self._pairs = self._find(self.root, split)
        self.meaning, self._meaning = dict(self.ids), sorted(self.ids.items())
        if len(self) != self.usual[split]:
            warnings.warn(
                f"{split} of {shown(self.root)} holds {len(self)} pairs, the papers use "
                f"{self.usual[split]}: figures will not compare",
                stacklevel=2,
            )

    def _find(self, root: Path, split: str) -> list[tuple[Path, Path | None]]:
        """The files of image and mask; None in place of a mask: everything is void."""
        raise NotImplementedError

    def _complaint(self, values: list[int], strays: int) -> str:
        return (
            f"which no class of {type(self).__name__} has: the file was changed or is another kind "
            "of label; unpack the data again"
        )


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
        ValueError: files are missing, or links lead to none; it names the first and says how many.
    """
    there = {folder: file_names(folder) for folder in {path.parent for path in files}}
    lost = [path for path in files if path.name not in there[path.parent]]
    if lost:
        raise FileError(
            lost[0], f"{what_is_there(lost[0])} ({len(lost)} of {len(files)} files): {cure}"
        )
