"""What a network of a given stride can hope to reach: the truth, seen through its grid.

A network that answers in cells of s pixels and resizes its scores knows one number a class for each
cell. Give it the true ones, the shares of the classes in the cell, and what it still gets wrong is
lost to the stride alone. No training is needed to see it. (It is a yardstick, not a theorem: scores
that are no shares may draw some border inside a cell better.)
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.inputs import check_ids, check_ignore, check_tensor
from segkit.metrics.confusion import ConfusionMatrix
from segkit.metrics.labels import argmax_resized
from segkit.outputs import IGNORE


@torch.no_grad()
def oracle_labels(labels: Tensor, stride: int, num_classes: int, *, ignore: int = IGNORE) -> Tensor:
    """Label maps as a perfect network of this stride gives them back.

    One-hot truth, averaged over cells of ``stride`` pixels, resized bilinearly
    (``align_corners=False``) to full size, and of that the class of the highest share. A void pixel
    is zero in every class, so a cell weighs as much as it has labelled pixels. A map whose size is
    no multiple of the stride is first padded with void on the right and below, as networks pad
    their images, and the result is cropped.

    Args:
        labels: class ids or ``ignore``, shape (H, W) or (B, H, W), any integer type.
        stride: side of a cell in pixels, at least 1; 1 gives the truth back.
        num_classes: K, at most 256.
        ignore: the label of void pixels; in the result they have a class, too.

    Returns:
        uint8, shape and device of ``labels``.

    Raises:
        ValueError: no label map, an id that is neither in 0..K-1 nor ``ignore``, or a stride that
            is no whole number from 1 up.

    Example:
        >>> labels = torch.tensor([[0, 0, 0, 1, 1, 2, 1, 1]])
        >>> oracle_labels(labels, 4, 3)
        tensor([[0, 0, 0, 0, 1, 1, 1, 1]], dtype=torch.uint8)
    """
    check_tensor("labels", labels, "class ids of shape (H, W) or (B, H, W)")
    check_ids("labels are", labels)
    if labels.ndim not in (2, 3):
        raise ValueError(f"labels have shape {tuple(labels.shape)}; needed is (H, W) or (B, H, W)")
    if not isinstance(stride, Integral) or isinstance(stride, bool) or stride < 1:
        raise ValueError(f"stride is {stride!r}; it is a whole number of pixels, 1 or more")
    if not labels.numel():
        return labels.to(torch.uint8)
    ids = labels.long()
    void = ids == check_ignore(ignore)
    if stray := ids[~void & ((ids < 0) | (ids >= num_classes))].unique().tolist():
        raise ValueError(
            f"labels hold {stray[:10]}; allowed are 0..{num_classes - 1}, and {ignore} for void"
        )
    height, width = ids.shape[-2:]
    ids = ids.masked_fill(void, num_classes).reshape(-1, height, width)
    ids = F.pad(ids, (0, -width % stride, 0, -height % stride), value=num_classes)
    one_hot = F.one_hot(ids, num_classes + 1)[..., :num_classes].permute(0, 3, 1, 2)
    shares = F.avg_pool2d(one_hot.float(), stride)  # (B, K, H/s, W/s)
    found = argmax_resized(shares, (ids.shape[1], ids.shape[2]))
    return found[:, :height, :width].reshape(labels.shape)


def oracle_matrix(
    masks: Iterable[Tensor], stride: int, num_classes: int, *, ignore: int = IGNORE
) -> ConfusionMatrix:
    """What the oracle of a stride gets right over a data set.

    Args:
        masks: label maps, each of shape (H, W) or a batch (B, H, W).
        stride: side of a cell in pixels.
        num_classes: K, at least 2.
        ignore: the label of void pixels.

    Returns:
        The counts, of which ``iou()`` and ``miou(policy)`` are what the stride allows.

    Raises:
        ValueError: as `oracle_labels`.

    Example:
        >>> masks = [torch.tensor([[0, 0, 0, 1, 1, 2, 1, 1]])]
        >>> oracle_matrix(masks, 4, 3).iou()
        tensor([0.7500, 0.6000, 0.0000], dtype=torch.float64)
    """
    matrix = ConfusionMatrix(num_classes, ignore=ignore)
    for labels in masks:
        found = oracle_labels(labels, stride, num_classes, ignore=ignore)
        single = labels.ndim == 2
        matrix.update(found[None] if single else found, labels[None] if single else labels)
    return matrix
