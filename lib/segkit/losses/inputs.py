"""What every loss asks of its logits, labels and class weights."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from segkit.inputs import check_class_weights, check_ignore, check_labels, check_scores


def check_inputs(
    logits: Tensor, labels: Tensor, *, ignore: int, weight: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Check one batch and bring it to the types that a loss computes in.

    The range of the labels is checked on the CPU, where it costs one pass over them. On a GPU the
    check would make the host wait at every step; there the gather or scatter that follows stops the
    process with a device-side assertion instead.

    Volumes are folded to images, (B, K, D, H, W) to (B, K, D * H, W): no loss asks which pixels are
    neighbours.

    Args:
        logits: raw scores, shape (B, K, H, W) or (B, K, D, H, W), any floating type.
        labels: class ids, shape (B, H, W) or (B, D, H, W), any integer type.
        ignore: the label of void pixels.
        weight: one number per class, shape (K,), or None.

    Returns:
        The logits, (B, K, H, W), float32 (or float64): half precision is widened; the target,
        (B, H, W), int64 in 0..K-1, 0 on void pixels; which pixels are labelled, (B, H, W), bool;
        and the weight in the dtype and on the device of the logits.

    Raises:
        ValueError: something is no tensor, shapes or devices disagree, labels are not integers, a
            label is neither ``ignore`` nor in 0..K-1, or ``weight`` is not of shape (K,) or has
            negative, infinite or NaN numbers (on the CPU) or nothing but zeros.
    """
    check_scores(logits)
    check_labels(labels, logits)
    check_ignore(ignore)
    num_classes = logits.shape[1]
    if weight is not None:
        check_class_weights(weight, num_classes)
    if logits.ndim == 5:
        logits, labels = logits.flatten(2, 3), labels.flatten(1, 2)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    labels = labels.long()
    labelled = labels != ignore
    target = labels.where(labelled, labels.new_zeros(()))
    if target.device.type == "cpu" and target.numel() and not torch.compiler.is_compiling():
        lowest, highest = target.aminmax()
        if lowest < 0 or highest >= num_classes:
            wrong = target[(target < 0) | (target >= num_classes)].unique().tolist()
            raise ValueError(
                f"labels hold {wrong[:10]}; allowed are 0..{num_classes - 1} and {ignore} for "
                "void: map the labels, or build the network with more classes"
            )
    if weight is not None:
        weight = weight.to(logits)
    return logits, target, labelled, weight


def mean_over(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of ``values``: 0, with a gradient of 0, where all weights are 0."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def pixel_mean(values: Tensor, weights: Tensor) -> Tensor:
    """`mean_over` all pixels of a training step, also those of its other processes.

    Each process gets its own sum over the mean of everybody's weights. The average over the
    processes, which is what becomes of gradients, is then the mean over all pixels, however
    unevenly void is spread over them.
    """
    return (values * weights).sum() / pixel_count(weights)


def pixel_count(weights: Tensor) -> Tensor:
    """What a sum over pixels is divided by: the weights' sum, averaged over the processes.

    Shared only where gradients are: a loss that one process takes for itself waits for nobody.
    """
    total = weights.sum()
    if dist.is_available() and dist.is_initialized() and torch.is_grad_enabled():
        total = total.detach().clone()
        dist.all_reduce(total)
        total = total / dist.get_world_size()
    return torch.where(total > 0, total, torch.ones_like(total))
