"""From logits to label maps: the same labels as torch's own argmax, many times faster on a CPU.

At 512 x 1024 and 19 classes ``logits.argmax(1)`` costs about as much as a small network, because
its inner loop walks from class to class. Walking through all pixels of one class after the other
instead, with the best score so far kept in the cache, is several times faster; and one byte a label
is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.inputs import check_tensor

# Rows compared at a time: few enough for their best score and labels to stay in a CPU's cache.
_TILE_ROWS = 64

# torch picks its resizing kernel by layout, size and whether there are more than three channels.
# Kernels differ in the last bit: parts must be resized by the kernel of the whole. So at least four
# channels go at a time, and a map whose height plus width is small goes whole (there the kernel's
# arithmetic depends on the number of channels, and there is little to gain).
_CHANNELS = 4
_SMALL = 128


@torch.no_grad()
def argmax(logits: Tensor) -> Tensor:
    """The class of the highest score at each pixel; the first one where several tie.

    Equal to ``logits.argmax(1)`` everywhere, NaN included (a NaN counts as the highest score). On a
    GPU, and for channels_last logits, it is torch's own argmax, which is fast there.

    Args:
        logits: scores, shape (B, K, H, W), or (B, K, D, H, W) of volumes, any real type, K <= 256.

    Returns:
        uint8 (B, H, W) or (B, D, H, W), same device, no gradient.

    Raises:
        ValueError: logits are not (B, K, H, W), or K is 0 or more than a byte can tell apart.
    """
    check_tensor("argmax", logits, "scores of shape (B, K, H, W), or (B, K, D, H, W)")
    if logits.ndim == 5:
        return argmax(logits.flatten(2, 3)).unflatten(1, logits.shape[2:4])
    _check(logits)
    if not _classes_are_apart(logits):
        return logits.argmax(1).to(torch.uint8)
    batch, _, height, width = logits.shape
    labels = torch.empty(batch, height, width, dtype=torch.uint8)
    for image, scores in zip(labels, logits, strict=True):
        for top in range(0, height, _TILE_ROWS):
            rows = slice(top, top + _TILE_ROWS)
            tile = scores[:, rows]
            found = _first_highest(_as_numpy(tile))
            image[rows] = tile.argmax(0) if found is None else torch.from_numpy(found)
    return labels


@torch.no_grad()
def argmax_resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The label map of logits that are first resized (bilinear, ``align_corners=False``).

    Equal to ``F.interpolate(logits, size, mode="bilinear", align_corners=False).argmax(1)``, but
    the resized scores never exist all at once: on a CPU a few classes are resized at a time, with
    the very arithmetic that torch uses for all of them, and compared with the best so far.

    Args:
        logits: scores, shape (B, K, h, w), floating point, K <= 256.
        size: (H, W) of the label map, in pixels.

    Returns:
        uint8 (B, H, W), same device, no gradient.

    Raises:
        ValueError: as `argmax`, or ``size`` is not two positive numbers.
    """
    _check(logits)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size is {tuple(size)}; it is (height, width), both at least 1")
    height, width = size
    if (height, width) == tuple(logits.shape[-2:]):
        return argmax(logits)
    labels = torch.empty(len(logits), height, width, dtype=torch.uint8, device=logits.device)
    in_parts = _classes_are_apart(logits) and height + width > _SMALL
    for image, scores in zip(labels, logits.split(1), strict=True):
        found = _first_highest(_resized_classes(scores, size)) if in_parts else None
        image.copy_(argmax(_resize(scores, size))[0] if found is None else torch.from_numpy(found))
    return labels


def _check(logits: Tensor) -> None:
    check_tensor("argmax", logits, "scores of shape (B, K, H, W)")
    if logits.ndim != 4 or not 1 <= logits.shape[1] <= 256:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}; needed is (B, K, H, W) with K in 1..256 "
            "(for more classes than a byte can tell apart use logits.argmax(1))"
        )


def _classes_are_apart(logits: Tensor) -> bool:
    """Whether going class by class pays: on a CPU, unless a pixel's scores lie side by side."""
    on_cpu = logits.device.type == "cpu" and not torch.compiler.is_compiling()
    return on_cpu and logits.stride(1) > 1


def _resize(scores: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)


def _resized_classes(scores: Tensor, size: tuple[int, int]) -> Iterator[np.ndarray]:
    for part in scores.tensor_split(max(1, scores.shape[1] // _CHANNELS), dim=1):
        yield from _as_numpy(_resize(part, size))[0]


def _as_numpy(scores: Tensor) -> np.ndarray:
    # Widening is exact; numpy has no bfloat16, and is slow in float16.
    return (scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores).numpy()


def _first_highest(scores: Iterable[np.ndarray]) -> np.ndarray | None:
    """For each pixel the first class with the highest score, uint8; None if there is a NaN.

    Plain maxima instead of masked writes: since k only grows, max(label, k * won) is k exactly
    where class k has just won, and runs at full vector width.
    """
    scores = iter(scores)
    best = next(scores).copy()
    labels = np.zeros(best.shape, dtype=np.uint8)
    won = np.empty(best.shape, dtype=np.bool_)
    won_k = won.view(np.uint8)  # the same bytes, so that they can be multiplied in place
    for k, score in enumerate(scores, start=1):
        np.greater(score, best, out=won)
        np.multiply(won_k, np.uint8(k), out=won_k)
        np.maximum(labels, won_k, out=labels)
        np.maximum(best, score, out=best)
    return None if np.isnan(best).any() else labels
