"""Transforms that move pixels: image and mask always by the same map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from segkit.outputs import IGNORE
from segkit.transforms.colour import MEAN, check_colours
from segkit.transforms.pair import check_pair, dark_as_whole, uniform

Undersized = Literal["pad", "pad_bottom_right", "enlarge"]


def _window(
    size: int, wanted: int, scale: float, *, corner: bool, around: int | None = None
) -> tuple[slice, slice, slice]:
    """Place a window of ``wanted`` scaled pixels on a side of ``size`` source pixels.

    Returns:
        Where to read in the source, what to keep of the resized reading, and where that goes in
        the window. Uniform over all places where the window lies within the picture, or, where
        the scaled picture is the smaller one, the picture within the window (at its start where
        ``corner``). Where a source pixel is to be seen, ``around``, it is.
    """
    # The fewest source pixels that `interpolate` turns into ``wanted`` pixels or more.
    needed = math.ceil(wanted / scale)
    needed += int(needed * scale) < wanted  # wanted / scale may have been rounded down
    if needed <= size:
        first, last = 0, size - needed
        if around is not None:  # it lies in the window, anywhere
            first, last = max(first, around - needed + 1), min(last, around)
        start = first + int(torch.randint(last - first + 1, ()).item())
        return slice(start, start + needed), slice(wanted), slice(wanted)
    resized = max(1, int(size * scale))
    start = 0 if corner else int(torch.randint(wanted - resized + 1, ()).item())
    return slice(size), slice(resized), slice(start, start + resized)


@dataclass(frozen=True)
class RandomScaleCrop:
    """Resize by a random factor and cut a window, in the other order.

    The usual order resizes the whole picture, pads it and throws most of it away. Here the window
    is placed in source pixels and only what it sees is resized: the same distribution of scale
    and place (places lie on whole source pixels instead of whole scaled ones) for a fraction of
    the work. The outermost pixels of the window are not blended with those beyond it.

    Args:
        crop: (height, width) of the result in pixels.
        scale: (lowest, highest) factor, uniform between, one factor for both sides. PP-LiteSeg
            takes (0.125, 1.5) on Cityscapes and (0.5, 2.5) on CamVid.
        mean: colour in 0..1 of what lies beyond a picture smaller than the window; its mask is
            IGNORE there.
        antialias: average when shrinking, as PIL and torchvision do; without it pixels are
            skipped, as OpenCV's bilinear resize does. The mask takes the nearest label in both
            cases, so no new label is made.
        step: draw from lowest, lowest + step, ... up to highest alone, each as often; 0 draws any
            factor between.
        undersized: what becomes of a scaled picture that is smaller than the window. "pad" puts it
            at a uniform place of the window, "pad_bottom_right" in its upper left corner, as
            PaddleSeg, mmsegmentation and HRNet, both with void beside it; "enlarge" resizes it once
            more until it fills the window, as STDC: no void is made, and the detail that it lost
            when it was scaled stays lost.
        focus: a class of which a pixel lies in the window, where the mask has it (shrinking may
            lose what is that small); None for none.

    Raises:
        ValueError: sizes below 1, a scale that is not 0 < lowest <= highest, a step below 0 or
            wider than the scale, or another ``undersized``.

    Source: Peng et al., "PP-LiteSeg", 2022, section 4.1 (the ranges).
    """

    crop: tuple[int, int]
    scale: tuple[float, float]
    mean: Sequence[float] = MEAN
    antialias: bool = True
    step: float = 0.0
    undersized: Undersized = "pad"
    focus: int | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        crop, scale = self.crop, self.scale
        pairs = [isinstance(pair, tuple | list) and len(pair) == 2 for pair in (crop, scale)]
        if not pairs[0] or any(type(side) is not int or side < 1 for side in crop):
            raise ValueError(
                f"crop={crop!r}: give (height, width) in whole pixels, for example (512, 1024)"
            )
        if not pairs[1] or not 0 < scale[0] <= scale[1] < math.inf:
            raise ValueError(
                f"scale={scale!r}: give (lowest, highest) with 0 < lowest <= highest, for "
                "example (0.5, 2.5)"
            )
        if not 0 <= self.step <= (scale[1] - scale[0] or math.inf):
            raise ValueError(
                f"step={self.step!r}: give 0, or a step within the scale {scale!r}, such as 0.125"
            )
        if self.undersized not in get_args(Undersized):
            raise ValueError(
                f"undersized={self.undersized!r}: take one of {', '.join(get_args(Undersized))}"
            )
        check_colours("mean", self.mean)

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give a window of ``crop`` pixels; the dtypes stay."""
        check_pair(image, mask, len(self.mean))
        scale = self._draw()
        if self.undersized == "enlarge":
            scaled = [max(1, int(side * scale)) for side in mask.shape]
            filling = max(wanted / side for side, wanted in zip(scaled, self.crop, strict=True))
            if filling > 1:
                image, mask = self._resize(image, mask, scale)
                scale = filling * (1 + 1e-9)  # which rounding must not leave a pixel short
        corner = self.undersized == "pad_bottom_right"
        y, x = self._shown(mask)
        rows, keep_rows, to_rows = _window(
            mask.shape[0], self.crop[0], scale, corner=corner, around=y
        )
        columns, keep_columns, to_columns = _window(
            mask.shape[1], self.crop[1], scale, corner=corner, around=x
        )
        window, labels = self._resize(image[:, rows, columns], mask[rows, columns], scale)
        window = window[:, keep_rows, keep_columns]
        labels = labels[keep_rows, keep_columns]
        if labels.shape == tuple(self.crop):
            return window.contiguous(), labels.contiguous()
        beyond = torch.tensor([round(255 * value) for value in self.mean], dtype=image.dtype)
        canvas = beyond[:, None, None].repeat(1, *self.crop)
        canvas[:, to_rows, to_columns] = window
        void = torch.full(tuple(self.crop), IGNORE, dtype=torch.uint8)
        void[to_rows, to_columns] = labels
        return canvas, void

    def _shown(self, mask: Tensor) -> tuple[int | None, int | None]:
        """A pixel of the class to show; none where there is no such."""
        found = [] if self.focus is None else (mask == self.focus).nonzero()
        if not len(found):
            return None, None
        y, x = found[int(torch.randint(len(found), ()).item())]
        return int(y), int(x)

    def _draw(self) -> float:
        lowest, highest = self.scale
        if not self.step:
            return uniform(lowest, highest)
        steps = int((highest - lowest) / self.step + 1e-6)  # (2.1 - 0.5) / 0.1 is not quite 16
        return lowest + self.step * int(torch.randint(steps + 1, ()).item())

    def _resize(self, image: Tensor, mask: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        # A side of a tiny picture may shrink to no pixel at all: let it have one.
        factor = tuple(max(scale, (1 + 1e-9) / side) for side in mask.shape)
        # torch's uint8 kernel fails or errs where the result is one pixel wide (2.14): use float.
        narrow = image.dtype == torch.uint8 and int(mask.shape[1] * factor[1]) == 1
        resized = functional.interpolate(
            image[None].to(torch.float32) if narrow else image[None],
            scale_factor=factor,
            mode="bilinear",
            antialias=self.antialias,
        )[0]
        if narrow:
            resized = resized.round_().to(torch.uint8)
        elif resized.is_floating_point():
            resized = dark_as_whole(resized)
        labels = functional.interpolate(mask[None, None], scale_factor=factor, mode="nearest-exact")
        return resized, labels[0, 0]


@dataclass(frozen=True)
class RandomFlip:
    """Mirror image and mask, with probability ``p``.

    Args:
        p: probability, 0..1.
        vertical: turn upside down instead of left to right (microscopy, aerial images).
        channels: of the images.

    Raises:
        ValueError: p outside 0..1.
    """

    p: float = 0.5
    vertical: bool = False
    channels: int = field(default=3, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p={self.p!r}: a probability is in 0..1")

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give the pair, mirrored or as it was; shapes and dtypes stay."""
        check_pair(image, mask, self.channels)
        if torch.rand(()).item() >= self.p:
            return image, mask
        axis = -2 if self.vertical else -1
        return image.flip(axis), mask.flip(axis)


@dataclass(frozen=True)
class Elastic:
    """Bend image and mask smoothly, as U-Net does for tissue.

    Random displacements on a coarse grid, smoothed to one displacement per pixel by bicubic
    interpolation. The image is sampled bilinearly, the mask takes the nearest label; what lies
    beyond the border is the mirror image, for both. In `train` it follows the crop, where it costs
    least, and so mirrors at the border of the crop.

    Args:
        sigma: standard deviation of a displacement in pixels; 0 leaves everything in place.
        grid: displacements along each side, 2 or more; the outer ones sit on the corners.
        channels: of the images.

    Raises:
        ValueError: sigma below 0 or a grid below 2.

    Source: Ronneberger et al., "U-Net", MICCAI 2015, section 3.1: 3x3 grid, 10 pixels.
    """

    sigma: float = 10.0
    grid: int = 3
    channels: int = field(default=3, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < math.inf:
            raise ValueError(f"sigma={self.sigma!r}: give pixels, 0 or more; U-Net takes 10")
        if not isinstance(self.grid, int) or self.grid < 2:
            raise ValueError(f"grid={self.grid!r}: give 2 or more points a side; U-Net takes 3")

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give the bent pair; shapes and dtypes stay."""
        check_pair(image, mask, self.channels)
        height, width = mask.shape
        coarse = self.sigma * torch.randn(1, 2, self.grid, self.grid)
        shift = functional.interpolate(
            coarse, size=(height, width), mode="bicubic", align_corners=True
        )[0]
        # grid_sample counts a side as -1..1 from edge to edge: a pixel is 2 / side.
        x = (2 * (torch.arange(width) + shift[0]) + 1) / width - 1
        y = (2 * (torch.arange(height)[:, None] + shift[1]) + 1) / height - 1
        where = torch.stack((x, y), dim=-1)[None]
        sample = partial(
            functional.grid_sample, grid=where, padding_mode="reflection", align_corners=False
        )
        moved = sample(image[None].to(torch.float32), mode="bilinear")[0]
        labels = sample(mask[None, None].to(torch.float32), mode="nearest")[0, 0]
        if image.dtype == torch.uint8:
            moved = moved.round_().to(torch.uint8)
        else:
            moved = dark_as_whole(moved)
        return moved, labels.to(torch.uint8)
