"""CamVid: street scenes from a moving car, 480x360, in the version and split of the papers."""

from __future__ import annotations

import warnings
from pathlib import Path

from segkit.data.folder import FolderDataset
from segkit.data.pairs import Transform
from segkit.files import shown

CLASSES: tuple[str, ...] = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car",
    "Pedestrian", "Bicyclist",
)  # fmt: skip
"""The 11 classes of CamVid as SegNet merged them, in the order of their ids."""

PALETTE: tuple[tuple[int, int, int], ...] = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
"""The RGB colour of each class, 0..255, in the order of the ids."""

VOID_COLOUR: tuple[int, int, int] = (0, 0, 0)
"""The RGB colour in which CamVid's pictures of labels show void pixels."""

PAIRS = {"train": 367, "val": 101, "test": 233}
"""Pairs in each split of the papers."""

VOID = 11
"""The id by which the files mark void pixels."""


class CamVid(FolderDataset):
    """CamVid in 11 classes and void: 367 pairs to train, 101 to validate, 233 to test.

    The validation frames come from a video that is also in training: report the test split too.

    Args:
        root: the folder with ``train``, ``val`` and ``test``, each with ``images/`` and ``masks/``;
            images may be PNG or lossless WebP.
        split: "train", "val" or "test".
        transform: callable ``(image, mask) -> (image, mask)``; None for the raw pair.
        cache: keep what was decoded, 0.7 MB a pair.

    Raises:
        ValueError: an unknown split, a missing or damaged folder; see `FolderDataset`.

    Warns:
        UserWarning: another number of pairs than the papers use.

    Source: Brostow et al., "Segmentation and Recognition Using Structure from Motion Point
    Clouds", ECCV 2008; 11 classes and split: Badrinarayanan et al., "SegNet", PAMI 2017.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        transform: Transform | None = None,
        cache: bool = True,
    ) -> None:
        if split not in PAIRS:
            raise ValueError(f"split={split!r}: CamVid has {', '.join(map(repr, PAIRS))}")
        if not (Path(root) / split).is_dir():
            raise ValueError(
                f"no CamVid in {shown(root)}: expected {shown(Path(root) / split)} with images/ "
                "and masks/ (give the folder that holds the splits, such as data/camvid, not its "
                "parent); fetch it with: python data_scripts/camvid.py --out data/camvid"
            )
        super().__init__(
            root, split, classes=CLASSES, palette=PALETTE, ignore=VOID,
            transform=transform, cache=cache,
        )  # fmt: skip
        if len(self) != PAIRS[split]:
            warnings.warn(
                f"{shown(Path(root) / split)} holds {len(self)} pairs, the papers use "
                f"{PAIRS[split]}: figures will not compare; see python data_scripts/camvid.py "
                "--check",
                stacklevel=2,
            )
