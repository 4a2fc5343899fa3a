"""Cityscapes: street scenes of 50 cities, 2048x1024, in the 19 classes that are evaluated."""

from __future__ import annotations

from pathlib import Path

from segkit.data.listed import ListedDataset, check_files, find_files
from segkit.files import shown
from segkit.outputs import IGNORE

CLASSES: tuple[str, ...] = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle",
    "bicycle",
)  # fmt: skip
"""The 19 classes of Cityscapes that are evaluated, in the order of their train ids."""

PALETTE: tuple[tuple[int, int, int], ...] = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
    (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
    (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
"""The RGB colour of each class, 0..255, in the order of the train ids."""

PAIRS = {"train": 2975, "val": 500, "test": 1525}
"""Finely labelled images in each split; the labels of the test split are not public."""

SOURCE = "https://www.cityscapes-dataset.com/downloads"
"""Where to get the data, after registration."""

EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids of the files, in the order of the 19 classes (the benchmark's train ids).

Source: cityscapesscripts/helpers/labels.py; the other ids up to 33 are void.
"""

_IDS = {value: IGNORE for value in (*range(34), IGNORE)}  # -1, a number plate, is 255 in a PNG
_IDS |= {value: label for label, value in enumerate(EVALUATED)}


class Cityscapes(ListedDataset):
    """Cityscapes in 19 classes and void: 2,975 pairs to train, 500 to validate, 1,525 to test.

    The files hold ids of 34 labels (``*_gtFine_labelIds.png``), which are mapped to the 19 classes
    here; no converted files are needed. Masks of the test split are void everywhere.

    Args:
        root: the folder with leftImg8bit/ and gtFine/, each with split/city/ in it.
        split: "train", "val" or "test".
        transform: callable ``(image, mask) -> (image, mask)``; None for the raw pair.
        cache: keep what was decoded: 8.4 MB a pair, 25 GB for the training split.

    Raises:
        ValueError: an unknown split, a missing folder, no images, an image without its labels; see
            also `ListedDataset`.

    Warns:
        UserWarning: another number of pairs than the papers use.

    Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR
    2016.
    """

    name = "Cityscapes"
    classes = CLASSES
    palette = PALETTE
    usual = PAIRS
    ids = _IDS

    def _find(self, root: Path, split: str) -> list[tuple[Path, Path | None]]:
        images, labels = root / "leftImg8bit" / split, root / "gtFine" / split
        needed = [("leftImg8bit_trainvaltest.zip", images)]
        if split != "test":
            needed.append(("gtFine_trainvaltest.zip", labels))
        for archive, folder in needed:
            if not folder.is_dir():
                raise ValueError(
                    f"no Cityscapes in {shown(root)}: expected {shown(folder)} with a folder for "
                    f"each city; unpack {archive} there, from {SOURCE}"
                )
        found = find_files(images, "*/*_leftImg8bit.png")
        if not found:
            raise ValueError(
                f"{shown(images)} has no file */*_leftImg8bit.png: unpack {needed[0][0]} again, "
                f"from {SOURCE}"
            )
        check_files(found, f"unpack {needed[0][0]} again, from {SOURCE}")
        if split == "test":
            return [(image, None) for image in found]
        names = (image.stem.replace("_leftImg8bit", "_gtFine_labelIds") for image in found)
        masks = [
            labels / image.parent.name / f"{name}.png"
            for image, name in zip(found, names, strict=True)
        ]
        check_files(masks, f"unpack gtFine_trainvaltest.zip again, from {SOURCE}")
        return [*zip(found, masks, strict=True)]

    def stem(self, index: int) -> str:
        """Return the name of a scene: city, sequence and frame."""
        return super().stem(index).removesuffix("_leftImg8bit")
