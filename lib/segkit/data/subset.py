"""Some pairs of a data set, where all would take too long."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor


class Subset:
    """Some of a data set's pairs, evenly spread over it; else it is that data set.

    Args:
        whole: the data set.
        count: how many; all where there are no more.
        keep: False leaves in no cache what is looked at once.
    """

    def __init__(self, whole: Any, count: int, *, keep: bool = True) -> None:
        self.whole = whole
        if not keep and getattr(whole, "cache", False):
            self.whole = copy.copy(whole)
            self.whole.cache = False
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

    def with_transform(self, transform: Any) -> Subset:
        """Return the same pairs with another transform."""
        return Subset(self.whole.with_transform(transform), len(self))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "whole":  # asked for while it is unpickled
            raise AttributeError(name)
        value = getattr(self.whole, name)
        if name == "files":  # not a method: data sets without files have none
            return lambda index: value(self.indices[index])
        return value


def at_most(sets: Mapping[str, Any], limit: int | None) -> dict[str, Any]:
    """The data sets by split, or some pairs of each where they have more than ``limit``.

    Args:
        sets: by split.
        limit: most pairs of all splits together; None for no limit.
    """
    total = sum(map(len, sets.values()))
    if limit is None or total <= limit:
        return dict(sets)
    return {
        split: Subset(one, max(1, limit * len(one) // total), keep=False) if len(one) else one
        for split, one in sets.items()
    }
