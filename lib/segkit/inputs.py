"""What the public functions are given: one check each for images, scores, labels and weights.

Kinds, shapes, types and devices are compared everywhere, which costs nothing. Numbers are looked at
where they lie on the CPU, by one pass over them: class weights, labels, and the images of
prediction and evaluation. On a GPU that would make the host wait at every step; there a label out
of range stops in the kernel's own assertion, and NaN in `NonFiniteLossError`.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from segkit.outputs import SegOutput

CONVOLUTIONS = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
_SMALL = 32
"""Pixels of a side of which every encoder has one left at its coarsest."""
CHANCE = 16
"""Pixels that a one-hot map has at least: fewer of a label map may look like one by chance."""


def check_tensor(name: str, value: Any, takes: str) -> Tensor:
    """Refuse what is no tensor.

    Args:
        name: of the argument.
        value: what was given.
        takes: what is allowed, in words.

    Raises:
        ValueError: says what it is and how to make a tensor of it.
    """
    if isinstance(value, Tensor):
        return value
    kind = _article(type(value).__name__)
    if isinstance(value, SegOutput):
        cure = "a network's whole output: give its .logits"
    elif isinstance(value, Mapping):
        cure = f"{kind}: give the tensor in it, one of {[*value][:5]!r:.80}"
    elif isinstance(value, nn.Module):
        cure = f"a network, {kind}: call it on images and give its .logits"
    elif isinstance(value, Sequence) and value and all(isinstance(v, Tensor) for v in value):
        cure = f"{kind} of tensors: torch.stack makes one of those of one shape"
    elif type(value).__module__.startswith("PIL."):
        cure = "a PIL image: torchvision.transforms.functional.pil_to_tensor makes a tensor of it"
    elif value is None or isinstance(value, str | bytes | os.PathLike):
        cure = "None" if value is None else kind
    else:
        cure = f"{kind}: torch.as_tensor makes a tensor of an array or of numbers"
    raise ValueError(f"{name}: needed are {takes}, and this is {cure}")


def check_scores(logits: Any, *, dims: Sequence[int] = (4, 5)) -> Tensor:
    """Refuse what are no scores of two classes or more.

    Args:
        logits: shape (B, K, H, W), or (B, K, D, H, W) of volumes.
        dims: how many dimensions are allowed.

    Raises:
        ValueError: no tensor, no floating point, another shape, or K = 1.
    """
    takes = "raw floating-point scores of shape (B, K, H, W)" + ", or (B, K, D, H, W)" * (5 in dims)
    check_tensor("logits", logits, takes)
    if logits.ndim not in dims or not logits.is_floating_point():
        single = logits.ndim not in dims and logits.ndim + 1 in dims
        batch = "; logits[None] makes a batch of one" * (single and logits.is_floating_point())
        raise ValueError(f"logits are {_described(logits)}; needed are {takes}{batch}")
    if logits.shape[1] < 2:
        raise ValueError(
            f"logits have {'one channel' if logits.shape[1] else 'no channel'}; a binary problem "
            "is two classes: give it K = 2"
        )
    return logits


def check_labels(labels: Any, logits: Tensor) -> Tensor:
    """Refuse what are no class ids for these scores.

    Args:
        labels: shape (B, H, W), or (B, D, H, W) of volumes, any integer type.
        logits: scores (B, K, H, W), or (B, K, D, H, W).

    Raises:
        ValueError: no tensor, no integers, another shape, or on another device.
    """
    batch, num_classes, *size = logits.shape
    check_tensor("labels", labels, "class ids of shape (B, H, W), or (B, D, H, W)")
    if tuple(labels.shape) != (batch, *size):
        raise ValueError(
            f"labels have shape {tuple(labels.shape)} but logits {tuple(logits.shape)} need "
            f"{(batch, *size)}; {_reshaping(labels, num_classes, 1 + len(size))}"
        )
    check_ids("labels are", labels)
    check_devices("logits", logits, "labels", labels)
    return labels


def check_ids(which: str, ids: Tensor) -> None:
    """Refuse a tensor of another type than an integer one.

    Args:
        which: its name and its verb: "labels are".
        ids: any shape.

    Raises:
        ValueError: it is of floating-point, complex or boolean numbers.
    """
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise ValueError(f"{which} {ids.dtype}; class ids are whole numbers: use int64 or uint8")


def check_devices(one: str, first: Tensor, other: str, second: Tensor) -> None:
    """Refuse two tensors on different devices.

    Raises:
        ValueError: names both devices.
    """
    if first.device != second.device:
        raise ValueError(
            f"{one} on {first.device}, {other} on {second.device}: move one of them, "
            f"{other} = {other}.to({str(first.device)!r})"
        )


def check_class_weights(weight: Any, num_classes: int, *, name: str = "weight") -> Tensor:
    """Refuse what are no class weights.

    Args:
        weight: one number per class, shape (K,), >= 0 and not all of them 0.
        num_classes: K.
        name: of the argument.

    Raises:
        ValueError: no tensor, another shape, or, on the CPU, NaN, infinite or negative numbers, or
            nothing but zeros.
    """
    check_tensor(name, weight, f"one number per class, shape ({num_classes},)")
    if tuple(weight.shape) != (num_classes,) or weight.dtype == torch.bool or weight.is_complex():
        raise ValueError(
            f"{name} has shape {tuple(weight.shape)} and is {weight.dtype}; {num_classes} classes "
            f"need ({num_classes},): one number for each"
        )
    if _can_look(weight):
        numbers = weight.detach().float()  # losses compute in it: what overflows there is infinite
        if not numbers.isfinite().all() or (numbers < 0).any() or not numbers.any():
            raise ValueError(
                f"{name} is {_numbers(numbers)}; class weights are finite, 0 or more and not all "
                "of them 0: segkit.losses.inverse_log_frequency_weights makes some that are"
            )
    return weight


def check_ignore(ignore: Any) -> int:
    """Refuse a label of void pixels that is no whole number.

    Raises:
        ValueError: says what it may be.
    """
    if not isinstance(ignore, Integral) or isinstance(ignore, bool):
        raise ValueError(
            f"ignore is {ignore!r:.80}; it is the label of void pixels, a whole number: 255 as in "
            "most data sets, or one that no label has, such as -1, where nothing is void"
        )
    return int(ignore)


def check_images(images: Any, *, finite: bool = True) -> Tensor:
    """Refuse what is no batch of normalised images.

    Args:
        images: shape (B, C, H, W), or (B, C, D, H, W) of volumes, floating point.
        finite: whether the numbers are looked at, on the CPU; training has its loss for that.

    Raises:
        ValueError: no tensor, another shape, no pixel, no floating point, or, on the CPU, NaN or
            infinite numbers.
    """
    takes = "a batch of normalised images (B, C, H, W), or of volumes (B, C, D, H, W)"
    check_tensor("images", images, takes)
    shape = tuple(images.shape)
    if images.ndim not in (4, 5):
        one = ", for a single image images[None]" if images.ndim == 3 else ""
        raise ValueError(
            f"images have shape {shape}: give (B, C, H, W){one}, or (B, C, D, H, W) of volumes"
        )
    if not images.is_floating_point():
        raise ValueError(
            f"images are {images.dtype}: normalise them as in training, "
            "segkit.transforms.Normalize(mean, std).image(image)"
        )
    if not images.numel():
        raise ValueError(f"images have shape {shape}, which is no pixel at all: leave them out")
    # A sum is the cheaper look, and finite unless a number is not, or all of them are huge.
    if (
        finite
        and _can_look(images)
        and not math.isfinite(images.sum())
        and not images.isfinite().all()
    ):
        broken = [i for i, image in enumerate(images) if not image.isfinite().all()]
        raise ValueError(
            f"images hold NaN or infinite numbers, in those at {broken[:10]} of the batch: every "
            "class would be as good there. Look at the file, or at the std that they were divided "
            "by"
        )
    return images


def check_batch(batch: Any, *, finite: bool = True) -> tuple[Tensor, Tensor]:
    """Refuse what is no pair of images and labels.

    Args:
        batch: what a stream of batches yields.
        finite: see `check_images`.

    Raises:
        ValueError: it is no pair, its labels are no tensor; and as `check_images`.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        held = f" of {len(batch)}" if isinstance(batch, tuple | list | Mapping) else ""
        raise ValueError(
            f"a batch is {_article(type(batch).__name__)}{held}: give pairs (images, labels), as "
            "segkit.data.batches does; of a dict such as "
            '((b["image"], b["mask"]) for b in loader)'
        )
    images, labels = batch
    check_images(images, finite=finite)
    return images, check_tensor("labels", labels, "class ids of shape (B, H, W)")


