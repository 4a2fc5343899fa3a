"""Prediction: whole image or sliding window, averaged over scales and flips.

Whatever is averaged is averaged as probabilities, at the size of the image.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import product
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.inputs import check_images, check_network, device_of, explain_misfit, logits_of
from segkit.metrics import argmax

GRID = 32
"""Pixels in whose multiples windows with a margin begin: a network that halves the image five times
or less then pools the same pixels together as in the whole image."""

STRIP = 2**26
"""Scores that `predict_blocks` holds of a row of windows, where two windows beside each other have
no more: 256 MB."""

BLOCK = 512
"""Columns in whose multiples it divides wider rows, as tiled files are divided."""


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
    margin: int = 0,
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
        margin: pixels at each side of a window, rounded up to 32, that are there to be seen and
            not answered for, which end at the image's border; instead of ``overlap`` and the
            blending. Where a network sees no further (the unpadded U-Net: 92) the windows give
            what the whole image would.

    Returns:
        Probabilities, float32, shape (B, K, H, W), or (B, K, D, H, W).

    Raises:
        ValueError: images of another shape, type or device, or of other channels, than the network
            takes; NaN or infinite numbers in them (looked for on the CPU); no scale, a scale that
            is not positive and finite, an overlap outside [0, 1), a window smaller than 32
            pixels, or one with nothing between its margins.

    Source: multi-scale and flip, Chen et al., "DeepLab", PAMI 2018, section 4.1.2; margins, the
    overlap-tile strategy of Ronneberger et al., "U-Net", MICCAI 2015, section 2 and figure 2.
    """
    _check(model, images)
    size = images.shape[2:]
    mode = "trilinear" if len(size) == 3 else "bilinear"
    if not isinstance(scales, Sequence) or not scales or not all(map(_is_scale, scales)):
        raise ValueError(
            f"scales are positive factors, at least one, such as (0.75, 1.0): {scales}"
        )
    _check_windows(size, window, overlap, margin)
    with _evaluating(model):
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
                    logits = _slide(model, view, window, overlap, margin)
                logits = logits.flip(-1) if mirrored else logits
                if logits.shape[2:] != size:
                    logits = F.interpolate(logits, size=size, mode=mode, align_corners=False)
                probs = logits.softmax(1)
                total = probs if total is None else total + probs
    return total / (len(scales) * (2 if flip else 1))


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, **options) -> Tensor:
    """The most probable class of each pixel.

    Without options it compares the network's scores themselves, as `segkit.engine.evaluate` does.

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
    if options:
        return argmax(predict_probs(model, images, **options))
    _check(model, images)
    if isinstance(model, PredictsLabels):
        with explain_misfit(model, images):
            return model.predict_labels(images)
    with _evaluating(model):
        return argmax(_logits(model, images))


@torch.inference_mode()
def predict_blocks(
    model: nn.Module,
    read: Callable[[slice, slice], Tensor],
    size: tuple[int, int],
    *,
    window: tuple[int, int],
    overlap: float = 0.5,
    margin: int = 0,
    **options: Any,
) -> Iterator[tuple[slice, slice, Tensor]]:
    """The most probable class of each pixel of an image that is larger than memory.

    The labels are those of `predict` with the same windows (mirrored windows and scaled ones lie
    elsewhere than those of a mirrored or scaled image). Memory holds one row of windows at a time,
    of at most `STRIP` scores: it does not grow with the image.

    Args:
        model: the network.
        read: gives some rows and columns of the image, normalised, shape (1, C, h, w), where the
            network is.
        size: (height, width) of the image.
        window: (height, width) of the windows, in pixels.
        overlap: as `predict_probs`, and so is margin.
        margin: pixels at each side of a window that are not answered for.
        **options: scales and flip, of each window by itself.

    Yields:
        Rows and columns, and their labels, uint8 of their size; each pixel once.

    Raises:
        ValueError: as `predict_probs`.

    Example:
        >>> for rows, columns, labels in predict_blocks(  # doctest: +SKIP
        ...     model, read, (30_000, 30_000), window=(512, 512)
        ... ):
        ...     file[rows, columns] = labels
    """
    _check_windows(size, window, overlap, margin)
    sides = zip(size, window, strict=True)
    spans = [_spans(side, length, overlap, margin) for side, length in sides]

    def ask(here: tuple[slice, ...]) -> Tensor:
        return predict_probs(model, read(*here), **options)

    num_classes = ask(tuple(slice(0, min(side, GRID)) for side in size)).shape[1]
    width = max(2 * window[1], STRIP // (num_classes * window[0]))
    width = max(BLOCK, width // BLOCK * BLOCK)
    for left in range(0, size[1], width):
        columns = slice(left, min(left + width, size[1]))
        for rows, probs in _blended(ask, size, spans, columns):
            labels = argmax(probs)[0]
            del probs  # else the next row would be summed up beside this one
            yield rows, columns, labels


def _check(model: nn.Module, images: Tensor) -> None:
    device = device_of(check_network(model))
    if check_images(images).device != device:
        raise ValueError(
            f"images on {images.device}, the network on {device}: give images.to({str(device)!r})"
        )


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The network in eval mode meanwhile."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _check_windows(size: Sequence[int], window: Any, overlap: Any, margin: Any) -> None:
    if not isinstance(overlap, int | float) or not 0 <= overlap < 1:
        raise ValueError(f"the overlap of windows lies in [0, 1), got {overlap}")
    if not isinstance(margin, int) or margin < 0 or (margin and window is None):
        raise ValueError(f"margin={margin}: give pixels, 0 or more, of a window")
    if window is not None and (not isinstance(window, Sequence) or len(window) != len(size)):
        sides = "(depth, height, width)" if len(size) == 3 else "(height, width)"
        raise ValueError(f"window={window}: give {sides} in pixels")
    least = 1 if len(size) == 3 else 32  # a volume may have few slices
    if window is not None and (lost := [s for s in window if not isinstance(s, int) or s < least]):
        raise ValueError(f"a window is at least {least} pixels high and wide, got {lost[0]}")


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    with explain_misfit(model, images):
        output = model(images)
    return logits_of(model, output).float()


def _is_scale(scale: Any) -> bool:
    return isinstance(scale, int | float) and 0 < scale < math.inf


def _slide(
    model: nn.Module, images: Tensor, window: tuple[int, ...], overlap: float, margin: int
) -> Tensor:
    """Log-probabilities of an image by windows; each lies inside the image."""
    size = images.shape[2:]
    spans = [_spans(*of, overlap, margin) for of in zip(size, window, strict=True)]

    def ask(here: tuple[slice, ...]) -> Tensor:
        return _logits(model, images[(..., *here)]).softmax(1)

    rows = [probs.clone() for _, probs in _blended(ask, size, spans, slice(0, size[-1]))]
    return torch.cat(rows, 2).clamp_min_(1e-12).log_()


def _blended(
    ask: Callable[[tuple[slice, ...]], Tensor],
    size: Sequence[int],
    spans: Sequence[Sequence[_Span]],
    columns: slice,
) -> Iterator[tuple[slice, Tensor]]:
    """The weighted mean of windows, from the top down; what is finished is let go.

    Args:
        ask: gives the probabilities (B, K, ...) of a window.
        size: of the image.
        spans: of each side, whose products are the windows.
        columns: what of the last side is wanted; windows beside it are not asked.

    Yields:
        Rows that follow each other, and their probabilities, (B, K, rows, ..., columns): a part of
        what was summed up, which stays in memory with it.
    """
    first, *others = spans
    others[-1] = [s for s in others[-1] if s.start < columns.stop and columns.start < s.stop]
    shape = (*size[1:-1], columns.stop - columns.start)
    top, total, weight = 0, torch.empty(0), torch.empty(0)
    for row, after in zip(first, [*first[1:], None], strict=True):
        for sides in product(*others):
            probs = ask(tuple(slice(span.start, span.stop) for span in (row, *sides)))
            if row.stop - top > len(weight):  # the first window of this row
                if not len(weight):
                    total = probs.new_zeros(*probs.shape[:2], 0, *shape)
                    weight = probs.new_zeros(0, *shape)
                more = row.stop - top - len(weight)
                total = torch.cat([total, total.new_zeros(*probs.shape[:2], more, *shape)], 2)
                weight = torch.cat([weight, weight.new_zeros(more, *shape)])
            blend = reduce(lambda whole, s: whole[..., None] * s.weights, sides, row.weights)
            last = sides[-1]
            left, right = max(last.start, columns.start), min(last.stop, columns.stop)
            inside = (..., slice(left - last.start, right - last.start))
            here = (
                slice(row.start - top, row.stop - top),
                *(slice(span.start, span.stop) for span in sides[:-1]),
                slice(left - columns.start, right - columns.start),
            )
            blend = blend.to(probs.device)[inside]
            total[(..., *here)] += probs[inside] * blend
            weight[here] += blend
        done = (after.start if after else row.stop) - top
        yield slice(top, top + done), total[:, :, :done].div_(weight[:done])
        total, weight, top = total[:, :, done:].clone(), weight[done:].clone(), top + done


class _Span(NamedTuple):
    """Where a window lies along one side of the image, and what its pixels weigh there."""

    start: int
    weights: Tensor

    @property
    def stop(self) -> int:
        return self.start + len(self.weights)


def _spans(side: int, window: int, overlap: float, margin: int) -> list[_Span]:
    """Windows along a side of the image."""
    if not margin:
        starts, length = _starts(side, window, overlap)
        return [_Span(start, _ramp(length)) for start in starts]
    given, margin = margin, -(-margin // GRID) * GRID
    step = (window - 2 * margin) // GRID * GRID
    if step < GRID:
        raise ValueError(
            f"a window of {window} pixels with a margin of {given} on both sides (rounded up to "
            f"{margin}, a multiple of the stride {GRID}) answers for "
            f"less than {GRID}: take one of {2 * margin + GRID} or more"
        )
    spans = []
    for start in range(0, side, step):
        stop = min(start + step, side)
        begins, ends = max(0, start - margin), min(stop + margin, side)
        weights = torch.zeros(ends - begins)
        weights[start - begins : stop - begins] = 1
        spans.append(_Span(begins, weights))
    return spans


def _starts(side: int, window: int, overlap: float) -> tuple[list[int], int]:
    """First pixels of windows that cover ``side`` pixels evenly, and their length."""
    if window >= side:
        return [0], side
    stride = max(1, int(window * (1 - overlap)))
    count = -(-(side - window) // stride) + 1
    return [round(i * (side - window) / (count - 1)) for i in range(count)], window


def _ramp(length: int) -> Tensor:
    """Weights that fall linearly from the centre of a window to its border, never to zero."""
    position = torch.arange(length, dtype=torch.float32) + 0.5
    return torch.minimum(position, length - position) / (length / 2)
