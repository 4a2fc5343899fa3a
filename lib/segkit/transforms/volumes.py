"""Transforms of a volume together with its labels.

A transform is a callable ``(image, mask) -> (image, mask)``: float32 image (C, D, H, W), uint8 mask
(D, H, W) with `IGNORE` for void. `ToLabels` comes last and makes int64 of the mask. All randomness
comes from torch's global generator, as in `segkit.transforms`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from segkit.inputs import check_tensor
from segkit.outputs import IGNORE
from segkit.transforms.pair import uniform
from segkit.transforms.presets import Compose


def check_volume(image: Tensor, mask: Tensor) -> None:
    """Refuse what is not a volume with its labels.

    Args:
        image: float32 (C, D, H, W).
        mask: uint8 (D, H, W).

    Raises:
        ValueError: no tensor, a wrong dtype or shape, no voxels, or two sizes.
    """
    check_tensor("image", image, "float32 (C, D, H, W)")
    check_tensor("mask", mask, "uint8 (D, H, W)")
    right = image.dtype == torch.float32 and image.ndim == 4 and mask.dtype == torch.uint8
    if not right or image.shape[1:] != mask.shape or not image.numel():
        raise ValueError(
            f"image is {image.dtype} {tuple(image.shape)} and mask {mask.dtype} "
            f"{tuple(mask.shape)}: a transform of volumes takes float32 (C, D, H, W) and uint8 "
            "(D, H, W) of the same size"
        )


def standardize(image: Tensor) -> Tensor:
    """A volume less its mean, over its standard deviation, each channel by itself.

    The scale of MRI is arbitrary, another one for each scanner and each volume.

    Args:
        image: float32 (C, D, H, W); a channel of one value becomes 0.

    Source: Isensee et al., "No New-Net", 2018, section 2.1 (there of the voxels of the brain).
    """
    std, mean = torch.std_mean(image, dim=(1, 2, 3), keepdim=True, correction=0)
    return (image - mean) / torch.where(std > 0, std, 1.0)


@dataclass(frozen=True)
class Standardize:
    """`standardize` as a transform."""

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give the volume standardized; the mask stays."""
        check_volume(image, mask)
        return standardize(image), mask


@dataclass(frozen=True)
class ToLabels:
    """The mask as losses take it: int64."""

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give the pair, its mask as int64."""
        return image.contiguous(), mask.long()


@dataclass(frozen=True)
class RandomPatch:
    """Cut a patch, as often as wished around a labelled voxel, turned, scaled, bent and mirrored.

    Where a patch lies is uniform over all places within the volume, or, along a side that is
    shorter than the patch, over all places that hold the whole side. What lies beyond is 0, which
    after `Standardize` is the mean, and IGNORE. Turning, scaling, bending and mirroring are one
    map, so that the volume is sampled once: trilinearly, the mask by the nearest label.

    Args:
        size: (depth, height, width) in voxels.
        foreground: share of the patches that are centred on a voxel of a class other than 0: of
            the classes of a volume each as often, of its voxels each as often.
        scale: (lowest, highest) factor of the volume's size.
        rotation: largest turn about each axis, in degrees. It is one of voxels, and so for voxels
            that are nearly cubes.
        elastic: standard deviation of random displacements on a 3x3x3 grid, in voxels.
        flip: probability of a mirror image along depth, height and width.
        p: share of the patches that are turned, scaled and bent; the others keep every voxel.

    Raises:
        ValueError: a number outside its range.

    Source: Isensee et al., "nnU-Net", Nature Methods 2021, online methods: a third of the patches
        around the foreground, and the kinds of augmentation; Çiçek et al., "3D U-Net", MICCAI 2016,
        section 3.3 (rotation, scaling, elastic deformation).
    """

    size: tuple[int, int, int]
    foreground: float = 1 / 3
    scale: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    elastic: float = 0.0
    flip: tuple[float, float, float] = (0.0, 0.0, 0.0)
    p: float = 0.5

    def __post_init__(self) -> None:
        if len(self.size) != 3 or any(type(side) is not int or side < 1 for side in self.size):
            raise ValueError(
                f"crop={self.size!r}: give (depth, height, width) in whole voxels, such as "
                "(64, 64, 64)"
            )
        if len(self.flip) != 3 or not all(
            0 <= p <= 1 for p in (*self.flip, self.foreground, self.p)
        ):
            raise ValueError(
                f"flip={self.flip!r}, foreground={self.foreground!r}, p={self.p!r}: probabilities "
                "are in 0..1, and flip has one for each axis"
            )
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise ValueError(
                f"scale={self.scale!r}: give (lowest, highest) with 0 < lowest <= highest"
            )
        if not 0 <= self.rotation <= 180 or not 0 <= self.elastic < math.inf:
            raise ValueError(
                f"rotation={self.rotation!r}, elastic={self.elastic!r}: give degrees up to 180, "
                "and voxels, 0 or more"
            )

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give a patch of ``size``; the dtypes stay."""
        check_volume(image, mask)
        starts = self._place(mask)
        if self._moves and uniform(0, 1) < self.p:
            image, mask = self._sample(image, mask, starts)
        else:
            image, mask = self._cut(image, mask, starts)
        mirrored = [
            axis for axis, p in zip((-3, -2, -1), self.flip, strict=True) if uniform(0, 1) < p
        ]
        return image.flip(mirrored), mask.flip(mirrored)

    @property
    def _moves(self) -> bool:
        return bool(self.rotation or self.elastic) or self.scale != (1.0, 1.0)

    def _place(self, mask: Tensor) -> list[int]:
        """The first voxel of the patch along each axis; negative where it begins outside."""
        low = [min(0, side - size) for side, size in zip(mask.shape, self.size, strict=True)]
        high = [max(0, side - size) for side, size in zip(mask.shape, self.size, strict=True)]
        if uniform(0, 1) < self.foreground:
            held = mask.unique()
            if len(classes := held[(held != 0) & (held != IGNORE)]):
                label = classes[torch.randint(len(classes), ())]
                voxels = (mask == label).nonzero()
                centre = voxels[torch.randint(len(voxels), ())].tolist()
                around = [c - size // 2 for c, size in zip(centre, self.size, strict=True)]
                within = zip(around, low, high, strict=True)
                return [min(max(start, least), most) for start, least, most in within]
        spans = zip(low, high, strict=True)
        return [least + int(torch.randint(most - least + 1, ())) for least, most in spans]

    def _cut(self, image: Tensor, mask: Tensor, starts: Sequence[int]) -> tuple[Tensor, Tensor]:
        inside, before, after = [], [], []
        for start, size, side in zip(starts, self.size, mask.shape, strict=True):
            inside.append(slice(max(0, start), min(side, start + size)))
            before.append(max(0, -start))
            after.append(max(0, start + size - side))
        pads = [n for pair in zip(before[::-1], after[::-1], strict=True) for n in pair]
        patch, labels = image[(slice(None), *inside)], mask[tuple(inside)]
        return functional.pad(patch, pads), functional.pad(labels, pads, value=IGNORE)

    def _sample(self, image: Tensor, mask: Tensor, starts: Sequence[int]) -> tuple[Tensor, Tensor]:
        size = torch.tensor(self.size, dtype=torch.float32)
        middle = (size - 1) / 2
        axes = [torch.arange(side, dtype=torch.float32) for side in self.size]
        offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) - middle
        turn = _rotation([math.radians(uniform(-self.rotation, self.rotation)) for _ in range(3)])
        where = offsets @ (turn / uniform(*self.scale)).T + middle + torch.tensor(starts)
        if self.elastic:
            coarse = self.elastic * torch.randn(1, 3, 3, 3, 3)
            shift = functional.interpolate(coarse, self.size, mode="trilinear", align_corners=True)
            where = where + shift[0].movedim(0, -1)
        sides = torch.tensor(mask.shape, dtype=torch.float32)
        # grid_sample counts a side as -1..1 from edge to edge, and its axes from the last.
        grid = ((2 * where + 1) / sides - 1).flip(-1)[None]
        options: dict[str, Any] = {"grid": grid, "align_corners": False}
        patch = functional.grid_sample(image[None], mode="bilinear", **options)[0]
        # What lies beyond is sampled as 0: labels are counted from 1 meanwhile.
        labels = functional.grid_sample(mask[None, None].float() + 1, mode="nearest", **options)[
            0, 0
        ]
        labels = torch.where(labels == 0, IGNORE, labels - 1)
        return patch, labels.round().to(torch.uint8)


