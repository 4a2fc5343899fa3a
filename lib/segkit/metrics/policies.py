"""What "mIoU" means: every way of taking the mean, by name.

On one and the same prediction the policies of well-known systems give numbers as far apart as 0.36
and 0.80, so a figure without the name of its policy says nothing.

A class is *absent* (from a data set, or from one image) when it is found neither in the truth nor
in the prediction, so that its IoU is 0/0. Void pixels are in neither. A class that is predicted but
never true is not absent: its IoU is 0. Where no pixel is labelled there is no score: an image of
void only is left out of every per-image mean, and a data set of void only scores nan.

Some networks have an output for void, as one class more that is never true. Only the policy that
looks at the classes found in the truth leaves it out of the mean; labelled pixels that it takes
count as missed under every policy.
"""

from __future__ import annotations

import torch
from torch import Tensor

POLICIES: dict[str, str] = {
    "dataset": "mean IoU over classes, counted over the data set; absent classes left out",
    "dataset_absent_0": "as dataset, but an absent class scores 0",
    "dataset_absent_1": "as dataset, but an absent class scores 1",
    "per_image": "mean over images of the image's mean IoU; its absent classes left out",
    "per_image_absent_0": "as per_image, but a class absent from the image scores 0",
    "per_image_absent_1": "as per_image, but a class absent from the image scores 1",
    "foreground": "as dataset, without class 0",
    "void_as_fp": "as dataset, but predictions on void pixels are false positives",
    "void_as_fp_in_truth": "as void_as_fp, but only over the classes found in the truth",
    "micro": "intersections of all classes over their unions, summed before dividing",
}
"""Name of each policy and, in one line, its meaning; every one gives a number in 0..1."""


def check_policy(policy: str) -> None:
    """Raise ValueError, listing the policies, where ``policy`` is not one of them."""
    if policy not in POLICIES:
        meanings = "\n".join(f"  {name}: {meaning}" for name, meaning in POLICIES.items())
        raise ValueError(f"there is no mIoU policy {policy!r}; choose one of\n{meanings}")


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Elementwise quotient in float64; nan where the denominator is 0."""
    return numerator.double() / denominator.double()  # 0 / 0 is nan, and only 0 is over 0 here


def intersection_and_union(matrix: Tensor, *, void: bool = False) -> tuple[Tensor, Tensor]:
    """Pixels in both, and in either, of the true and the predicted region of each class.

    Args:
        matrix: int64 (..., K+1, K), rows truth (the last void), columns prediction.
        void: whether predictions on void pixels belong to the predicted region.

    Returns:
        Two int64 tensors (..., K).
    """
    classes = matrix[..., :-1, :]
    intersection = classes.diagonal(dim1=-2, dim2=-1)
    predicted = (matrix if void else classes).sum(-2)
    return intersection, classes.sum(-1) + predicted - intersection


def mean_iou(matrix: Tensor, policy: str) -> float:
    """Mean IoU of a data set under one of the policies that need nothing but its matrix.

    Args:
        matrix: int64 (K+1, K), rows truth (the last void), columns prediction.
        policy: a name from `POLICIES` that does not start with ``"per_image"``.

    Returns:
        0..1; nan where there is nothing to average.
    """
    intersection, union = intersection_and_union(matrix, void=policy.startswith("void_as_fp"))
    if not matrix[:-1].any():
        return float("nan")
    if policy == "micro":
        return float(ratio(intersection.sum(), union.sum()))
    iou = ratio(intersection, union)
    if policy == "foreground":
        iou = iou[1:]
    if policy == "void_as_fp_in_truth":
        iou = iou[matrix[:-1].any(1)]
    return float(_fill_absent(iou, policy).nanmean())


def mean_iou_per_image(intersection: Tensor, union: Tensor, policy: str) -> float:
    """Mean over images of their mean IoU.

    Args:
        intersection: int64 (N, K), a row for each image.
        union: int64 (N, K).
        policy: a name from `POLICIES` that starts with ``"per_image"``.

    Returns:
        0..1; nan where no image has a labelled pixel.
    """
    labelled = union.any(1)  # every labelled pixel is in the union of its own class
    iou = ratio(intersection[labelled], union[labelled])
    return float(_fill_absent(iou, policy).nanmean(1).mean())


def _fill_absent(iou: Tensor, policy: str) -> Tensor:
    if policy.endswith("_absent_0"):
        return torch.nan_to_num(iou, nan=0.0)
    if policy.endswith("_absent_1"):
        return torch.nan_to_num(iou, nan=1.0)
    return iou
