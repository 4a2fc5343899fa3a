"""Losses that look at each pixel by itself: cross-entropy, its hard-pixel form, and focal.

Where several processes train together their mean is over the pixels of all of them, so that the
gradient is that of one process with all the images. What is hard in `ohem_cross_entropy` is chosen
by each process from its own pixels, and the losses on overlap (Dice and its kin, Lovász) are taken
by each over its own images, then averaged.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.losses.inputs import check_inputs, pixel_count, pixel_mean
from segkit.outputs import IGNORE


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    weight: Tensor | None = None,
    ignore: int = IGNORE,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy, averaged over the labelled pixels.

    With class weights the mean is weighted too: sum(w[y] * loss) / sum(w[y]), so that the size of
    the weights drops out and only their ratios count.

    Args:
        logits: raw scores, shape (B, K, H, W); computed in float32 if they are half precision.
        labels: class ids, shape (B, H, W), int64.
        weight: one factor per class, shape (K,).
        ignore: the label of void pixels.
        label_smoothing: share of the target spread evenly over all classes, in 0..1.

    Returns:
        Scalar, nats per labelled pixel; 0 with a gradient of 0 where no pixel is labelled.

    Raises:
        ValueError: shapes disagree, or a label is neither ``ignore`` nor in 0..K-1 (on the CPU; on
            a GPU the kernel's own assertion stops the process).

    Source: label smoothing: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016,
    section 7.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is {label_smoothing}; it is a share in 0..1")
    logits, target, labelled, weight = check_inputs(logits, labels, ignore=ignore, weight=weight)
    total = F.cross_entropy(
        logits,
        target.masked_fill(~labelled, -100),  # torch's own mark, whatever `ignore` is
        weight=weight,
        ignore_index=-100,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    # The mean is taken here because torch's own is 0/0 on a batch that is void everywhere.
    share = labelled.to(logits.dtype) if weight is None else weight[target] * labelled
    return total / pixel_count(share)


def ohem_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    weight: Tensor | None = None,
    ignore: int = IGNORE,
    threshold: float = 0.7,
    keep: float = 1 / 16,
    share_of: Literal["labelled", "all"] = "labelled",
) -> Tensor:
    """Cross-entropy over the hardest pixels only (online hard example mining).

    A pixel is hard while the network gives its true class a probability below ``threshold``. If
    fewer than ``keep`` of the labelled pixels are hard, the hardest ``keep`` of them are used (and
    any that tie with the easiest of those). Class weights change the mean, not the choice.

    Args:
        logits: raw scores, shape (B, K, H, W); computed in float32 if they are half precision.
        labels: class ids, shape (B, H, W), int64.
        weight: one factor per class, shape (K,).
        ignore: the label of void pixels.
        threshold: pixels whose true-class probability is below this are always kept, in (0, 1].
        keep: smallest share of the pixels that is kept, in (0, 1].
        share_of: of the "labelled" pixels (CoinCheung's BiSeNet), or of "all", void ones too, of
            which no more are kept than are labelled (PaddleSeg, STDC).

    Returns:
        Scalar, nats per kept pixel; 0 with a gradient of 0 where no pixel is labelled. On a GPU the
        host waits once, to learn how many pixels are hard.

    Raises:
        ValueError: shapes disagree, a label is neither ``ignore`` nor in 0..K-1, ``threshold`` or
            ``keep`` is outside (0, 1], or ``share_of`` is another.

    Source: Shrivastava et al., "Training Region-based Object Detectors with OHEM", CVPR 2016; used
    for segmentation by Peng et al., "PP-LiteSeg", 2022, section 3.4. The paper gives no numbers: a
    threshold of 0.7 and a minimum of 1/16 are customary.
    """
    if not 0 < threshold <= 1 or not 0 < keep <= 1:
        raise ValueError(f"threshold is {threshold} and keep {keep}; both are shares in (0, 1]")
    if share_of not in ("labelled", "all"):
        raise ValueError(
            f"share_of is {share_of!r}; keep a share of the 'labelled' pixels or 'all'"
        )
    logits, target, labelled, weight = check_inputs(logits, labels, ignore=ignore, weight=weight)
    losses = F.cross_entropy(logits, target, reduction="none")  # (B, H, W)
    kept = hard_pixels(losses.detach(), labelled, threshold=threshold, keep=keep, share_of=share_of)
    share = kept.to(losses.dtype) if weight is None else weight[target] * kept
    return pixel_mean(losses, share)


def hard_pixels(
    losses: Tensor,
    labelled: Tensor,
    *,
    threshold: float,
    keep: float,
    share_of: Literal["labelled", "all"] = "labelled",
) -> Tensor:
    """The pixels that `ohem_cross_entropy` learns from.

    Args:
        losses: cross-entropy of each pixel, shape (B, H, W), nats.
        labelled: bool, shape (B, H, W).
        threshold: true-class probability below which a pixel is hard, in (0, 1].
        keep: smallest share of pixels, in (0, 1].
        share_of: of which pixels.

    Returns:
        Bool, shape (B, H, W); nowhere True where ``labelled`` is False.
    """
    hard = (losses > -math.log(threshold)) & labelled
    num_hard, num_labelled = torch.stack((hard.sum(), labelled.sum())).tolist()
    share = keep * (labelled.numel() if share_of == "all" else num_labelled)
    least = min(math.ceil(round(share, 6)), num_labelled)  # 0.07 * 100 is 7, not 7.000000000000001
    if num_hard >= least:
        return hard
    easiest_kept = losses[labelled].topk(least).values[-1]
    return (losses >= easiest_kept) & labelled


def bootstrapped_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    weight: Tensor | None = None,
    ignore: int = IGNORE,
    top: int = 512 * 64,
    threshold: float | None = None,
) -> Tensor:
    """Cross-entropy over the hardest pixels of each image, averaged over the images.

    Where `ohem_cross_entropy` takes its pixels from the batch as a whole, every image has its say
    here. An image with fewer labelled pixels than ``top`` gives all of them. Class weights change
    an image's mean, not the choice.

    Args:
        logits: raw scores, shape (B, K, H, W); computed in float32 if they are half precision.
        labels: class ids, shape (B, H, W), int64.
        weight: one factor per class, shape (K,).
        ignore: the label of void pixels.
        top: how many pixels of an image are used, and any that tie with the easiest of them.
        threshold: loss, in nats, above which a pixel is used however many they are (PaddleSeg and
            FC-HarDNet take 0.3, with a ``top`` of 4096); None for the ``top`` alone.

    Returns:
        Scalar, nats per used pixel, mean over the images that have a labelled one; 0 with a
        gradient of 0 where none has.

    Raises:
        ValueError: shapes disagree, a label is neither ``ignore`` nor in 0..K-1, ``top`` is not a
            whole number above 0, or ``threshold`` is below 0.

    Source: Wu, Shen and van den Hengel, "Bridging Category-level and Instance-level Semantic Image
    Segmentation", 2016; the default of ``top``: Pohlen et al., "Full-Resolution
    Residual Networks", CVPR 2017.
    """
    if type(top) is not int or top < 1:
        raise ValueError(f"top is {top!r}; it is a number of pixels, 1 or more")
    if threshold is not None and not threshold >= 0:
        raise ValueError(f"threshold is {threshold}; it is a loss in nats, 0 or more, or None")
    logits, target, labelled, weight = check_inputs(logits, labels, ignore=ignore, weight=weight)
    losses = F.cross_entropy(logits, target, reduction="none").flatten(1)  # (B, H W)
    labelled, target = labelled.flatten(1), target.flatten(1)
    hardness = losses.detach().masked_fill(~labelled, -1.0)
    easiest = hardness.topk(min(top, hardness.shape[1]), dim=1).values[:, -1:]  # (B, 1)
    if threshold is not None:
        easiest = torch.where(easiest > threshold, torch.full_like(easiest, threshold), easiest)
    kept = (hardness >= easiest) & labelled
    share = kept.to(losses.dtype) if weight is None else weight[target] * kept
    total = share.sum(dim=1, keepdim=True)
    return pixel_mean(losses, share / torch.where(total > 0, total, torch.ones_like(total)))


def focal(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float = 2.0,
    alpha: Tensor | None = None,
    ignore: int = IGNORE,
) -> Tensor:
    """Focal loss: cross-entropy times (1 - p)^gamma, so that sure pixels count little.

    Args:
        logits: raw scores, shape (B, K, H, W); computed in float32 if they are half precision.
        labels: class ids, shape (B, H, W), int64.
        gamma: how strongly sure pixels fade, >= 0; 0 gives cross-entropy.
        alpha: one factor per class, shape (K,). A factor, not a weight of the mean: doubling it
            doubles the loss, as in the paper, whose binary alpha is ``[1 - alpha, alpha]`` here.
        ignore: the label of void pixels.

    Returns:
        Scalar, mean over the labelled pixels; 0 with a gradient of 0 where no pixel is labelled.

    Raises:
        ValueError: shapes disagree, a label is neither ``ignore`` nor in 0..K-1, or gamma < 0.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 5.
    """
    if not 0 <= gamma < math.inf:
        raise ValueError(f"gamma is {gamma}; it is at least 0 (0 gives cross-entropy)")
    logits, target, labelled, alpha = check_inputs(logits, labels, ignore=ignore, weight=alpha)
    losses = F.cross_entropy(logits, target, reduction="none")
    # 1 - p from the loss, by expm1: exact near p = 1. The floor keeps the gradient of the power
    # finite at p = 1 for gamma < 1.
    doubt = (-torch.expm1(-losses)).clamp_min(torch.finfo(losses.dtype).tiny)
    losses = losses * doubt**gamma
    if alpha is not None:
        losses = losses * alpha[target]
    return pixel_mean(losses, labelled.to(losses.dtype))
