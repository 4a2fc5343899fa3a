"""Transforms of an image together with its mask.

A transform is a callable ``(image, mask) -> (image, mask)``: uint8 image (3, H, W), or (C, H, W)
where it is told so, uint8 mask (H, W) with `IGNORE` (255) for void. `Normalize` comes last and
makes float32 and int64 of them; a float32 image before it still counts 0..255. No transform makes a
label that was not there, except IGNORE beyond the picture, and none writes into what it was given.
All randomness comes from torch's global generator, so a seed fixes every picture.
"""

from segkit.transforms.colour import MEAN, STD, ColorJitter, Normalize
from segkit.transforms.geometry import Elastic, RandomFlip, RandomScaleCrop
from segkit.transforms.pair import Transform
from segkit.transforms.presets import Compose, FromV2, evaluate, train

__all__ = [
    "MEAN",
    "STD",
    "ColorJitter",
    "Compose",
    "Elastic",
    "FromV2",
    "Normalize",
    "RandomFlip",
    "RandomScaleCrop",
    "Transform",
    "evaluate",
    "train",
]
