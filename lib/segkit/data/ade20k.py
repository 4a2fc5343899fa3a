"""ADE20K in the 150 classes of the scene parsing benchmark: scenes of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from segkit.data.classes import ADE20K_CLASSES, ADE20K_PALETTE
from segkit.data.layout import read_lines
from segkit.data.listed import ListedDataset, check_files, check_split, find_files
from segkit.outputs import IGNORE

PAIRS = {"train": 20_210, "val": 2000}
"""Pairs in each split."""

SOURCE = "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip"
"""Where to get the data."""

_FOLDERS = {"train": "training", "val": "validation"}
# The files count classes from 1; 0 is everything else and is not evaluated.
_IDS = {0: IGNORE, **{value: value - 1 for value in range(1, 151)}}


class ADE20K(ListedDataset):
    """ADE20K, 150 classes and void: 20,210 pairs to train and 2,000 to validate, of many sizes.

    Args:
        root: the folder ADEChallengeData2016, or the one that it is in:

                images/{training,validation}/*.jpg, annotations/{training,validation}/*.png

            Where it has objectInfo150.txt, the names of the classes are the first ones there.
        split: "train" or "val".
        transform: callable ``(image, mask) -> (image, mask)``; None for the raw pair.
        cache: keep what was decoded, 1.3 MB a pair on average.

    Raises:
        ValueError: an unknown split, a missing folder, no images, an image without its labels, or
            an objectInfo150.txt of another number of classes; see also `ListedDataset`.

    Warns:
        UserWarning: another number of pairs than the papers use.

    Source: Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017; colours: the
    benchmark's own, of which two classes share one.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        transform: Callable[[Tensor, Tensor], tuple[Any, Any]] | None = None,
        cache: bool = False,
    ) -> None:
        check_split(split, PAIRS, "ADE20K")
        root = Path(root)
        inner = root / "ADEChallengeData2016"
        folder = inner if inner.is_dir() else root
        images = folder / "images" / _FOLDERS[split]
        labels = folder / "annotations" / _FOLDERS[split]
        for part in (images, labels):
            if not part.is_dir():
                raise ValueError(f"no ADE20K in {root}: expected {part}; unpack {SOURCE} there")
        pairs = [(path, labels / f"{path.stem}.png") for path in find_files(images, "*.jpg")]
        if not pairs:
            raise ValueError(f"{images} has no .jpg file: unpack {SOURCE} again")
        for files in zip(*pairs, strict=True):
            check_files(files, f"unpack {SOURCE} again")
        super().__init__(
            root,
            split,
            pairs,
            classes=_names(folder / "objectInfo150.txt"),
            palette=ADE20K_PALETTE,
            ids=_IDS,
            usual=PAIRS[split],
            transform=transform,
            cache=cache,
        )


def _names(listing: Path) -> tuple[str, ...]:
    """The first name of each class: the last column, after a line of headings."""
    if not listing.is_file():
        return ADE20K_CLASSES
    rows = read_lines(listing)[1:]
    names = tuple(row.split("\t")[-1].split(",")[0].strip() for row in rows)
    if len(names) != len(ADE20K_CLASSES):
        raise ValueError(
            f"{listing} names {len(names)} classes instead of {len(ADE20K_CLASSES)}: unpack "
            f"{SOURCE} again, or remove the file"
        )
    return names
