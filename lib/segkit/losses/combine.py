"""The main loss and the auxiliary ones, added by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segkit.inputs import check_tensor
from segkit.outputs import SegOutput

Loss = Callable[[Any, Tensor], Tensor]


class AuxLoss(NamedTuple):
    """How one auxiliary output is trained.

    Attributes:
        weight: its factor in the total; the main loss has 1.
        loss: ``loss(aux_value, labels) -> scalar``, or None for the main loss.
    """

    weight: float
    loss: Loss | None = None


def combine(
    main: Loss, aux_losses: Mapping[str, AuxLoss]
) -> Callable[[SegOutput, Tensor], tuple[Tensor, dict[str, Tensor]]]:
    """Build the loss of a whole network: ``main + sum of weight * aux``.

    Auxiliary logits stay at their own resolution and the labels are brought down to it by
    `labels_at`; a value that is a tuple of tensors gets the labels at full size.

    Args:
        main: ``main(logits, labels) -> scalar``; also used for every aux whose loss is None.
        aux_losses: the network's ``aux_losses``; empty for a network without auxiliary outputs.

    Returns:
        A function ``(output, labels) -> (total, parts)``: ``total`` is a scalar with a graph,
        ``parts`` the detached, unweighted scalars ``{"main": ..., "<aux name>": ...}``. It raises
        ValueError, naming both sides, when the keys of ``output.aux`` are not those of
        ``aux_losses``: in eval mode a network has no aux, so there use ``combine(main, {})``.

    Raises:
        ValueError: an auxiliary loss is called ``"main"``, its weight is negative, infinite or NaN,
            or the main loss cannot be called.
    """
    aux_losses = dict(aux_losses)
    if not callable(main):
        raise ValueError(
            f"the main loss is a {type(main).__name__}: give a function of logits and labels, such "
            "as segkit.losses.cross_entropy"
        )
    for name, aux in aux_losses.items():
        if not isinstance(aux, tuple) or not 0 <= aux[0] < math.inf:
            raise ValueError(
                f"the auxiliary loss {name!r} is {aux!r:.80}: give AuxLoss(weight) or "
                "AuxLoss(weight, loss) with a weight of 0 or more"
            )
    if "main" in aux_losses:
        raise ValueError('an auxiliary loss is called "main", the main loss\'s own name: rename it')

    def total_loss(output: SegOutput, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if not isinstance(output, tuple) or not hasattr(output, "aux"):
            raise ValueError(
                f"the loss that combine made takes a network's whole output, "
                f"SegOutput(logits, aux), and this is a {type(output).__name__}: give what the "
                "network returned, or for logits alone segkit.SegOutput(logits, {})"
            )
        if set(output.aux) != set(aux_losses):
            raise ValueError(
                f"the network gave auxiliary outputs {sorted(output.aux)} but there are losses for "
                f"{sorted(aux_losses)}; give combine the network's own aux_losses (in eval mode a "
                "network has no auxiliary outputs: use combine(main, {}))"
            )
        total = main(output.logits, labels)
        parts = {"main": total.detach()}
        for name, (weight, loss) in aux_losses.items():
            value = output.aux[name]
            if isinstance(value, Tensor):
                part = (loss or main)(value, labels_at(labels, value.shape[-2:]))
            elif loss is None:
                raise ValueError(
                    f"auxiliary output {name!r} is a {type(value).__name__}, which the main loss "
                    "cannot take; give its AuxLoss a loss of its own"
                )
            else:
                part = loss(value, labels)
            total = total + weight * part
            parts[name] = part.detach()
        return total, parts

    return total_loss


def labels_at(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Labels at another resolution, each taken from the nearest pixel centre.

    Row i of h takes row floor((i + 0.5) * H / h): what ``mode="nearest-exact"`` of
    `torch.nn.functional.interpolate` takes, in whole numbers and therefore without rounding. Plain
    striding (``labels[:, ::8, ::8]``) would take each cell's corner and shift the labels by half a
    cell against the logits. No new label is made, and void stays void.

    Args:
        labels: shape (B, H, W).
        size: (h, w).

    Returns:
        Shape (B, h, w), same dtype; ``labels`` itself where the size is the same.
    """
    check_tensor("labels", labels, "class ids of shape (B, H, W)")
    height, width = labels.shape[-2:]
    if (height, width) == tuple(size):
        return labels
    rows = (2 * torch.arange(size[0], device=labels.device) + 1) * height // (2 * size[0])
    columns = (2 * torch.arange(size[1], device=labels.device) + 1) * width // (2 * size[1])
    return labels[:, rows[:, None], columns]
