"""A few pairs of a data set, where all would take too long."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Few:
    """Some of a data set's pairs, evenly spread over it; else it is that data set.

    Args:
        whole: the data set.
        count: how many; all where there are no more.
    """

    def __init__(self, whole: Any, count: int) -> None:
        self.whole = whole
        count = min(count, len(whole))
        self.indices = [k * len(whole) // count for k in range(count)]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.whole[self.indices[index]]

    def raw(self, index: int) -> tuple[Tensor, Tensor]:
        """Return pair number ``index`` as it is in the files."""
        return self.whole.raw(self.indices[index])

    def stem(self, index: int) -> str:
        """Return the name of pair number ``index``."""
        return self.whole.stem(self.indices[index])

    def with_transform(self, transform: Any) -> Few:
        """Return the same pairs with another transform."""
        return Few(self.whole.with_transform(transform), len(self))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "whole":  # asked for while it is unpickled
            raise AttributeError(name)
        return getattr(self.whole, name)
