"""What labels are worth: the counts of each image and of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segkit.metrics import POLICIES, ConfusionMatrix, boundary_counts
from segkit.metrics.policies import ratio


class Scores:
    """Counts labels against masks, image by image.

    Args:
        classes: names in the order of the ids, K of them.
        policy: the mIoU policy of each image, and of ``miou``.
    """

    def __init__(self, classes: Sequence[str], policy: str) -> None:
        self.classes, self.policy = classes, policy
        self.counts = ConfusionMatrix(len(classes))
        self._boundaries = torch.zeros(2, len(classes), dtype=torch.int64)
        self._each: dict[str, dict[str, Any]] = {}

    def add(self, name: str, labels: Tensor, truth: Tensor, **about: Any) -> float:
        """Count an image.

        Args:
            name: of the image.
            labels: that were predicted, uint8 (H, W).
            truth: class ids, IGNORE for void, uint8 (H, W).
            **about: what else is to stand beside its scores.

        Returns:
            Its mIoU, 0..1; nan where nothing in it is labelled.
        """
        one, pair = ConfusionMatrix(len(self.classes)), (labels[None], truth[None])
        for counts in (one, self.counts):
            counts.update(*pair)
        boundaries = torch.stack(boundary_counts(*pair, num_classes=len(self.classes))).cpu()
        self._boundaries += boundaries
        self._each[name] = {**about, **self._scores(one, boundaries)}
        return one.miou(self.policy)

    def summary(self) -> dict[str, Any]:
        """All scores in 0..1, None where there is none; JSON can hold it.

        Returns:
            ``policy``, ``images``, ``miou`` by that policy and ``policies`` by every one;
            ``pixel_accuracy``, ``class_accuracy``, ``mean_dice``, ``mean_boundary_iou``; ``iou``,
            ``dice``, ``boundary_iou`` and ``pixels`` (labelled ones) by class; and ``each`` image's
            by its name, the worst first.
        """
        counts, boundaries = self.counts, ratio(*self._boundaries)
        columns: dict[str, list[Any]] = {
            "dice": counts.dice().tolist(),
            "boundary_iou": boundaries.tolist(),
            "pixels": counts.matrix[:-1].sum(1).tolist(),
        }
        worst = sorted(self._each.items(), key=lambda one: (one[1]["miou"] is None, one[1]["miou"]))
        return {
            "policy": self.policy,
            "images": self.counts.images,
            **self._scores(counts, self._boundaries),
            "policies": {policy: _plain(counts.miou(policy)) for policy in POLICIES},
            "class_accuracy": _plain(counts.class_accuracy()),
            **{name: self._by_class(values) for name, values in columns.items()},
            "each": dict(worst),
        }

    def _scores(self, counts: ConfusionMatrix, boundaries: Tensor) -> dict[str, Any]:
        found = counts.summary(self.policy)
        return {
            **{key: found[key] for key in ("miou", "pixel_accuracy", "mean_dice")},
            "mean_boundary_iou": _plain(float(ratio(*boundaries).nanmean())),
            "iou": self._by_class(found["iou"]),
        }

    def _by_class(self, values: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self.classes, map(_plain, values), strict=True))


def percent(score: float | None) -> str:
    """A score in 0..1 as it is printed."""
    return "-" if score is None or math.isnan(score) else f"{100 * score:.1f}"


def _plain(score: Any) -> Any:
    return None if isinstance(score, float) and math.isnan(score) else score
