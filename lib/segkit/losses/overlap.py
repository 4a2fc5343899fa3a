"""Losses on the overlap of the true and the predicted region of each class: Dice and its kin.

All are one minus the soft Tversky index TP / (TP + alpha FP + beta FN), averaged over classes,
where TP, FP and FN are sums of probabilities over the labelled pixels of the whole batch. Classes
that no label of the batch names are left out: their index would be 0 however the network answered.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segkit.losses.cross_entropy import cross_entropy
from segkit.losses.inputs import check_inputs, mean_over
from segkit.outputs import IGNORE


def tversky(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    weight: Tensor | None = None,
    ignore: int = IGNORE,
) -> Tensor:
    """Tversky loss: overlap with false positives and false negatives weighed apart.

    Args:
        logits: raw scores, shape (B, K, H, W); computed in float32 if they are half precision.
        labels: class ids, shape (B, H, W), int64.
        alpha: price of a false positive, >= 0.
        beta: price of a false negative, >= 0. The defaults are the paper's best.
        weight: importance of each class in the mean over classes, shape (K,).
        ignore: the label of void pixels.

    Returns:
        Scalar, 0..1; 0 with a gradient of 0 where no pixel is labelled.

    Raises:
        ValueError: shapes disagree, a label is neither ``ignore`` nor in 0..K-1 (on the CPU), or
            alpha or beta is negative or both are 0.

    Source: Salehi et al., "Tversky loss function for image segmentation using 3D fully
    convolutional deep networks", MLMI 2017.
    """
    if not (0 <= alpha < math.inf and 0 <= beta < math.inf) or alpha + beta == 0:
        raise ValueError(f"alpha is {alpha} and beta {beta}; both are >= 0 and one is more than 0")
    logits, target, labelled, weight = check_inputs(logits, labels, ignore=ignore, weight=weight)
    labelled = labelled.unsqueeze(1).to(logits.dtype)  # (B, 1, H, W)
    probs = logits.softmax(1) * labelled
    truth = torch.zeros_like(probs).scatter_(1, target.unsqueeze(1), labelled)
    true_positive = (probs * truth).sum((0, 2, 3))  # (K,)
    truth = truth.sum((0, 2, 3))
    false_positive = probs.sum((0, 2, 3)) - true_positive
    false_negative = truth - true_positive
    # The floor is for beta = 0, where a class of probability 0 everywhere would give 0/0.
    total = true_positive + alpha * false_positive + beta * false_negative
    losses = 1 - true_positive / total.clamp_min(torch.finfo(total.dtype).tiny)
    present = (truth > 0).to(losses.dtype)
    return mean_over(losses, present if weight is None else present * weight)


def dice(
    logits: Tensor, labels: Tensor, *, weight: Tensor | None = None, ignore: int = IGNORE
) -> Tensor:
    """Soft Dice loss: `tversky` with alpha = beta = 1/2, so 1 - 2 TP / (2 TP + FP + FN).

    The sums are plain, not of squares as in V-Net.

    Args, Returns and Raises are those of `tversky`.

    Source: Milletari et al., "V-Net", 3DV 2016, section 3; without squares: Drozdzal et al., "The
    Importance of Skip Connections in Biomedical Image Segmentation", 2016.
    """
    return tversky(logits, labels, alpha=0.5, beta=0.5, weight=weight, ignore=ignore)


def dice_cross_entropy(
    logits: Tensor, labels: Tensor, *, weight: Tensor | None = None, ignore: int = IGNORE
) -> Tensor:
    """`dice` and `segkit.losses.cross_entropy`, added: what overlaps, and each voxel by itself.

    Args, Returns and Raises are those of `tversky`, but that it has no upper bound.

    Source: Isensee et al., "nnU-Net", Nature Methods 2021, online methods.
    """
    options = {"weight": weight, "ignore": ignore}
    return dice(logits, labels, **options) + cross_entropy(logits, labels, **options)


def jaccard(
    logits: Tensor, labels: Tensor, *, weight: Tensor | None = None, ignore: int = IGNORE
) -> Tensor:
    """Soft Jaccard (IoU) loss: `tversky` with alpha = beta = 1, so 1 - TP / (TP + FP + FN).

    Args, Returns and Raises are those of `tversky`.

    Source: Rahman and Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image
    Segmentation", ISVC 2016.
    """
    return tversky(logits, labels, alpha=1.0, beta=1.0, weight=weight, ignore=ignore)
