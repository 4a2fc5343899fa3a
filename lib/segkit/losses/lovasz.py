"""Lovász-softmax: a loss whose value at a hard prediction is the Jaccard loss itself.

The Jaccard loss of a class is a function of the set of its wrong pixels. That function is
submodular, and its Lovász extension continues it from sets (errors of 0 or 1) to any errors in
0..1, convexly: sort the errors, and weigh each by how much the Jaccard loss grows when its pixel
joins the set of the wrong ones before it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segkit.losses.inputs import check_inputs, mean_over
from segkit.outputs import IGNORE


def lovasz_softmax(
    logits: Tensor,
    labels: Tensor,
    *,
    weight: Tensor | None = None,
    ignore: int = IGNORE,
    per_image: bool = False,
) -> Tensor:
    """Lovász-softmax loss, averaged over the classes that the labels name.

    It sorts all labelled pixels once for each class present, so it costs several times what
    cross-entropy does; on a GPU the host waits for the list of classes.

    Args:
        logits: raw scores, shape (B, K, H, W); computed in float32 if they are half precision.
        labels: class ids, shape (B, H, W), int64.
        weight: importance of each class in the mean over classes, shape (K,).
        ignore: the label of void pixels.
        per_image: take the loss of each image by itself and average over the images that have a
            labelled pixel, instead of taking the batch as one large image.

    Returns:
        Scalar, 0..1; 0 with a gradient of 0 where no pixel is labelled.

    Raises:
        ValueError: shapes disagree, or a label is neither ``ignore`` nor in 0..K-1 (on the CPU).

    Source: Berman et al., "The Lovász-Softmax loss", CVPR 2018, algorithm 1.
    """
    logits, target, labelled, weight = check_inputs(logits, labels, ignore=ignore, weight=weight)
    num_classes = logits.shape[1]
    if weight is None:
        weight = logits.new_ones(num_classes)
    probs = logits.softmax(1).movedim(1, -1)  # (B, H, W, K)
    if per_image:
        images = zip(probs, target, labelled, strict=True)
    else:
        images = [(probs, target, labelled)]
    losses = [
        _of_pixels(probability[mask], truth[mask], weight)
        for probability, truth, mask in images
        if mask.any()
    ]
    if not losses:
        return logits[:0].sum()  # 0, still part of the graph
    return torch.stack(losses).mean()


def _of_pixels(probs: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The loss over N labelled pixels: probs (N, K), target (N,), weight (K,)."""
    present = torch.bincount(target, minlength=probs.shape[1]).nonzero().flatten()  # (P,)
    truth = target == present[:, None]  # (P, N)
    probability = probs.T[present]
    errors, order = torch.where(truth, 1 - probability, probability).sort(dim=1, descending=True)
    losses = (errors * jaccard_growth(truth.gather(1, order)).to(errors.dtype)).sum(1)
    return mean_over(losses, weight[present])


def jaccard_growth(truth: Tensor) -> Tensor:
    """How much the Jaccard loss of a class grows as its pixels turn wrong, one after the other.

    With I and U the intersection and union after a step, a true pixel that turns wrong leaves I + 1
    over U for I over U: the loss grows by 1 / U. A false one grows the union from U - 1 to U: by
    I / (U - 1) - I / U = I / (U (U - 1)). In this form nothing cancels; the difference of two
    neighbouring losses would lose all digits at millions of pixels.

    Args:
        truth: bool (P, N), whether a pixel is of the class, in the order in which they turn wrong;
            at least one True in each row.

    Returns:
        float64 (P, N), >= 0; each row sums to 1.
    """
    found = truth.cumsum(1)
    intersection = found[:, -1:] - found
    union = found[:, -1:] + (~truth).cumsum(1)
    growth_false = intersection.double() / (union * (union - 1)).clamp_min(1)
    return torch.where(truth, 1 / union.double(), growth_false)
