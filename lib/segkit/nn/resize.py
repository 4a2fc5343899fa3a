"""Bilinear resizing, the way every network here does it."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


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


class ResizeLogits(nn.Module):
    """Resize logits to the image, bilinear: the last step of a network.

    A submodule, though it has no parameters: prediction and export exchange it for a step of their
    own (`segkit.export`), as they would any other part.

    Args:
        align_corners: as `resize`.
    """

    def __init__(self, *, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners

    def forward(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Logits at the size of the images.

        Args:
            logits: shape (B, K, h, w).
            size: (H, W) of the images in pixels.

        Returns:
            Shape (B, K, H, W), one plane per class in memory. What follows, a softmax or an argmax
            over the classes, reads planes: in channels_last it would first transpose the large
            result. In the dtype of `logits`, or in float32 under autocast on CUDA.
        """
        return _bilinear(logits.contiguous(), size, self.align_corners)

    def extra_repr(self) -> str:
        """The setting, for print."""
        return f"align_corners={self.align_corners}"


def _bilinear(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)
