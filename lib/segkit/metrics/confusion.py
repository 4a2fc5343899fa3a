"""One int64 confusion matrix, from which every score is derived by name."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from segkit.inputs import check_ignore
from segkit.metrics.counting import count_pairs
from segkit.metrics.policies import (
    check_policy,
    intersection_and_union,
    mean_iou,
    mean_iou_per_image,
    ratio,
)
from segkit.outputs import IGNORE


class ConfusionMatrix:
    """Counts of (truth, prediction) over a data set, and each image's intersections and unions.

    Counts are whole numbers, so neither the order nor the batching of the images changes a score.
    Void is a row of its own. All scores are 0..1, and nan where there is nothing to score.

    Args:
        num_classes: K, at least 2.
        ignore: the label of void pixels.
        per_image: whether to keep two rows of K numbers for each image (16 K bytes), which the
            ``per_image`` policies need.

    Raises:
        ValueError: fewer than two classes, or no whole number of them.

    Example:
        >>> matrix = ConfusionMatrix(2)
        >>> prediction = torch.tensor([[[0, 1, 1]]])
        >>> matrix.update(prediction, torch.tensor([[[0, 1, 255]]]))
        >>> matrix.miou()
        1.0
        >>> matrix.miou("void_as_fp")
        0.75
    """

    def __init__(self, num_classes: int, *, ignore: int = IGNORE, per_image: bool = True) -> None:
        if not isinstance(num_classes, Integral) or num_classes < 2:
            raise ValueError(
                f"num_classes is {num_classes!r:.80}; at least 2 are needed (binary is two classes)"
            )
        self.num_classes = int(num_classes)
        self.ignore = check_ignore(ignore)
        self.per_image = per_image
        self.reset()

    def reset(self) -> None:
        """Forget everything counted."""
        self.images = 0  # how many images have been counted
        self._matrix = torch.zeros(self.num_classes + 1, self.num_classes, dtype=torch.int64)
        self._rows: list[tuple[Tensor, Tensor]] = []  # (intersection, union), each (B, K), CPU

    @property
    def matrix(self) -> Tensor:
        """A copy of the counts: int64 (K+1, K), rows truth (the last void), columns prediction."""
        return self._matrix.clone()

    @property
    def intersection(self) -> Tensor:
        """Each image's intersections, int64 (N, K) on the CPU, in the order of counting."""
        return self._stacked(0)

    @property
    def union(self) -> Tensor:
        """Each image's unions, void left out, int64 (N, K) on the CPU, in the order of counting."""
        return self._stacked(1)

    def update(self, prediction: Tensor, labels: Tensor) -> None:
        """Count a batch. The matrix moves to the device of the batch.

        Args:
            prediction: class ids, shape (B, H, W), or (B, D, H, W) of volumes, uint8 (fastest) or
                any other integer type.
            labels: class ids or ``ignore``, of the same shape, any integer type, same device.

        Raises:
            ValueError: shapes or devices disagree, a prediction is not in 0..K-1 or a label neither
                there nor ``ignore``, or both are one-hot. Nothing of that batch has been counted
                then.
        """
        counts = count_pairs(prediction, labels, num_classes=self.num_classes, ignore=self.ignore)
        self._add(counts.sum(0), len(counts))
        if self.per_image:
            intersection, union = intersection_and_union(counts)
            self._rows.append((intersection.cpu(), union.cpu()))

    def all_reduce(self) -> None:
        """Give every process the counts of all, images in the order of the ranks.

        Without `torch.distributed` initialised there is one process and nothing to do. Call it
        once, after the last batch: a second call would count everything again.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, (self._matrix.cpu(), self.images, self._rows))
        self.reset()
        for matrix, images, rows in parts:
            self._add(matrix, images)
            self._rows += rows

    def iou(self) -> Tensor:
        """Intersection over union of each class over the data set, void left out.

        Returns:
            float64 (K,), 0..1; nan for a class absent from both truth and prediction.
        """
        return ratio(*intersection_and_union(self._matrix))

    def miou(self, policy: str = "dataset") -> float:
        """Mean IoU under one of the `POLICIES`.

        Returns:
            0..1; nan where there is nothing to average (no labelled pixel; for ``foreground`` only
            background).

        Raises:
            ValueError: an unknown policy (the known ones are listed), or a ``per_image`` policy
                where the images were not kept apart.
        """
        check_policy(policy)
        if not policy.startswith("per_image"):
            return mean_iou(self._matrix, policy)
        if not self.per_image:
            raise ValueError(
                f"policy {policy!r} needs the images kept apart; use ConfusionMatrix("
                f"{self.num_classes}, per_image=True) and count again"
            )
        return mean_iou_per_image(self.intersection, self.union, policy)

    def dice(self) -> Tensor:
        """Dice coefficient (F1) of each class over the data set: 2 I / (I + U).

        Returns:
            float64 (K,), 0..1; nan for a class absent from both truth and prediction.
        """
        intersection, union = intersection_and_union(self._matrix)
        return ratio(2 * intersection, intersection + union)

    def mean_dice(self) -> float:
        """Mean of `dice` over the classes that are not absent, 0..1."""
        return float(self.dice().nanmean())

    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels that are predicted rightly, 0..1."""
        return float(ratio(self._matrix.diagonal().sum(), self._matrix[:-1].sum()))

    def class_accuracy(self) -> float:
        """Mean, over the classes found in the truth, of the share predicted rightly, 0..1."""
        return float(ratio(self._matrix.diagonal(), self._matrix[:-1].sum(1)).nanmean())

    def summary(self, policy: str = "dataset") -> dict[str, Any]:
        """The usual figures with the name of their policy; JSON can hold it, with None for nan.

        Returns:
            ``policy``, ``miou``, ``pixel_accuracy``, ``class_accuracy``, ``mean_dice``, ``iou``
            (list of K) and ``images``.

        Raises:
            ValueError: as `miou`.
        """
        scores = {
            "miou": self.miou(policy),
            "pixel_accuracy": self.pixel_accuracy(),
            "class_accuracy": self.class_accuracy(),
            "mean_dice": self.mean_dice(),
        }
        return {
            "policy": policy,
            **{name: _none_for_nan(score) for name, score in scores.items()},
            "iou": [_none_for_nan(score) for score in self.iou().tolist()],
            "images": self.images,
        }

    def _add(self, counts: Tensor, images: int) -> None:
        self._matrix = self._matrix.to(counts.device) + counts
        self.images += images

    def _stacked(self, part: int) -> Tensor:
        if not self._rows:
            return torch.zeros(0, self.num_classes, dtype=torch.int64)
        return torch.cat([rows[part] for rows in self._rows])


def _none_for_nan(score: float) -> float | None:
    return None if math.isnan(score) else score
