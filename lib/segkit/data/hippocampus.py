"""The hippocampus in MRI: Task04 of the Medical Segmentation Decathlon.

Volumes of about 35x51x35 voxels of 1 mm around one hippocampus, whose anterior and posterior part
are labelled. A. L. Simpson et al., "A large annotated medical image dataset for the development and
evaluation of segmentation algorithms", 2019, https://arxiv.org/abs/1902.09063.
"""

from __future__ import annotations

from pathlib import Path

from segkit.data.pairs import Transform
from segkit.data.volumes import VolumeDataset, stem_of
from segkit.files import shown

CLASSES = ("background", "anterior", "posterior")
PALETTE = ((0, 0, 0), (230, 120, 30), (60, 140, 220))

TEST = (1, 51, 105, 160, 210, 252, 304, 349)
"""Cases that are held out, of those in the folder: `hippocampus_001` and so on. Ours: every fourth
of a subset of 32."""
VAL = (33, 149, 222, 230)
"""Cases to validate on; ours: ``random.Random(0).sample(rest, 4)`` of that subset. All other cases
of the folder are trained on."""


class Hippocampus(VolumeDataset):
    """The hippocampus, split by case number.

    Args:
        root: the folder: the Decathlon's own, with imagesTr/ and labelsTr/, or one of npz.
        split: "train", "val" or "test".
        transform: callable ``(image, mask) -> (image, mask)``.
        cache: keep what was read.

    Raises:
        ValueError: another split, no volumes, or none of the split.
    """

    def __init__(
        self,
        root: str | bytes | Path,
        split: str,
        *,
        transform: Transform | None = None,
        cache: bool = True,
    ) -> None:
        chosen = {"val": _stems(VAL), "test": _stems(TEST)}
        if split != "train" and split not in chosen:
            raise ValueError(f"split={split!r}: the hippocampus has 'train', 'val' and 'test'")
        super().__init__(root, classes=CLASSES, palette=PALETTE, transform=transform, cache=cache)
        self.split = split
        out = _stems(VAL) | _stems(TEST)
        self._pairs = [
            pair
            for pair in self._pairs
            if (
                stem_of(pair[0]) in chosen[split]
                if split in chosen
                else stem_of(pair[0]) not in out
            )
        ]
        if not self._pairs:
            raise ValueError(
                f"{shown(self.root)} holds no volume of {split!r}, which are called "
                f"hippocampus_{(VAL if split == 'val' else TEST)[0]:03d} and so on"
            )


def _stems(numbers: tuple[int, ...]) -> set[str]:
    return {f"hippocampus_{number:03d}" for number in numbers}