@dataclass(frozen=True)
class IntensityJitter:
    """Change a standardized volume's contrast, brightness and gamma, each channel by itself.

    Args:
        strength: contrast is multiplied by a factor of [1 - strength, 1 + strength], up to
            ``strength`` standard deviations are added or taken off, and between its smallest and
            largest value it is raised to a power of the same range as the contrast.

    Raises:
        ValueError: a strength outside 0 <= strength < 1.
    """

    strength: float

    def __post_init__(self) -> None:
        if not 0 <= self.strength < 1:
            raise ValueError(f"jitter={self.strength!r}: of volumes give 0 or more, below 1")

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give the volume with other values; the mask stays."""
        check_volume(image, mask)
        contrast, brightness, power = self.strength * (2 * torch.rand(3, len(image), 1, 1, 1) - 1)
        low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
        spread = (high - low).clamp_min(torch.finfo(torch.float32).tiny)
        image = low + spread * ((image - low) / spread) ** (1 + power)
        return image * (1 + contrast) + brightness, mask


def train_volumes(
    crop: tuple[int, int, int],
    scale: tuple[float, float],
    *,
    foreground: float = 1 / 3,
    rotation: float = 0.0,
    elastic: float = 0.0,
    flip: float | tuple[float, float, float] = 0.0,
    jitter: float = 0.0,
) -> Compose:
    """Build the transform of training on volumes: standardize, cut a patch, change its values.

    Args:
        crop: (depth, height, width) of the patch in voxels.
        scale: as `RandomPatch` takes it, and so are foreground, rotation and elastic.
        foreground: share of the patches around a labelled voxel.
        rotation: degrees.
        elastic: voxels.
        flip: probability of a mirror image along each axis, or along all of them.
        jitter: strength of `IntensityJitter`; 0 for none.

    Returns:
        float32 (C, D, H, W) and uint8 (D, H, W) to float32 (C, d, h, w) and int64 (d, h, w).

    Raises:
        ValueError: any value outside its range.
    """
    flips = flip if isinstance(flip, tuple) else (flip, flip, flip)
    patch = RandomPatch(crop, foreground, scale, rotation, elastic, flips)
    steps: list[Any] = [Standardize(), patch]
    return Compose(*steps, *[IntensityJitter(jitter)] * bool(jitter), ToLabels())


def evaluate_volumes() -> Compose:
    """Build the transform of evaluation: standardize, at the volume's own size."""
    return Compose(Standardize(), ToLabels())


def _rotation(angles: Sequence[float]) -> Tensor:
    """A turn about depth, then height, then width, by radians, (3, 3)."""
    whole = torch.eye(3)
    for axis, angle in enumerate(angles):
        one, two = (k for k in range(3) if k != axis)
        turn = torch.eye(3)
        turn[one, one] = turn[two, two] = math.cos(angle)
        turn[one, two], turn[two, one] = -math.sin(angle), math.sin(angle)
        whole = turn @ whole
    return whole
