"""Scores of volumes case by case: Dice and surface distance of each class."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from segkit.metrics.confusion import ConfusionMatrix
from segkit.metrics.surface import hd95
from segkit.outputs import IGNORE


class CaseScores:
    """Dice and HD95 of each class but the background, by case and as a mean over cases.

    Args:
        classes: names in the order of the ids, K of them; the first is the background.

    Attributes:
        counts: of all cases together.
        cases: scores by case: "dice" (0..1) and "hd95" (mm) by class, None where there is none,
            their means "mean_dice" and "mean_hd95", and the "spacing".

    Example:
        >>> scores = CaseScores(["background", "tumour"])
        >>> truth = torch.zeros(4, 4, 4, dtype=torch.uint8)
        >>> truth[1:3] = 1
        >>> scores.add("one", truth, truth, (1.0, 1.0, 1.0))["mean_dice"]
        1.0
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.counts = ConfusionMatrix(len(self.classes))
        self.cases: dict[str, dict[str, Any]] = {}

    def add(
        self, name: str, prediction: Tensor, truth: Tensor, spacing: Sequence[float]
    ) -> dict[str, Any]:
        """Count a case.

        Args:
            name: of the case.
            prediction: class ids, uint8 (D, H, W).
            truth: class ids, IGNORE for void, uint8 (D, H, W).
            spacing: length of a voxel along each axis, in mm.

        Returns:
            Its scores. A class that only one side has is 0 in Dice and has no HD95; one that
            neither has, has neither.

        Raises:
            ValueError: as `ConfusionMatrix.update`.
        """
        one = ConfusionMatrix(len(self.classes))
        for counts in (one, self.counts):
            counts.update(prediction[None], truth[None])
        known = truth != IGNORE
        dice = dict(zip(self.classes[1:], map(_finite, one.dice().tolist()[1:]), strict=True))
        distance = {
            label: _finite(hd95((prediction == k) & known, truth == k, spacing))
            for k, label in enumerate(self.classes)
            if k
        }
        self.cases[name] = {
            "mean_dice": _mean(dice.values()),
            "mean_hd95": _mean(distance.values()),
            "dice": dice,
            "hd95": distance,
            "spacing": [*map(float, spacing)],
        }
        return self.cases[name]

    def summary(self) -> dict[str, Any]:
        """All scores; JSON can hold them.

        Returns:
            "mean_dice" and "mean_hd95" of all classes, and by class "dice" and "hd95", each a mean
            over the cases that have one; "missing", by class the cases in which only one side has
            it, so that no HD95 counts; and "each" case, the worst Dice first.
        """
        cases = [*self.cases.values()]
        by_class = {
            key: {name: _mean(case[key][name] for case in cases) for name in self.classes[1:]}
            for key in ("dice", "hd95")
        }
        missing = {
            name: sum(c["dice"][name] is not None and c["hd95"][name] is None for c in cases)
            for name in self.classes[1:]
        }
        worst = sorted(
            self.cases.items(), key=lambda one: (one[1]["mean_dice"] is None, one[1]["mean_dice"])
        )
        return {
            **{f"mean_{key}": _mean(values.values()) for key, values in by_class.items()},
            **by_class,
            "missing": missing,
            "each": dict(worst),
        }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
