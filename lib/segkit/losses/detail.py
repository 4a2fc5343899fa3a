"""Detail guidance: learn where the labels change, from the labels themselves.

Source: Fan et al., "Rethinking BiSeNet For Real-time Semantic Segmentation", CVPR 2021, section
3.3, https://arxiv.org/abs/2104.13188, and the authors' code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.inputs import check_tensor
from segkit.losses.inputs import pixel_mean
from segkit.outputs import IGNORE


class Detail(NamedTuple):
    """The output of a detail head; a tuple, because its loss needs the labels at full size.

    Attributes:
        logits: shape (B, 1, h, w); above 0 where the head sees a detail.
    """

    logits: Tensor


def _edges(labels: Tensor, labelled: Tensor, stride: int) -> Tensor:
    """Where the Laplacian of the class ids is positive, (B, 1, H, W) of 0 and 1.

    At a pixel with the id y it is the sum of y - y_n over its eight neighbours, of which only the
    labelled ones count: void, and what lies beyond the image, is no neighbour.
    """

    def around(x: Tensor) -> Tensor:  # sums over 3x3, zeros outside; pooling never leaves float32
        return F.avg_pool2d(x, 3, stride=stride, padding=1, divisor_override=1)

    centre = (labels * labelled)[..., ::stride, ::stride]
    laplacian = centre * around(labelled) - around(labels * labelled)
    edges = (laplacian > 0).float() * labelled[..., ::stride, ::stride]
    return F.interpolate(edges, labels.shape[-2:], mode="nearest")


def detail_target(
    labels: Tensor,
    *,
    weights: tuple[float, float, float] = (0.6, 0.3, 0.1),
    threshold: float = 0.1,
    ignore: int = IGNORE,
) -> Tensor:
    """Where the details are: the edges of a label map at strides 1, 2 and 4, weighed and cut off.

    The edges are those of a Laplacian of the class ids, cut off below zero, as in the paper. So of
    two neighbouring classes the one with the larger id carries the edge, and the strided maps mark
    whole cells of 2x2 or 4x4 pixels. With the default numbers the coarsest map alone does not reach
    the threshold.

    Unlike in the authors' code, which takes void for class 255 and surrounds the image with class
    0, neither the border of a void region nor that of the image is an edge.

    Args:
        labels: class ids, shape (B, H, W), any integer type.
        weights: of the edges at strides 1, 2 and 4 in the sum. In the paper a trained 1x1
            convolution; the cut-off stops its gradient, so in the code it stays at the default.
        threshold: the sum above which a pixel is a detail.
        ignore: the label of void pixels; they are no details.

    Returns:
        Shape (B, 1, H, W), float32: 1 on a detail, 0 elsewhere.

    Raises:
        ValueError: labels of another shape or type.
    """
    check_tensor("labels", labels, "class ids of shape (B, H, W)")
    if labels.ndim != 3 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; detail_target takes class "
            "ids of shape (B, H, W): use int64, and labels[None] for a single image"
        )
    labelled = (labels != ignore).unsqueeze(1).float()  # (B, 1, H, W)
    ids = labels.unsqueeze(1).float()
    total = torch.zeros_like(ids)
    for weight, stride in zip(weights, (1, 2, 4), strict=True):
        total = total + weight * _edges(ids, labelled, stride)
    return (total > threshold).float() * labelled


def detail_loss(value: Detail, labels: Tensor, *, ignore: int = IGNORE) -> Tensor:
    """Binary cross-entropy plus Dice between a detail head and `detail_target`.

    Details are few, which cross-entropy alone would answer with "nowhere"; Dice does not count the
    pixels that both call no detail. It is taken per image, with 1 added above and below.

    Args:
        value: logits (B, 1, h, w); enlarged to the labels, corners aligned, as in the authors'
            code.
        labels: class ids at full size, shape (B, H, W), int64.
        ignore: the label of void pixels, which count in neither term.

    Returns:
        Scalar; 0 with a gradient of 0 where no pixel is labelled.

    Raises:
        ValueError: the shapes disagree, or labels are no class ids.

    Source: equation 1 and 2 of the paper.
    """
    logits = check_tensor(
        "detail_loss", getattr(value, "logits", value), "Detail(logits), logits (B, 1, h, w)"
    )
    check_tensor("labels", labels, "class ids of shape (B, H, W)")
    if logits.ndim != 4 or logits.shape[:2] != (labels.shape[0], 1):
        raise ValueError(
            f"detail logits have shape {tuple(logits.shape)} and labels {tuple(labels.shape)}; "
            "detail_loss takes (B, 1, h, w) and (B, H, W) of the same batch"
        )
    target = detail_target(labels, ignore=ignore)
    labelled = (labels != ignore).unsqueeze(1).float()
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    logits = F.interpolate(logits, target.shape[-2:], mode="bilinear", align_corners=True)

    entropy = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    probs = logits.sigmoid() * labelled
    overlap = (probs * target).sum((1, 2, 3))
    total = probs.sum((1, 2, 3)) + target.sum((1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)  # (B,)
    return pixel_mean(entropy, labelled) + dice.mean()
