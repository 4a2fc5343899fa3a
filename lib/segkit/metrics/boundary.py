"""Boundary IoU: the same intersection over union, counted near the contours only.

IoU grows dull with size: a region's area grows with the square of its diameter, its contour only
with the diameter, so that a large region may have a poor contour and an IoU near 1. Within a band
of fixed width along the contours both grow alike.

Source: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
CVPR 2021, section 5.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.inputs import check_ignore
from segkit.metrics.counting import count_pairs
from segkit.metrics.policies import ratio
from segkit.outputs import IGNORE


def boundary_iou(
    prediction: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    width: int | None = None,
    ignore: int = IGNORE,
) -> Tensor:
    """IoU of each class's inner boundary over the images given, void left out.

    A class's inner boundary is what of its region lies within ``width`` pixels (8 neighbours) of
    another class or of the image's edge. Where it meets void no contour is known and none is
    counted. With a ``width`` of half the image it is the plain IoU.

    Args:
        prediction: class ids, shape (B, H, W), any integer type.
        labels: class ids or ``ignore``, shape (B, H, W), any integer type, same device.
        num_classes: K.
        width: of the band in pixels, at least 1; None for 2 % of the image's diagonal, rounded.
        ignore: the label of void pixels.

    Returns:
        float64 (K,), 0..1; nan for a class absent from both truth and prediction.

    Raises:
        ValueError: as `ConfusionMatrix.update`; no (B, H, W); a width below 1.

    Example:
        >>> labels = torch.zeros(1, 9, 9, dtype=torch.long)
        >>> labels[:, 2:7, 2:7] = 1
        >>> boundary_iou(labels.roll(1, 2), labels, num_classes=2, width=1)
        tensor([0.7213, 0.3333], dtype=torch.float64)
    """
    counts = boundary_counts(
        prediction, labels, num_classes=num_classes, width=width, ignore=ignore
    )
    return ratio(*counts)


def boundary_counts(
    prediction: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    width: int | None = None,
    ignore: int = IGNORE,
) -> tuple[Tensor, Tensor]:
    """Pixels in both, and in either, of each class's true and predicted inner boundary.

    Summed over images of several sizes before dividing they give the boundary IoU of a data set.

    Args:
        prediction: as `boundary_iou` takes it, and so the others.
        labels: class ids or ``ignore``.
        num_classes: K.
        width: of the band in pixels; None for 2 % of the image's diagonal.
        ignore: the label of void pixels.

    Returns:
        Two int64 tensors (K,).

    Raises:
        ValueError: as `boundary_iou`.
    """
    ignore = check_ignore(ignore)
    count_pairs(prediction, labels, num_classes=num_classes, ignore=ignore)  # checks both
    if labels.ndim != 3:
        raise ValueError(f"labels have shape {tuple(labels.shape)}; a boundary is of (B, H, W)")
    height, diagonal = labels.shape[1], (labels.shape[1] ** 2 + labels.shape[2] ** 2) ** 0.5
    width = max(1, round(0.02 * diagonal)) if width is None else width
    if width < 1:
        raise ValueError(f"width is {width}; a boundary is at least 1 pixel wide")
    void = labels == ignore
    intersection = torch.zeros(num_classes, dtype=torch.int64, device=labels.device)
    union = intersection.clone()
    there = torch.cat([labels[~void].unique(), prediction[~void].unique()]).unique()
    for k in there.tolist() if height else ():  # the others have no boundary
        true = inner_boundary((labels == k) & ~void, width, void=void)
        predicted = inner_boundary((prediction == k) & ~void, width, void=void)
        intersection[k] = (true & predicted).sum()
        union[k] = (true | predicted).sum()
    return intersection, union


def inner_boundary(region: Tensor, width: int, *, void: Tensor | None = None) -> Tensor:
    """What of a region lies within some pixels of its outside, or of the image's edge.

    Args:
        region: bool (B, H, W).
        width: of the band in pixels, at least 1.
        void: bool (B, H, W), pixels that are neither inside nor outside; None for none.

    Returns:
        bool (B, H, W), a part of the region.
    """
    outside = ~region if void is None else ~(region | void)
    near = F.pad(outside[:, None].float(), (width,) * 4, value=1.0)
    # The largest of a square is the largest of a row of its columns' largest.
    near = F.max_pool2d(F.max_pool2d(near, (2 * width + 1, 1), 1), (1, 2 * width + 1), 1)
    return region & near[:, 0].bool()
