"""Prediction: whole image or sliding window, averaged over scales and flips.

Whatever is averaged is averaged as probabilities, at the size of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.metrics import argmax


@runtime_checkable
class PredictsLabels(Protocol):
    """A network with a way to labels that is shorter than its logits: those of `segkit.export`."""

    def predict_labels(self, images: Tensor) -> Tensor:
        """The most probable class of each pixel: (B, C, H, W) to uint8 (B, H, W)."""
        ...


@torch.inference_mode()
def predict_probs(
    model: nn.Module,
    images: Tensor,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    window: tuple[int, int] | None = None,
    overlap: float = 0.5,
) -> Tensor:
    """Class probabilities of each pixel.

    Args:
        model: the network; it is put into eval mode and given back as it was.
        images: normalised, shape (B, C, H, W).
        scales: factors of the image's size that are tried and averaged.
        flip: whether the mirrored image is averaged in, for each scale.
        window: (height, width) in pixels of a sliding window; None takes the whole image at once.
        overlap: share of a window that the next one covers again, in 0 <= overlap < 1. Where
            windows overlap they are blended with weights that fall linearly from the centre.

    Returns:
        Probabilities, float32, shape (B, K, H, W).

    Raises:
        ValueError: images of another shape, no scale, a scale that is not positive and finite, an
            overlap outside [0, 1), or a window smaller than 32 pixels.

    Source: multi-scale and flip, Chen et al., "DeepLab", PAMI 2018, section 4.1.2.
    """
    _check(images)
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise ValueError(f"scales are positive factors, at least one, got {tuple(scales)}")
    if not 0 <= overlap < 1:
        raise ValueError(f"the overlap of windows lies in [0, 1), got {overlap}")
    if window is not None and (isinstance(window, int) or len(window) != 2):
        raise ValueError(f"window={window}: give (height, width) in pixels")
    size = images.shape[-2:]
    was_training = model.training
    model.eval()
    try:
        total: Any = None
        for scale in scales:
            scaled = images
            if scale != 1:
                target = [max(32, round(side * scale)) for side in size]
                scaled = F.interpolate(images, size=target, mode="bilinear", align_corners=False)
            for mirrored in (False, True) if flip else (False,):
                view = scaled.flip(-1) if mirrored else scaled
                if window is None:
                    logits = model(view).logits.float()
                else:
                    logits = _slide(model, view, window, overlap)
                logits = logits.flip(-1) if mirrored else logits
                if logits.shape[-2:] != size:
                    logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
                probs = logits.softmax(1)
                total = probs if total is None else total + probs
    finally:
        model.train(was_training)
    return total / (len(scales) * (2 if flip else 1))


def predict(model: nn.Module, images: Tensor, **options) -> Tensor:
    """The most probable class of each pixel.

    Args:
        model: the network. One of `segkit.export.optimize_for_inference` is faster, and without
            options it resizes and compares its scores a few classes at a time.
        images: normalised, shape (B, C, H, W).
        **options: those of `predict_probs`.

    Returns:
        Labels, uint8, shape (B, H, W).

    Raises:
        ValueError: as `predict_probs`.
    """
    if isinstance(model, PredictsLabels) and not options:
        _check(images)
        return model.predict_labels(images)
    return argmax(predict_probs(model, images, **options))


def _check(images: Tensor) -> None:
    if images.ndim != 4:
        raise ValueError(f"images have shape {tuple(images.shape)}: give (B, C, H, W)")
    if not images.is_floating_point():
        raise ValueError(
            f"images are {images.dtype}: normalise them as in training, "
            "segkit.transforms.Normalize(mean, std).image(image)"
        )


def _slide(model: nn.Module, images: Tensor, window: tuple[int, int], overlap: float) -> Tensor:
    """Log-probabilities of an image by blended windows; each window lies inside the image."""
    height, width = images.shape[-2:]
    rows, tall = _starts(height, window[0], overlap)
    columns, wide = _starts(width, window[1], overlap)
    blend = _ramp(tall)[:, None] * _ramp(wide)[None, :]
    blend = blend.to(images.device)
    total: Any = None
    weight = images.new_zeros(height, width)
    for top in rows:
        for left in columns:
            here = (..., slice(top, top + tall), slice(left, left + wide))
            probs = model(images[here]).logits.float().softmax(1)
            if total is None:
                total = probs.new_zeros(*probs.shape[:2], height, width)
            total[here] += probs * blend
            weight[here[1:]] += blend
    return (total / weight).clamp_min(1e-12).log()


def _starts(side: int, window: int, overlap: float) -> tuple[list[int], int]:
    """First pixels of windows that cover ``side`` pixels evenly, and their length."""
    if not isinstance(window, int) or window < 32:
        raise ValueError(f"a window is at least 32 pixels high and wide, got {window}")
    if window >= side:
        return [0], side
    stride = max(1, int(window * (1 - overlap)))
    count = -(-(side - window) // stride) + 1
    return [round(i * (side - window) / (count - 1)) for i in range(count)], window


def _ramp(length: int) -> Tensor:
    """Weights that fall linearly from the centre of a window to its border, never to zero."""
    position = torch.arange(length, dtype=torch.float32) + 0.5
    return torch.minimum(position, length - position) / (length / 2)
