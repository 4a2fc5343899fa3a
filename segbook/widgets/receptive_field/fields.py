"""What a unit of a feature map sees of the image: by the layers' numbers, and by its gradient."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LONGEST = 129
"""Cells along the side of a heat stamp, at most."""

Span = tuple[float, float]
"""First and last pixel that the unit at index 0 sees, along one direction; they may be negative."""


@dataclass(frozen=True)
class View:
    """What the units of a map see, by the layers' numbers.

    Attributes:
        stride: pixels of the image from one unit to the next.
        rows: the span of the first unit, in pixels from the top.
        columns: the same from the left.
    """

    stride: float
    rows: Span
    columns: Span

    @property
    def size(self) -> tuple[float, float]:
        """Height and width in pixels; infinite where a unit sees the whole image."""
        (top, bottom), (left, right) = self.rows, self.columns
        return bottom - top + 1, right - left + 1


EVERYTHING = (-math.inf, math.inf)
WINDOWS = ("convolution", "max_pool", "avg_pool2d")
GLOBAL = ("mean", "adaptive", "softmax", "bmm", "matmul", "sum", "scaled_dot")


class _Tracer(TorchDispatchMode):
    """Follows what each unit sees through every operation; of several ways the union counts."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.views = {id(image): View(1.0, (0.0, 0.0), (0.0, 0.0))}
        self.kept: list[Any] = [image]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [leaf for leaf in tree_leaves((args, kwargs)) if id(leaf) in self.views]
        if given:
            view = self._through(func.__name__, args, given)
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self.views[id(leaf)] = view
                    self.kept.append(leaf)
                    if func.__name__.startswith("upsample"):
                        self.views[id(leaf)] = _enlarged(view, given[0], leaf)
        return result

    def _through(self, name: str, args: Any, given: list[Tensor]) -> View:
        views = [self.views[id(tensor)] for tensor in given]
        stride = views[0].stride
        spans = [_union([v.rows for v in views]), _union([v.columns for v in views])]
        if any(word in name for word in WINDOWS) and "adaptive" not in name:
            kernel, step, padding, dilation = _window(name, args)
            spans = [
                (first - stride * p, last + stride * (d * (k - 1) - p))
                for (first, last), k, p, d in zip(spans, kernel, padding, dilation, strict=True)
            ]
            stride *= step[0]
        elif any(word in name for word in GLOBAL):
            spans = [EVERYTHING, EVERYTHING]
        return View(stride, *spans)


def _union(spans: list[Span]) -> Span:
    return min(first for first, _ in spans), max(last for _, last in spans)


def _enlarged(view: View, before: Tensor, after: Tensor) -> View:
    """Bilinear: up to one unit further to either side."""
    reach = view.stride
    (top, bottom), (left, right) = view.rows, view.columns
    factor = after.shape[-1] / before.shape[-1]
    return View(reach / factor, (top - reach, bottom + reach), (left - reach, right + reach))


def _window(name: str, args: Any) -> tuple[list[int], ...]:
    """Kernel, stride, padding and dilation of a convolution or pooling, (rows, columns) each."""
    if "convolution" in name:
        weight, _, step, padding, dilation, transposed = args[1:7]
        if transposed:
            raise ValueError(
                "a transposed convolution enlarges: give the layers before it, or a backbone"
            )
        kernel = list(weight.shape[2:])
    else:
        kernel = list(args[1])
        step = (args[2] if len(args) > 2 else None) or kernel
        padding = args[3] if len(args) > 3 else [0]
        dilation = args[4] if "max_pool" in name and len(args) > 4 else [1]
    return tuple((list(each) * 2)[:2] for each in (kernel, step, padding, dilation))


def views(run: Callable[[Tensor], Sequence[Tensor]], channels: int, device: str) -> list[View]:
    """What the units of each of some maps see, exactly, by kernel, stride, dilation and padding.

    Args:
        run: gives the maps of an image.
        channels: of the image.
        device: of the network; "meta" costs nothing.

    Raises:
        ValueError: a transposed convolution.
    """
    image = torch.zeros(1, channels, 64, 64, device=device)
    with torch.no_grad(), _Tracer(image) as tracer:
        maps = run(image)
    return [tracer.views[id(each)] for each in maps]


def gradients(
    run: Callable[[Tensor], Sequence[Tensor]], channels: int, side: int, images: int, seed: int
) -> list[NDArray[np.float32]]:
    """How strongly the middle unit of each map depends on each pixel: mean |d unit / d pixel|.

    Args:
        run: gives the maps of images.
        channels: of the images, which are noise of mean 0 and deviation 1.
        side: of the images in pixels.
        images: how many are averaged over.
        seed: of the noise.

    Returns:
        One array (side, side) for each map, summed over the channels of image and map.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(images, channels, side, side, generator=generator).requires_grad_()
    maps = list(run(noise))
    found = []
    for each in maps:
        height, width = each.shape[-2:]
        unit = each[:, :, height // 2, width // 2].sum()
        (gradient,) = torch.autograd.grad(unit, noise, retain_graph=each is not maps[-1])
        found.append(gradient.abs().sum(1).mean(0).numpy())
    return found


def inner_share(heat: NDArray, box: tuple[int, int, int, int]) -> float:
    """The share of the gradient inside the middle half, in height and in width, of a box, 0..1.

    Args:
        heat: shape (H, W), not negative.
        box: top, left, height and width in pixels.
    """
    top, left, height, width = box
    rows = slice(top + height // 4, top + height - height // 4)
    columns = slice(left + width // 4, left + width - width // 4)
    total = float(heat.sum())
    return float(heat[rows, columns].sum()) / total if total else float("nan")


def stamp(heat: NDArray) -> tuple[NDArray[np.uint8], int]:
    """Heat as at most 129x129 cells in 0..255, the strongest 255, and the side of a cell in pixels.

    The root is taken, or nothing but the middle would show.
    """
    cell = math.ceil(max(heat.shape) / LONGEST)
    height, width = (math.ceil(side / cell) * cell for side in heat.shape)
    padded = np.pad(heat, ((0, height - heat.shape[0]), (0, width - heat.shape[1])))
    cells = padded.reshape(height // cell, cell, width // cell, cell).mean((1, 3))
    strongest = float(cells.max())
    scaled = np.sqrt(cells / strongest) if strongest else cells
    return (255 * scaled).round().astype(np.uint8), cell


def dilated(layers: Sequence[nn.Module], rate: int) -> list[nn.Module]:
    """Copies whose convolutions have their taps `rate` times as far apart, and padding to match."""
    copies = [copy.deepcopy(layer) for layer in layers]
    for layer in copies:
        for module in layer.modules():
            if isinstance(module, nn.Conv2d) and isinstance(module.padding, tuple):
                module.dilation = tuple(rate * each for each in module.dilation)
                module.padding = tuple(rate * each for each in module.padding)
    return copies
