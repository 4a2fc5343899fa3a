"""From tensors to pictures: images, label maps and errors as uint8 RGB. No matplotlib here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from segkit.outputs import IGNORE

Colour = tuple[int, int, int]
Picture = NDArray[np.uint8]

VOID_DARK, VOID_LIGHT = (40, 40, 40), (150, 150, 150)
"""The two greys of the stripes that stand for void; no palette has stripes, many have a grey."""
WRONG: Colour = (128, 40, 255)
"""Wrong pixels in an error picture: violet, a colour of no class (see `distinct_palette`)."""


def hexed(colour: Colour) -> str:
    """An RGB colour in 0..255 as matplotlib takes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def array(values: ArrayLike) -> NDArray[Any]:
    """A numpy array from a tensor on any device, an array or a nested list."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # numpy has no bfloat16
        values = values.float() if values.is_floating_point() else values
    return np.asarray(values)


def picture(
    image: ArrayLike,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Picture:
    """An image as it is seen: uint8 RGB, shape (H, W, 3).

    Args:
        image: tensor or array of shape (3, H, W), (H, W, 3), (1, H, W) or (H, W); uint8, or float
            in 0..1, or float that was normalised with ``mean`` and ``std``. A fourth channel is
            alpha: the image is laid over white.
        mean: what the normalisation subtracted, one number a channel, of images in 0..1.
        std: what it divided by.

    Returns:
        The picture; values outside 0..1 after undoing the normalisation are clipped.

    Raises:
        ValueError: another shape or dtype; only one of mean and std; float values outside 0..1 or
            not finite without mean and std.
    """
    values = array(image)
    if (mean is None) != (std is None):
        raise ValueError("mean and std belong together; give both or neither")
    if values.ndim == 2:
        values = values[None]
    if values.ndim == 3 and (
        (values.shape[0] not in (1, 3) and values.shape[2] in (1, 3))
        or (values.shape[0] not in (1, 3, 4) and values.shape[2] == 4)
        or (values.shape[0] == 1 and values.shape[2] in (3, 4))  # a single row of pixels
    ):
        values = values.transpose(2, 0, 1)
    if values.ndim != 3 or values.shape[0] not in (1, 3, 4):
        raise ValueError(
            f"image has shape {tuple(array(image).shape)}; allowed are (3, H, W), (H, W, 3), "
            "(1, H, W) and (H, W), or four channels with alpha: take one image out of a batch "
            "with images[0]"
        )
    if values.dtype.kind == "f":
        if mean is not None and std is not None:
            values = values * np.reshape(std, (-1, 1, 1)) + np.reshape(mean, (-1, 1, 1))
        elif values.size and not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f"a float image with values from {values.min():.3g} to {values.max():.3g} looks "
                "normalised; give the mean and std it was normalised with"
            )
        if not np.isfinite(values).all():
            raise ValueError("the image holds nan or infinite values; look at what made it")
        values = (values.clip(0, 1) * 255).round().astype(np.uint8)
    if values.dtype != np.uint8:
        raise ValueError(f"image has dtype {values.dtype}; allowed are uint8 and floats")
    if len(values) == 4:
        alpha = values[3:].astype(np.uint32)
        values = ((values[:3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    values = np.broadcast_to(values, (3, *values.shape[1:]))
    return np.ascontiguousarray(values.transpose(1, 2, 0))


def label_map(
    labels: ArrayLike,
    num_classes: int,
    *,
    size: Sequence[int] | None = None,
    what: str = "labels",
) -> NDArray[np.uint8]:
    """Checked class ids as a uint8 array of shape (H, W).

    Args:
        labels: integers of shape (H, W), 0..num_classes-1 or 255 for void.
        num_classes: how many classes there are, at most 255.
        size: height and width in pixels that the map must have.
        what: what the message calls it.

    Returns:
        The ids; an empty map stays empty.

    Raises:
        ValueError: another shape, a dtype that is not integer, an id that no class has.
    """
    values = array(labels)
    if values.ndim != 2 or (size is not None and values.shape != tuple(size)):
        wanted = "(H, W)" if size is None else f"{tuple(size)}, the image's height and width"
        raise ValueError(f"{what} have shape {tuple(values.shape)}; it must be {wanted}")
    if values.dtype.kind not in "iu":
        raise ValueError(f"{what} have dtype {values.dtype}; class ids are integers: use argmax")
    stray = values[(values != IGNORE) & ((values < 0) | (values >= num_classes))]
    if stray.size:
        raise ValueError(
            f"{what} hold the id {stray[0]}, but there are {num_classes} classes: allowed are "
            f"0..{num_classes - 1} and {IGNORE} for void"
        )
    return np.ascontiguousarray(values.astype(np.uint8))


def stripes(height: int, width: int) -> Picture:
    """Diagonal stripes in two greys, shape (H, W, 3): what void looks like."""
    # About 50 stripes over the longer side, so that they show at any size and never as noise.
    band = max(2, round(max(height, width) / 100))
    light = (np.add.outer(np.arange(height), np.arange(width)) // band) % 2 == 1
    return np.where(light[..., None], np.array(VOID_LIGHT, np.uint8), np.array(VOID_DARK, np.uint8))


def label_picture(labels: ArrayLike, palette: Sequence[Colour], *, hatch: bool = False) -> Picture:
    """A label map in the colours of its classes: uint8 RGB, shape (H, W, 3).

    Args:
        labels: integers of shape (H, W), 0..K-1 or 255 for void.
        palette: K colours, RGB in 0..255.
        hatch: draw void as grey stripes; else it is black.

    Returns:
        The picture; an empty map gives an empty picture.

    Raises:
        ValueError: an id that has no colour, a shape that is not (H, W), no integers.
    """
    ids = label_map(labels, len(palette))
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8).reshape(-1, 3)
    coloured = table[ids]
    if hatch:
        void = ids == IGNORE
        coloured[void] = stripes(*ids.shape)[void]
    return coloured


def class_borders(labels: NDArray) -> NDArray[np.float64]:
    """The lines between pixels of different classes, as long as they run straight.

    Args:
        labels: class ids, shape (H, W); void is a class like any other.

    Returns:
        Shape (N, 2, 2): from (x, y) to (x, y), in pixels, where the middle of the first pixel is 0
        and its edges are -0.5 and 0.5.
    """
    lines = []
    for axis, (one, two) in enumerate(((labels[1:], labels[:-1]), (labels.T[1:], labels.T[:-1]))):
        differ = np.pad(one != two, ((0, 0), (1, 1))).astype(np.int8)
        turns = np.diff(differ, axis=1)
        (row, start), (_, end) = np.nonzero(turns == 1), np.nonzero(turns == -1)
        across = row + 0.5
        ends = [np.stack([along - 0.5, across], -1) for along in (start, end)]
        lines.append(np.stack(ends, 1)[..., ::-1] if axis else np.stack(ends, 1))
    return np.concatenate(lines)


def error_picture(image: Picture, truth: NDArray, prediction: NDArray) -> Picture:
    """Where the prediction is wrong: uint8 RGB, shape (H, W, 3).

    Right pixels show the image in pale grey, wrong ones are violet, void ones striped.

    Args:
        image: uint8 RGB, shape (H, W, 3), as `picture` gives it.
        truth: class ids, shape (H, W), 255 is void.
        prediction: class ids, shape (H, W).
    """
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    shown = np.repeat((170 + grey / 3).clip(0, 255).astype(np.uint8), 3, axis=2)
    shown[(prediction != truth) & (truth != IGNORE)] = WRONG
    void = truth == IGNORE
    shown[void] = stripes(*truth.shape)[void]
    return shown


def wrong_share(truth: NDArray, prediction: NDArray) -> float:
    """Wrong pixels as a share of the labelled ones, 0..1; nan where no pixel is labelled."""
    labelled = truth != IGNORE
    count = int(labelled.sum())
    return float((prediction != truth)[labelled].sum() / count) if count else float("nan")


def check_classes(classes: Sequence[str], palette: Sequence[Colour]) -> None:
    """Raise a ValueError unless there is one colour for each class, and at most 255 of them."""
    if len(classes) != len(palette):
        raise ValueError(
            f"{len(classes)} classes and {len(palette)} colours; give one colour for each class"
        )
    if not 1 <= len(classes) <= IGNORE:
        raise ValueError(f"{len(classes)} classes; allowed are 1 to {IGNORE}")
