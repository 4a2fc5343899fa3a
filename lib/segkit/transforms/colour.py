"""Transforms that change colours and leave every pixel where it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real

import torch
from torch import Tensor

from segkit.inputs import check_tensor
from segkit.transforms.pair import check_levels, check_pair, dark_as_whole, uniform

MEAN: tuple[float, float, float] = (0.485, 0.456, 0.406)
"""Mean colour of ImageNet, RGB in 0..1."""

STD: tuple[float, float, float] = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's colours, RGB in 0..1."""

_LUMA = torch.tensor([0.299, 0.587, 0.114])
_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def check_colours(name: str, colour: Sequence[float], channels: int | None = None) -> None:
    """Raise ValueError where ``colour`` is not a number in 0..1 for each channel."""
    given = isinstance(colour, Sequence) and len(colour) == (channels or len(colour)) > 0
    if not given or not all(isinstance(v, Real) and 0 <= v <= 1 for v in colour):
        raise ValueError(
            f"{name}={colour!r}: give three numbers (red, green, blue) in 0..1, or one for each "
            f"band of other images{f', here {channels}' if channels else ''}"
        )


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue at random: one matrix, one pass.

    Each change is linear in the colours (contrast moves them away from the picture's mean grey,
    saturation from each pixel's grey, hue turns them about the grey axis), so that the four are
    multiplied into one 3x3 matrix and an offset, and values are cut to 0..255 once, at the end.
    PIL and torchvision cut and round after each change.

    The image comes back as float32, 0..255, not rounded; `Normalize` takes it as it is. What is no
    RGB (grey, or more bands) has no saturation, so that it is left out, and no hue.

    Args:
        brightness: factor from [1 - brightness, 1 + brightness], not below 0.
        contrast: likewise.
        saturation: likewise.
        hue: turn from [-hue, hue], in full turns, at most 0.5; in the YIQ plane, where PIL and
            OpenCV turn HSV's.
        probability: of each of the four changes, apart from the others; one that is not made
            leaves its factor at 1, the hue at 0.
        channels: of the images.

    Raises:
        ValueError: a strength below 0 or not finite, a hue above 0.5 or of other images than RGB,
            or a probability outside 0..1.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.0
    probability: float = 1.0
    channels: int = field(default=3, repr=False)

    def __post_init__(self) -> None:
        if self.hue and self.channels != 3:
            raise ValueError(
                f"hue={self.hue!r}: images of {self.channels} channels have none: leave it at 0 "
                "(in a recipe jitter_hue=0)"
            )
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability={self.probability!r}: a probability is in 0..1")
        for name in ("brightness", "contrast", "saturation", "hue"):
            strength = getattr(self, name)
            highest = 0.5 if name == "hue" else math.inf
            if not 0 <= strength <= highest or strength == math.inf:
                raise ValueError(
                    f"{name}={strength!r}: a strength is 0 (none) or more, hue at most 0.5"
                )

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give float32 (C, H, W), 0..255, and the mask as it was."""
        check_pair(image, mask, self.channels)
        brightness, contrast, saturation = (
            self._draw(max(0.0, 1 - strength), 1 + strength, none=1.0)
            for strength in (self.brightness, self.contrast, self.saturation)
        )
        if self.channels != 3:
            return _of_bands(image, brightness, contrast), mask
        matrix = saturation * torch.eye(3) + (1 - saturation) * _LUMA
        if self.hue:
            matrix = _hue_matrix(self._draw(-self.hue, self.hue, none=0.0)) @ matrix
        pixels = image.to(torch.float32).reshape(3, -1)
        grey = brightness * (_LUMA @ pixels.mean(dim=1))
        matrix = brightness * contrast * matrix
        # Grey stays grey under saturation and hue: contrast's offset passes through them.
        offset = ((1 - contrast) * grey).expand(3, 1)
        pixels = torch.addmm(offset, matrix, pixels).clamp_(0, 255)
        return dark_as_whole(pixels).reshape(image.shape), mask

    def _draw(self, low: float, high: float, *, none: float) -> float:
        """A number of the range, or ``none``, which changes nothing."""
        if self.probability < 1 and uniform(0, 1) >= self.probability:
            return none
        return uniform(low, high)


def _of_bands(image: Tensor, brightness: float, contrast: float) -> Tensor:
    """The changes that need no colours; contrast moves each band away from the mean of all."""
    pixels = image.to(torch.float32)
    offset = (1 - contrast) * brightness * pixels.mean()
    return dark_as_whole((pixels * (brightness * contrast) + offset).clamp_(0, 255))


def _hue_matrix(turns: float) -> Tensor:
    """Rotate colours about the grey axis: shape (3, 3), RGB to RGB."""
    cos, sin = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    turn = torch.tensor([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
    return torch.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ


def _three_colours(image: Tensor) -> str:
    """How a picture of another shape gets its three colours in front."""
    if image.ndim == 3 and image.shape[-1] in (3, 4) and image.shape[0] > 4:
        return "; image.permute(2, 0, 1)" + "[:3]" * (image.shape[-1] == 4) + " puts them first"
    if image.ndim == 3 and image.shape[0] == 4:
        return "; image[:3] leaves out what is transparent"
    grey = image.ndim == 2 or (image.ndim == 3 and image.shape[0] == 1)
    return "; image.expand(3, -1, -1) makes them of grey" * grey


@dataclass(frozen=True)
class Normalize:
    """Make what a network takes: float32 image, int64 labels. Always the last transform.

    ``(image / 255 - mean) / std`` for an image that counts 0..255, uint8 or float32. Colours in
    0..1 are refused, and normalised ones: both would be scaled a second time.

    Args:
        mean: RGB in 0..1, or a number for each channel of other images.
        std: as mean, above 0.

    Raises:
        ValueError: not three numbers in 0..1, or as many as channels, or a std of 0.
    """

    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD

    def __post_init__(self) -> None:
        check_colours("std", self.std)
        check_colours("mean", self.mean, len(self.std))
        if 0 in self.std:
            raise ValueError(f"std={self.std!r}: must be above 0, each picture is divided by it")

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give float32 (C, H, W) and int64 (H, W)."""
        check_pair(image, mask, len(self.mean))
        return self._normalised(image), mask.to(torch.int64)

    def image(self, image: Tensor) -> Tensor:
        """Normalise an image that has no mask, (C, H, W) of 0..255, or a batch, to float32.

        Raises:
            ValueError: no tensor, other than C channels, or levels that do not count 0..255.
        """
        channels = len(self.mean)
        check_tensor("image", image, f"colours of 0..255, shape ({channels}, H, W)")
        if image.ndim < 3 or image.shape[-3] != channels or image.is_complex():
            wanted = "three colours" if channels == 3 else f"{channels} channels"
            raise ValueError(
                f"image is {image.dtype} {tuple(image.shape)}: give {wanted}, ({channels}, H, W), "
                "of 0..255" + _three_colours(image) * (channels == 3)
            )
        check_levels(image)
        return self._normalised(image)

    def _normalised(self, image: Tensor) -> Tensor:
        std = torch.tensor(self.std, device=image.device)[:, None, None]
        mean = torch.tensor(self.mean, device=image.device)[:, None, None]
        pixels = image.to(torch.float32, memory_format=torch.contiguous_format)
        return torch.mul(pixels, 1 / (255 * std)).sub_(mean / std)