def check_network(model: Any) -> nn.Module:
    """Refuse what is no network.

    Raises:
        ValueError: says what it is.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"the network is {_article(type(model).__name__)}: give an nn.Module, such as "
            'segkit.create_model("unet", num_classes=3) or segkit.load_model(file)[0]'
        )
    return model


def device_of(model: nn.Module) -> torch.device:
    """Where a network's first parameter is; the CPU for one without any."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


@contextlib.contextmanager
def explain_misfit(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Say in our words why a network fails on images that it is not made for.

    What it takes is read from its first convolution, and only after it has failed: nothing is
    refused that works.

    Raises:
        ValueError: images of another number of channels, volumes for a network of images or the
            other way round, or another type or device than the network's.
    """
    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        found = _misfit(model, images) or _too_small(model, images, error)
        if not found:
            raise
        raise ValueError(f"{found} ({type(error).__name__}: {error!s:.200})") from error


def spatial_dims(model: nn.Module) -> int:
    """2 of a network of images, 3 of volumes: as its first convolution takes them; 0 of none."""
    return next((CONVOLUTIONS[type(m)] for m in model.modules() if type(m) in CONVOLUTIONS), 0)


def _misfit(model: nn.Module, images: Tensor) -> str:
    conv: Any = next((m for m in model.modules() if type(m) in CONVOLUTIONS), None)
    if conv is None or not isinstance(images, Tensor):
        return ""
    dims, channels = spatial_dims(model), conv.in_channels
    shape = "(B, C, D, H, W)" if dims == 3 else "(B, C, H, W)"
    if images.ndim != dims + 2:
        kind = "volumes" if dims == 3 else "images"
        return (
            f"images have shape {tuple(images.shape)}, but {type(model).__name__} is a network of "
            f"{kind}: give {shape}" + ", slice by slice" * (dims < 3 and images.ndim == 5)
        )
    if images.shape[1] != channels:
        return (
            f"images have {images.shape[1]} channels, shape {tuple(images.shape)}, but "
            f"{type(model).__name__} reads {channels}: give {shape} with C = {channels}, or build "
            f"it with in_channels={images.shape[1]}"
        )
    weight = conv.weight
    if images.device != weight.device:
        return (
            f"images on {images.device}, the network on {weight.device}: "
            f"images.to({str(weight.device)!r})"
        )
    if images.dtype != weight.dtype:
        return (
            f"images are {images.dtype}, the network's weights {weight.dtype}: "
            f"images.to({weight.dtype})"
        )
    return ""


def _too_small(model: nn.Module, images: Any, error: Exception) -> str:
    small = isinstance(images, Tensor) and images.ndim > 3 and min(images.shape[2:]) < _SMALL
    if not small or "size" not in str(error):
        return ""
    return (
        f"images have shape {tuple(images.shape)}, which may be too small for "
        f"{type(model).__name__}: give {_SMALL} pixels a side or more"
    )


def logits_of(model: nn.Module, output: Any) -> Tensor:
    """The logits of what a network returned.

    Raises:
        ValueError: it is no `SegOutput`; says how to make one.
    """
    if not isinstance(getattr(output, "logits", None), Tensor):
        take = "output"
        if isinstance(output, Mapping):
            take = f"output[{'out' if 'out' in output else next(iter(output), 'out')!r}]"
        raise ValueError(
            f"{type(model).__name__} returned {_article(type(output).__name__)}, and a network "
            "here returns segkit.SegOutput(logits, aux): wrap it in an nn.Module whose forward "
            f"ends in `return segkit.SegOutput({take}, {{}})`"
        )
    return output.logits


def find_one_hot(prediction: Tensor, labels: Tensor, num_classes: int, ignore: int) -> str:
    """How to make class ids of label maps that are both one-hot along an axis; "" for others.

    Args:
        prediction: integers of three or four dimensions.
        labels: of the same shape; void pixels may be all 0, or ``ignore``, along the axis.
        num_classes: K.
        ignore: the label of void pixels.
    """
    for axis in (1, -1) if prediction.ndim == 4 else (0, -1):
        pixels = prediction.numel() // max(1, num_classes)
        if prediction.shape[axis] != num_classes or pixels < CHANCE:
            continue
        ones, known = labels == 1, (labels == 0) | (labels == ignore)
        if (
            int(prediction.min()) == 0
            and int(prediction.max()) == 1
            and bool((ones | known).all())
            and bool((ones.sum(axis) <= 1).all())
            and bool((prediction.sum(axis) == 1).all())
        ):
            return f".argmax({axis})"
    return ""


def _reshaping(labels: Tensor, num_classes: int, dims: int) -> str:
    """How labels of the wrong shape may become right."""
    if labels.ndim == dims + 1:
        if labels.shape[1] == 1:
            return "give labels.squeeze(1)"
        for axis in (1, -1):
            if labels.shape[axis] == num_classes:
                return f"where they are one-hot, give labels.argmax({axis})"
    if labels.ndim == dims - 1:
        return "give a batch of them, labels[None] for a single image"
    return "resize one of them"


def _can_look(tensor: Tensor) -> bool:
    """Whether numbers can be read without waiting for a device or breaking a compiled graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"


def _numbers(numbers: Tensor) -> str:
    listed = ", ".join(f"{number:.4g}" for number in numbers[:20].tolist())
    return f"[{listed}{', ...' if len(numbers) > 20 else ''}]"


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiouAEIOU" or kind == "ndarray" else f"a {kind}"
