"""The embedded data set: synthetic street scenes with exact labels, drawn from a seed.

The classes and their order are CamVid's. A scene is composed in metres and painted
from far to near, so that things shrink with distance and hide one another, and labels are exact to
the pixel. As in CamVid a fence counts as one region although one sees through it, a bus counts as a
Car, a hedge and a lawn as Tree. Void (255) are things of no class: litter bins, and the bonnet of
the car that carries the camera.
"""

from __future__ import annotations

import hashlib
import operator

import numpy as np
import torch
from torch import Tensor

from segkit.data.camvid import CLASSES
from segkit.data.pairs import PairDataset, Transform
from segkit.data.streets.scene import draw_street

PALETTE: tuple[tuple[int, int, int], ...] = (
    (146, 200, 250), (116, 61, 50), (255, 234, 127), (77, 78, 81), (217, 191, 206), (61, 136, 68),
    (255, 132, 32), (167, 157, 142), (17, 31, 139), (206, 9, 114), (39, 161, 173),
)  # fmt: skip
"""The RGB colour of each class, 0..255, in the order of the ids.

Not CamVid's, in which a deuteranope cannot tell a pedestrian from a building: any two differ for
every kind of sight, and in grey those that touch often do; see `segbook.figures.palettes`.
"""

SPLITS = {"train": 400, "val": 100, "test": 100}
"""The splits, and how many scenes each has unless told otherwise."""

VERSION = 1
"""Changes whenever the same arguments give other scenes; part of the manifest."""


class SyntheticStreets(PairDataset):
    """Synthetic street scenes with exact labels in CamVid's 11 classes; needs no file.

    Scene ``i`` is a pure function of (split, seed, i, size). The splits draw from separate random
    streams, so that no street of ``val`` or ``test`` is one of ``train``.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        size: (H, W) in pixels, each 16 or more. Every size of one shape shows the same scenes, a
            larger one with more detail; a shape other than 5:4 shows a crop of them.
        length: how many scenes; None for the split's own (400, 100, 100). A longer set begins with
            the scenes of a shorter one.
        seed: another seed, 0 or more, is another town.
        transform: callable ``(image, mask) -> (image, mask)``; None for the raw pair.
        cache: keep what was drawn, H*W*4 bytes a scene.

    Attributes:
        classes: the names of CamVid's 11 classes, in the order of the ids.
        palette: RGB of each class, 0..255.
        num_classes: 11; void is not counted.

    Raises:
        ValueError: an unknown split; a size, length or seed out of range.

    Example:
        >>> image, mask = SyntheticStreets("val")[0]
        >>> image.shape, mask.shape
        (torch.Size([3, 128, 160]), torch.Size([128, 160]))
    """

    classes: tuple[str, ...] = CLASSES
    palette: tuple[tuple[int, int, int], ...] = PALETTE

    def __init__(
        self,
        split: str = "train",
        *,
        size: tuple[int, int] = (128, 160),
        length: int | None = None,
        seed: int = 0,
        transform: Transform | None = None,
        cache: bool = True,
    ) -> None:
        super().__init__(transform, cache)
        if split not in SPLITS:
            raise ValueError(f"split={split!r}: choose one of {', '.join(map(repr, SPLITS))}")
        if not isinstance(size, tuple | list) or len(size) != 2:
            raise ValueError(f"size={size!r}: give (height, width) in pixels")
        self.size = (_whole("height", size[0], 16), _whole("width", size[1], 16))
        self.split, self.seed = split, _whole("seed", seed, 0)
        self._length = SPLITS[split] if length is None else _whole("length", length, 1)

    def __len__(self) -> int:
        return self._length

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        stream = list(SPLITS).index(self.split)
        image, labels = draw_street(np.random.default_rng([self.seed, stream, index]), self.size)
        return torch.from_numpy(image), torch.from_numpy(labels)

    def stem(self, index: int) -> str:
        """Return the name of a scene, such as ``val_0_00007``: split, seed and number."""
        return f"{self.split}_{self.seed}_{self._index(index):05d}"

    def manifest(self) -> str:
        """Return a fingerprint of the data: sha256 in hexadecimal.

        It covers the arguments that shape the scenes, and the version of the painter.
        """
        what = f"SyntheticStreets {VERSION} {self.split} {self.size} {self._length} {self.seed}"
        return hashlib.sha256(what.encode()).hexdigest()

    def __repr__(self) -> str:
        height, width = self.size
        return (
            f"{type(self).__name__}({self.split!r}, seed={self.seed}: {len(self)} scenes of "
            f"{height}x{width}, {self.num_classes} classes)"
        )


def _whole(name: str, value: int, least: int) -> int:
    """The value as an int, or a ValueError."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"{name}={value!r}: give a whole number, {least} or more")
    return operator.index(value)
