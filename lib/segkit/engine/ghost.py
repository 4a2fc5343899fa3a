"""Ghost batches: on one device, the BatchNorm statistics that several GPUs would have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.nn import BATCH_NORMS


@contextlib.contextmanager
def ghost_batches(model: nn.Module, groups: int) -> Iterator[None]:
    """Let each part of a batch be normalised by its own statistics while the context lasts.

    This is what ``groups`` GPUs without SyncBatchNorm do: each sees its part of the batch only, the
    first images, the next ones, and so on. The running statistics, by which the network is
    evaluated, are those of the first. So a machine without a GPU can show what small parts cost.

    Args:
        model: the network; its BatchNorms in train mode are concerned, and put back afterwards.
        groups: parts of a batch, each of the same number of images; 1 changes nothing.

    Raises:
        ValueError: no part at all, and inside the context a batch that is not divisible.

    Source: Hoffer et al., "Train longer, generalize better", NeurIPS 2017, section 3 ("ghost batch
    normalization").
    """
    if groups < 1:
        raise ValueError(f"groups is {groups}: a batch has 1 part or more")
    norms: list[Any] = [part for part in model.modules() if isinstance(part, BATCH_NORMS)]
    outside = [norm.__dict__.get("forward") for norm in norms]
    for norm in norms:
        norm.forward = _in_parts(norm, groups)
    try:
        yield
    finally:
        for norm, before in zip(norms, outside, strict=True):
            if before is None:
                del norm.forward  # the class's own is found again
            else:
                norm.forward = before


def _in_parts(norm: Any, groups: int) -> Callable[[Tensor], Tensor]:
    whole = type(norm).forward.__get__(norm)  # also inside another such context

    def forward(maps: Tensor) -> Tensor:
        if not norm.training:
            return whole(maps)
        if len(maps) % groups:
            raise ValueError(f"{len(maps)} images do not make {groups} equal parts")
        first, *others = maps.chunk(groups)
        return torch.cat(
            [whole(first)]
            + [
                F.batch_norm(part, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
                for part in others
            ]
        )

    return forward
