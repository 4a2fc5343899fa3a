"""Transforms one after the other: the presets for training and evaluation, and the way to v2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision import tv_tensors

from segkit.transforms.colour import MEAN, STD, ColorJitter, Normalize
from segkit.transforms.geometry import Elastic, RandomFlip, RandomScaleCrop, Undersized
from segkit.transforms.pair import Transform, check_pair


@dataclass(frozen=True, init=False, repr=False)
class Compose:
    """Apply transforms one after the other.

    Args:
        transforms: callables ``(image, mask) -> (image, mask)``; none at all gives back its input.

    Raises:
        ValueError: something that cannot be called.
    """

    transforms: tuple[Transform, ...]

    def __init__(self, *transforms: Transform) -> None:
        for transform in transforms:
            if not callable(transform):
                raise ValueError(
                    f"{transform!r} is no transform: give callables (image, mask) -> (image, mask)"
                )
        object.__setattr__(self, "transforms", transforms)

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give what the last transform gives."""
        for transform in self.transforms:
            image, mask = transform(image, mask)
        return image, mask

    def __repr__(self) -> str:
        return "Compose(\n" + "".join(f"    {one!r},\n" for one in self.transforms) + ")"


@dataclass(frozen=True)
class FromV2:
    """Use any transform of ``torchvision.transforms.v2`` on image and mask.

    v2 fills new pixels of a mask with 0, which is a class: a transform that can make some needs
    ``fill={tv_tensors.Image: 0, tv_tensors.Mask: 255}``.

    Args:
        transform: a v2 transform; it is given a ``tv_tensors.Image`` and a ``tv_tensors.Mask``.

    Example:
        >>> from torchvision.transforms import v2
        >>> FromV2(v2.RandomGrayscale(p=0.1))
        FromV2(transform=RandomGrayscale(p=0.1))
    """

    transform: Transform

    def __post_init__(self) -> None:
        if not callable(self.transform):
            raise ValueError(
                f"{self.transform!r:.80} is no transform: give one of torchvision's v2"
            )

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give what the v2 transform gives, as plain tensors."""
        check_pair(image, mask)
        image, mask = self.transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
        return image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)


def train(
    crop: tuple[int, int],
    scale: tuple[float, float],
    *,
    flip: float = 0.5,
    jitter: float = 0.4,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    elastic: float | None = None,
    hue: float = 0.0,
    jitter_probability: float = 1.0,
    scale_step: float = 0.0,
    undersized: Undersized = "pad",
    antialias: bool = True,
    focus: int | None = None,
) -> Compose:
    """Build the transform of training: scale and crop, bend, flip, jitter, normalise.

    Args:
        crop: (height, width) in pixels.
        scale: (lowest, highest) factor of the random resize.
        flip: probability of a left-right flip, 0..1.
        jitter: strength of brightness, contrast and saturation; 0 for none.
        mean: colour taken off, RGB in 0..1, or a number for each of C other bands; also the colour
            beyond the picture.
        std: colour divided by, RGB in 0..1.
        elastic: standard deviation of U-Net's displacements in pixels; None for no bending.
        hue: largest turn of the hue, see `ColorJitter`.
        jitter_probability: of each change of colour.
        scale_step: of the random resize, see `RandomScaleCrop`, as the next two.
        undersized: what becomes of a picture that is smaller than the crop.
        antialias: whether shrinking averages.
        focus: a class that crops show where there is some of it.

    Returns:
        uint8 (C, H, W) and uint8 (H, W) to float32 (C, h, w) and int64 (h, w).

    Raises:
        ValueError: any value outside its range.

    Source: Peng et al., "PP-LiteSeg", 2022, section 4.1; Ronneberger et al., "U-Net", 2015.
    """
    steps: list[Transform] = [
        RandomScaleCrop(
            crop,
            scale,
            mean=mean,
            antialias=antialias,
            step=scale_step,
            undersized=undersized,
            focus=focus,
        )  # fmt: skip
    ]
    if elastic is not None:
        steps.append(Elastic(sigma=elastic, channels=len(mean)))
    steps.append(RandomFlip(flip, channels=len(mean)))
    if jitter or hue:
        steps.append(ColorJitter(jitter, jitter, jitter, hue, jitter_probability, len(mean)))
    return Compose(*steps, Normalize(mean=mean, std=std))


def evaluate(
    *,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> Compose:
    """Build the transform of evaluation: normalise, at the picture's own size.

    Args:
        mean: colour taken off, RGB in 0..1.
        std: colour divided by, RGB in 0..1.

    Returns:
        uint8 (C, H, W) and uint8 (H, W) to float32 (C, H, W) and int64 (H, W).

    Raises:
        ValueError: not three numbers in 0..1, or a std of 0.
    """
    return Compose(Normalize(mean=mean, std=std))
