"""Some pairs of a data set, evenly spread, in place of all."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor


class Sample:
    """A data set's pairs at even distances, as a data set.

    Args:
        whole: a data set; what it is asked for besides pairs, it answers.
        count: how many pairs, 1 or more; all where there are not so many.
    """

    def __init__(self, whole: Any, count: int) -> None:
        # A copy that keeps nothing of what is looked at once.
        self.whole = copy.copy(whole)
        if getattr(whole, "cache", False):
            self.whole.cache = False
        count = min(count, len(whole))
        self.chosen = [number * len(whole) // count for number in range(count)]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.whole[self.chosen[index]]

    def raw(self, index: int) -> tuple[Tensor, Tensor]:
        """Pair number ``index`` of the sample, as `raw` of the whole gives it."""
        return self.whole.raw(self.chosen[index])

    def stem(self, index: int) -> str:
        """Name of pair number ``index`` of the sample."""
        return self.whole.stem(self.chosen[index])

    def __getattr__(self, name: str) -> Any:
        if name == "whole":  # while it is being copied or unpickled
            raise AttributeError(name)
        value = getattr(self.whole, name)
        if name == "_pairs":
            return [value[index] for index in self.chosen]
        if name == "files":
            return lambda index: value(self.chosen[index])
        return value


def sample(sets: Mapping[str, Any], limit: int | None) -> dict[str, Any]:
    """The data sets by split, or samples of them where they have more than ``limit`` pairs.

    Args:
        sets: by split.
        limit: most pairs of all splits together; None for no limit.
    """
    total = sum(map(len, sets.values()))
    if limit is None or total <= limit:
        return dict(sets)
    return {
        split: Sample(one, max(1, limit * len(one) // total)) if len(one) else one
        for split, one in sets.items()
    }
