"""PASCAL VOC 2012: photographs of 20 kinds of objects; with SBD's masks where they are there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segkit.data.classes import distinct
from segkit.data.images import MAX_BYTES
from segkit.data.layout import read_lines
from segkit.data.listed import ListedDataset, check_files, find_files
from segkit.files import open_regular, shown
from segkit.outputs import IGNORE

CLASSES: tuple[str, ...] = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa",
    "train", "tv/monitor",
)  # fmt: skip
"""The 21 classes of PASCAL VOC, in the order of their ids."""

PALETTE: tuple[tuple[int, int, int], ...] = tuple(distinct(label) for label in range(len(CLASSES)))
"""The RGB colour of each class, 0..255, as its PNG masks show it."""

PAIRS = {"train": 1464, "train_aug": 10_582, "trainval": 2913, "val": 1449}
"""Pairs in each split of the papers."""

SOURCE = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
"""Where to get the images and masks."""

SBD_SOURCE = "http://home.bharathh.info/pubs/codes/SBD/download.html"
"""Where to get the Semantic Boundaries Dataset."""


class VOC2012(ListedDataset):
    """VOC 2012 in 21 classes, background included, with the void outlines of objects as IGNORE.

    The papers from DeepLab on train on ``train_aug``: the images of which VOC's train list or the
    Semantic Boundaries Dataset (SBD) has a mask, without those of VOC's val list. SBD labels 11,355
    images (8,498 + 2,857 in its own two lists), of which 9,118 are in neither list of VOC; with the
    1,464 of VOC's train list they are 10,582. Images of VOC's train list keep VOC's own masks,
    which outline more finely than SBD's.

    Args:
        root: the folder in which VOCdevkit/VOC2012 is, or VOC2012 itself:

                VOC2012/JPEGImages/*.jpg, SegmentationClass/*.png
                VOC2012/ImageSets/Segmentation/{train,val,trainval}.txt

            For ``train_aug``, in ``root`` or beside VOCdevkit or in VOC2012, either the masks
            ``SegmentationClassAug/*.png``, or SBD as it unpacks, ``benchmark_RELEASE/dataset`` with
            train.txt, val.txt and ``cls/*.mat``, which needs scipy.
        split: "train", "train_aug", "trainval" or "val"; the test masks are not public.
        transform: callable ``(image, mask) -> (image, mask)``; None for the raw pair.
        cache: keep what was decoded, 0.7 MB a pair.

    Raises:
        ValueError: an unknown split, a missing folder or file; see also `ListedDataset`.
        ModuleNotFoundError: SBD's .mat files without scipy.

    Warns:
        UserWarning: another number of pairs than the papers use.

    Source: Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", IJCV
    2015; SBD: Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011; the 10,582:
    Chen et al., "DeepLab", PAMI 2018, section 4.1.
    """

    name = "VOC 2012"
    classes = CLASSES
    palette = PALETTE
    usual = PAIRS
    ids = {**{value: value for value in range(21)}, IGNORE: IGNORE}

    def _find(self, root: Path, split: str) -> list[tuple[Path, Path | None]]:
        places = [root / "VOCdevkit" / "VOC2012", root / "VOC2012", root]
        folder = next((place for place in places if (place / "JPEGImages").is_dir()), None)
        if folder is None:
            raise ValueError(
                f"no VOC 2012 in {shown(root)}: expected {shown(places[0])} with JPEGImages/, "
                f"SegmentationClass/ and ImageSets/Segmentation/; unpack {SOURCE} there"
            )
        own = folder / "SegmentationClass"
        if split == "train_aug":
            masks = _augmented(root, folder)
        else:
            masks = {stem: own / f"{stem}.png" for stem in _stems(folder, split)}
        pairs = [(folder / "JPEGImages" / f"{stem}.jpg", mask) for stem, mask in masks.items()]
        cure = f"the folder is incomplete; unpack {SOURCE} again"
        check_files([image for image, _ in pairs], cure)
        check_files([mask for mask in masks.values() if mask.parent == own], cure)
        check_files(
            [mask for mask in masks.values() if mask.parent != own],
            f"the masks added to VOC's are incomplete; SBD has them: {SBD_SOURCE}",
        )
        return [*pairs]

    def _read_values(self, path: Path) -> Tensor:
        """Read a mask: VOC's PNG, or SBD's .mat."""
        if path.suffix != ".mat":
            return super()._read_values(path)
        from scipy.io import loadmat

        cure = f"copy it again from {SBD_SOURCE}"
        file = open_regular(path, MAX_BYTES)
        try:
            with file:
                labels = loadmat(file)["GTcls"][0]["Segmentation"][0]
        except Exception as error:  # a damaged body makes scipy raise errors of any kind
            raise ValueError(f"{shown(path)} is no mask of SBD ({error}): {cure}") from error
        matrix = isinstance(labels, np.ndarray) and labels.ndim == 2
        if not matrix or labels.dtype.kind not in "buif":
            raise ValueError(
                f"{shown(path)} is no mask of SBD (its Segmentation is no matrix): {cure}"
            )
        strays = labels[~((labels >= 0) & (labels <= 255) & (labels == np.floor(labels)))]
        if strays.size:
            some = ", ".join(str(value) for value in np.unique(strays)[:5])
            raise ValueError(
                f"{shown(path)} holds {some} ({strays.size} pixels), but class ids are 0..20 and "
                f"255 for void: {cure}"
            )
        return torch.from_numpy(labels.astype("uint8"))


def _stems(folder: Path, split: str) -> list[str]:
    """The stems of one of VOC's own lists."""
    listing = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not listing.is_file():
        raise ValueError(f"VOC 2012 is incomplete: no list {shown(listing)}; unpack {SOURCE} again")
    stems = read_lines(listing)
    if not stems:
        raise ValueError(f"{shown(listing)} is empty; unpack {SOURCE} again")
    return stems


def _augmented(root: Path, folder: Path) -> dict[str, Path]:
    """Mask by stem of train_aug: all that SBD or VOC's train list has, without VOC's val list."""
    added = None
    for base in dict.fromkeys((root, folder, folder.parent, folder.parent.parent)):
        if (pictures := base / "SegmentationClassAug").is_dir():
            added = {path.stem: path for path in find_files(pictures, "*.png")}
            break
        if (sbd := base / "benchmark_RELEASE" / "dataset").is_dir():
            added = _sbd(sbd)
            break
    if added is None:
        pictures, sbd = folder / "SegmentationClassAug", root / "benchmark_RELEASE" / "dataset"
        raise ValueError(
            f"no augmented masks for {shown(folder)}: expected {shown(pictures)} with PNG masks, "
            f"or SBD in {shown(sbd)} with train.txt, val.txt and cls/; get it from {SBD_SOURCE}"
        )
    own = {stem: folder / "SegmentationClass" / f"{stem}.png" for stem in _stems(folder, "train")}
    masks = {**added, **own}
    return {stem: masks[stem] for stem in sorted(masks.keys() - set(_stems(folder, "val")))}


def _sbd(folder: Path) -> dict[str, Path]:
    """Mask by stem of the Semantic Boundaries Dataset."""
    if importlib.util.find_spec("scipy") is None:
        raise ModuleNotFoundError(
            f"the masks of {shown(folder)} are .mat files, which scipy reads: pip install scipy, "
            "or use the PNG masks of SegmentationClassAug"
        )
    masks = {}
    for split in ("train", "val"):
        listing = folder / f"{split}.txt"
        if not listing.is_file():
            raise ValueError(
                f"SBD is incomplete: no list {shown(listing)}; get it from {SBD_SOURCE}"
            )
        masks |= {stem: folder / "cls" / f"{stem}.mat" for stem in read_lines(listing)}
    return masks
