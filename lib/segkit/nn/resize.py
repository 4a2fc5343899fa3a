"""Bilinear resizing, the way every network here does it."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Resize a feature map, bilinear.

    Args:
        x: shape (B, C, h, w).
        size: (H, W) of the result in pixels.
        align_corners: whether the centres of the corner pixels lie on each other, as some releases
            have it; otherwise the outer borders do.

    Returns:
        Shape (B, C, H, W), in the dtype and memory layout of `x`. Autocast on CUDA resizes in
        float32; the result comes back to the dtype of the features that it will meet.
    """
    resized = _bilinear(x, size, align_corners)
    # Asked first, because even an idle cast leaves its trace in an exported graph.
    return resized if resized.dtype == x.dtype else resized.to(x.dtype)


def resize_logits(logits: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Resize logits to the image as the last step of a network.

    Args:
        logits: shape (B, K, h, w).
        size: (H, W) of the images in pixels.
        align_corners: as `resize`.

    Returns:
        Shape (B, K, H, W), one plane per class in memory. What follows, a softmax or an argmax over
        the classes, reads planes: in channels_last it would first transpose the large result. In
        the dtype of `logits`, or in float32 under autocast on CUDA.
    """
    return _bilinear(logits.contiguous(), size, align_corners)


def _bilinear(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)
