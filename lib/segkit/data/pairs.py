"""What all data sets here are: pairs by index, kept once they were read, transformed on the way."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any, Self

from torch import Tensor

Transform = Callable[[Tensor, Tensor], tuple[Any, Any]]
"""``(image, mask) -> (image, mask)``, see `segkit.transforms`; writes into neither."""


class PairDataset:
    """Images with masks; a subclass has a length, and reads a pair.

    Args:
        transform: callable ``(image, mask) -> (image, mask)``; None for the raw pair.
        cache: keep what was read, H*W*4 bytes a pair.

    Attributes:
        classes: names in the order of the ids.
        palette: RGB of each class, 0..255.
        num_classes: K, void not counted.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def __init__(self, transform: Transform | None, cache: bool) -> None:
        self.transform, self.cache = transform, cache
        self._decoded: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def num_classes(self) -> int:
        """Number of classes, void not counted."""
        return len(self.classes)

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if self.transform is None:
            return self.raw(index)
        return self.transform(*self._decode(index))

    def raw(self, index: int) -> tuple[Tensor, Tensor]:
        """Return a pair as it was read.

        Args:
            index: number of the pair; -1 is the last.

        Returns:
            uint8 image (3, H, W) and uint8 mask (H, W) with void as IGNORE; yours to write into.

        Raises:
            IndexError: no such pair.
            ValueError: of files: a damaged one, two sizes, or a label out of range.
        """
        image, mask = self._decode(index)
        return image.clone(), mask.clone()

    def with_transform(self, transform: Transform | None) -> Self:
        """Return the same data set with another transform; both share what was read."""
        other = copy.copy(self)
        other._decoded = self._decoded  # a copy is made as for a pickle: with an empty cache
        other.transform = transform
        return other

    def __getstate__(self) -> dict[str, Any]:
        # A worker process reads for itself: sending it the cache would take longer.
        return {**self.__dict__, "_decoded": {}}

    def _index(self, index: int) -> int:
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"pair {number} of {len(self)} in {self!r}")
        return number % len(self)

    def _decode(self, index: int) -> tuple[Tensor, Tensor]:
        index = self._index(index)
        if index in self._decoded:
            return self._decoded[index]
        pair = self._read(index)
        if self.cache:
            self._decoded[index] = pair
        return pair

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        """Image and mask number ``index``, from 0, as `raw` returns them."""
        raise NotImplementedError
