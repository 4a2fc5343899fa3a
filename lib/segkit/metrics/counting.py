"""Counting (truth, prediction) pairs: the one expensive step of every metric here."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segkit.inputs import check_devices, check_ids, check_tensor, find_one_hot

# Pixels counted at a time: numpy widens what it counts to 8 bytes, and this many stay in the cache.
_CHUNK = 1 << 16

_WIDE = (torch.uint16, torch.uint32, torch.uint64)
"""Types that torch can hold and convert, but not compare."""


def count_pairs(prediction: Tensor, labels: Tensor, *, num_classes: int, ignore: int) -> Tensor:
    """Count how often each class was predicted for each true class, image by image.

    Void needs no mask: it is one more row, which costs a fifth of what masking it away would.

    Args:
        prediction: class ids, shape (B, H, W), any integer type, on the CPU or a GPU.
        labels: class ids or ``ignore``, shape (B, H, W) or (B, D, H, W), any integer type,
            same device.
        num_classes: K.
        ignore: the label of void pixels.

    Returns:
        int64 (B, K+1, K): rows truth (the last one void), columns prediction.

    Raises:
        ValueError: no tensor, the shapes or devices disagree, a type is not an integer, a
            prediction is not in 0..K-1 (void pixels included), a label is neither ``ignore`` nor
            in 0..K-1, or both are one-hot instead of class ids.
    """
    for name, ids in (("prediction", prediction), ("labels", labels)):
        check_tensor(name, ids, "class ids of shape (B, H, W), or (B, D, H, W)")
    if prediction.ndim not in (3, 4) or prediction.shape != labels.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)} and labels {tuple(labels.shape)}; "
            "both are label maps of one shape (B, H, W), or of volumes (B, D, H, W)"
            + _reshaping(prediction, labels)
        )
    check_devices("prediction", prediction, "labels", labels)
    check_ids("prediction is", prediction)
    check_ids("labels are", labels)
    if prediction.dtype in _WIDE or labels.dtype in _WIDE:
        prediction, labels = prediction.long(), labels.long()
    if ids := find_one_hot(prediction, labels, num_classes, ignore):
        single = "[None]" if labels.ndim == 3 else ""
        raise ValueError(
            f"prediction and labels of shape {tuple(labels.shape)} are one-hot, and class ids are "
            f"needed: give prediction{ids}{single} and labels{ids}{single}. Where they are ids "
            "after all, of volumes give both with .flatten(1, 2), of images one at a time"
        )
    if prediction.ndim == 4:
        prediction, labels = prediction.flatten(1, 2), labels.flatten(1, 2)
    if prediction.numel() == 0:
        shape = (len(prediction), num_classes + 1, num_classes)
        return torch.zeros(shape, dtype=torch.int64, device=prediction.device)
    if prediction.device.type == "cpu" and _fits_a_byte(prediction) and _fits_a_byte(labels):
        return _count_bytes(prediction, labels, num_classes, ignore)
    return _count_any(prediction, labels, num_classes, ignore)


def _reshaping(prediction: Tensor, labels: Tensor) -> str:
    """How the shapes may become those of label maps."""
    if prediction.ndim == labels.ndim + 1 and prediction.is_floating_point():
        return ". segkit.metrics.argmax(prediction) makes one of scores"
    for name, ids, other in (
        ("prediction", prediction, labels),
        ("labels", labels, prediction),
    ):
        if ids.ndim == other.ndim + 1:
            if ids.shape[1] == 1:
                return f": give {name}.squeeze(1)"
            return f". Where {name} is one-hot along its second axis, give {name}.argmax(1)"
    if prediction.ndim == labels.ndim == 2:
        return ". Of a single image give prediction[None] and labels[None]"
    return ""


def _fits_a_byte(ids: Tensor) -> bool:
    if ids.dtype == torch.uint8:
        return True
    lowest, highest = ids.aminmax()
    return 0 <= int(lowest) and int(highest) <= 255


def _count_bytes(prediction: Tensor, labels: Tensor, num_classes: int, ignore: int) -> Tensor:
    """Count all 256 x 256 pairs of bytes, then look at the counts instead of at the pixels.

    The pair (prediction, label) is one uint16. Its histogram needs no mask, no table of void and no
    look at the labels beforehand: a value that is not allowed shows up as a count in a row or
    column of its own.
    """
    predicted = prediction.to(torch.uint8).flatten(1).numpy()
    labelled = labels.to(torch.uint8).flatten(1).numpy()
    counts = np.zeros((len(predicted), num_classes + 1, num_classes), dtype=np.int64)
    for image, (row, column) in enumerate(zip(labelled, predicted, strict=True)):
        table = _histogram(row, column)
        if ignore in range(256):  # first, so that void stays void even where it is a class id
            counts[image, num_classes, : table.shape[1]] = table[ignore, :num_classes]
            table[ignore] = 0
        classes = table[:num_classes, :num_classes]
        counts[image, : classes.shape[0], : classes.shape[1]] = classes
        if counts[image].sum() != row.size:
            _raise_out_of_range(np.unique(column), np.unique(row), num_classes, ignore)
    return torch.from_numpy(counts)


def _histogram(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """How often each pair of bytes occurs, int64 (256, highest column + 1)."""
    table = np.zeros((int(column.max()) + 1) * 256, dtype=np.int64)
    for start in range(0, row.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        pairs = (column[part].astype(np.uint16) << 8) | row[part]
        table += np.bincount(pairs, minlength=table.size)
    return table.reshape(-1, 256).T


def _count_any(prediction: Tensor, labels: Tensor, num_classes: int, ignore: int) -> Tensor:
    """The same with torch, for a GPU and for values beyond a byte."""
    predicted = prediction.long().flatten(1)
    labelled = labels.long().flatten(1)
    void = labelled == ignore
    row = labelled.masked_fill(void, 0)
    bounds = torch.stack((*predicted.aminmax(), *row.aminmax())).tolist()
    if min(bounds) < 0 or max(bounds) >= num_classes:
        given, true = (ids.unique().cpu().numpy() for ids in (predicted, labelled))
        _raise_out_of_range(given, true, num_classes, ignore)
    row = row.masked_fill(void, num_classes)
    bins = (num_classes + 1) * num_classes
    image = torch.arange(len(row), device=row.device)[:, None]
    pairs = (image * bins + row * num_classes + predicted).flatten()
    counts = torch.bincount(pairs, minlength=len(row) * bins)
    return counts.reshape(len(row), num_classes + 1, num_classes)


def _raise_out_of_range(
    predicted: np.ndarray, labelled: np.ndarray, num_classes: int, ignore: int
) -> None:
    wrong = {
        "prediction": [int(v) for v in predicted if not 0 <= v < num_classes],
        "labels": [int(v) for v in labelled if not 0 <= v < num_classes and v != ignore],
    }
    found = " and ".join(f"{name} holds {values[:10]}" for name, values in wrong.items() if values)
    raise ValueError(
        f"{found}; allowed are 0..{num_classes - 1}, and {ignore} for void in labels only: map the "
        "values, or set num_classes"
    )
