"""Prediction: whole image or sliding window, averaged over scales and flips.

Whatever is averaged is averaged as probabilities, at the size of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import product
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.inputs import check_images, check_network, device_of, explain_misfit, logits_of
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
    window: tuple[int, ...] | None = None,
    overlap: float = 0.5,
) -> Tensor:
    """Class probabilities of each pixel.

    Args:
        model: the network; it is put into eval mode and given back as it was.
        images: normalised, shape (B, C, H, W), or (B, C, D, H, W) where it is a network of volumes.
        scales: factors of the image's size that are tried and averaged.
        flip: whether the mirrored image is averaged in, for each scale.
        window: (height, width) in pixels of a sliding window, (depth, height, width) of volumes;
            None takes the whole image at once.
        overlap: share of a window that the next one covers again, in 0 <= overlap < 1. Where
            windows overlap they are blended with weights that fall linearly from the centre.

    Returns:
        Probabilities, float32, shape (B, K, H, W), or (B, K, D, H, W).

    Raises:
        ValueError: images of another shape, type or device, or of other channels, than the network
            takes; NaN or infinite numbers in them (looked for on the CPU); no scale, a scale that
            is not positive and finite, an overlap outside [0, 1), or a window smaller than 32
            pixels.

    Source: multi-scale and flip, Chen et al., "DeepLab", PAMI 2018, section 4.1.2.
    """
    _check(model, images)
    size = images.shape[2:]
    mode = "trilinear" if len(size) == 3 else "bilinear"
    if not isinstance(scales, Sequence) or not scales or not all(map(_is_scale, scales)):
        raise ValueError(
            f"scales are positive factors, at least one, such as (0.75, 1.0): {scales}"
        )
    if not isinstance(overlap, int | float) or not 0 <= overlap < 1:
        raise ValueError(f"the overlap of windows lies in [0, 1), got {overlap}")
    if window is not None and (not isinstance(window, Sequence) or len(window) != len(size)):
        sides = "(depth, height, width)" if len(size) == 3 else "(height, width)"
        raise ValueError(f"window={window}: give {sides} in pixels")
    was_training = model.training
    model.eval()
    try:
        total: Any = None
        for scale in scales:
            scaled = images
            if scale != 1:
                target = [max(32, round(side * scale)) for side in size]
                scaled = F.interpolate(images, size=target, mode=mode, align_corners=False)
            for mirrored in (False, True) if flip else (False,):
                view = scaled.flip(-1) if mirrored else scaled
                if window is None:
                    logits = _logits(model, view)
                else:
                    logits = _slide(model, view, window, overlap)
                logits = logits.flip(-1) if mirrored else logits
                if logits.shape[2:] != size:
                    logits = F.interpolate(logits, size=size, mode=mode, align_corners=False)
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
        images: normalised, shape (B, C, H, W), or (B, C, D, H, W) of volumes.
        **options: those of `predict_probs`.

    Returns:
        Labels, uint8, shape (B, H, W), or (B, D, H, W).

    Raises:
        ValueError: as `predict_probs`.
    """
    if isinstance(model, PredictsLabels) and not options:
        _check(model, images)
        with explain_misfit(model, images):
            return model.predict_labels(images)
    return argmax(predict_probs(model, images, **options))


def _check(model: nn.Module, images: Tensor) -> None:
    device = device_of(check_network(model))
    if check_images(images).device != device:
        raise ValueError(
            f"images on {images.device}, the network on {device}: give images.to({str(device)!r})"
        )


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    with explain_misfit(model, images):
        output = model(images)
    return logits_of(model, output).float()


def _is_scale(scale: Any) -> bool:
    return isinstance(scale, int | float) and 0 < scale < math.inf


def _slide(model: nn.Module, images: Tensor, window: tuple[int, ...], overlap: float) -> Tensor:
    """Log-probabilities of an image by blended windows; each window lies inside the image."""
    size = images.shape[2:]
    placed = [_starts(side, wanted, overlap) for side, wanted in zip(size, window, strict=True)]
    ramps = [_ramp(length) for _, length in placed]
    blend = reduce(lambda whole, ramp: whole[..., None] * ramp, ramps).to(images.device)
    total: Any = None
    weight = images.new_zeros(size)
    for corner in product(*(starts for starts, _ in placed)):
        spans = zip(corner, placed, strict=True)
        here = (..., *(slice(start, start + length) for start, (_, length) in spans))
        probs = _logits(model, images[here]).softmax(1)
        if total is None:
            total = probs.new_zeros(*probs.shape[:2], *size)
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
