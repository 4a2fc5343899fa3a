"""The data sets that have a name: one row each."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segkit import data, outside
from segkit.data import ade20k, camvid, cityscapes, hippocampus, nuclei, streets, voc, volumes
from segkit.data.classes import void_ids
from segkit.data.described import Description, find_description
from segkit.data.layout import find_splits
from segkit.outputs import IGNORE


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A data set by name.

    Attributes:
        name: by which recipes ask for it.
        open: ``(root, split, *, cache) -> data set``; where it needs no root,
            ``(split, *, size, length) -> data set``, of which only what is drawn uses the last two;
            of outside code ``(root) -> data set by split``.
        splits: the data set's own name of "train", "val" and, where its labels are public, "test";
            none where the folder says which there are.
        classes: names in the order of the ids; none where the folder says.
        palette: RGB of each class, 0..255; none where the folder says.
        cached: whether decoded images stay in memory, H*W*4 bytes a pair.
        root: the folder where recipes look for it; empty where it is drawn from a seed, or comes
            with the package.
        script: what fetches it into that folder; empty where nothing does.
        credit: whose images they are, in Markdown; empty where nobody needs to be named.
        is_of_volumes: whether it has volumes, not images.
        licence: under what terms, a sentence; empty where nobody has looked it up.
    """

    name: str
    open: Callable[..., Any]
    splits: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    cached: bool
    root: str
    script: str = ""
    credit: str = ""
    is_of_volumes: bool = False
    licence: str = ""

    @property
    def needs_root(self) -> bool:
        """Whether it is read from files."""
        return bool(self.root)

    @property
    def own(self) -> bool:
        """Whether it is a folder of the user's own, which says what splits and classes it has."""
        return not self.splits and not self.is_outside

    @property
    def is_outside(self) -> bool:
        """Whether code of the user's own opens it."""
        return outside.is_outside(self.name)

    def open_splits(
        self,
        root: str = "",
        *,
        size: tuple[int, int] = (128, 160),
        length: int = 400,
        ignore: int | Sequence[int] = IGNORE,
    ) -> dict[str, Any]:
        """Open every split that has labels.

        Args:
            root: the folder of the data.
            size: (height, width) in pixels of scenes that are drawn; files have their own.
            length: how many scenes are drawn to train on.
            ignore: the id, or ids, by which the masks of a folder of one's own mark void.

        Returns:
            Data set by split: "train", "val" and, where its labels are public, "test".

        Raises:
            ValueError: no root is given where one is needed, it does not hold the data, or
                ``ignore`` for data that know their own void.
        """
        if not self.own and void_ids(ignore):
            raise ValueError(
                f"ignore={ignore!r}: data={self.name!r} knows which ids are void; only the masks "
                "of data='folder' need to be told"
            )
        if self.is_outside:
            with outside.explained(self.name):
                return _checked(self.open(root), self.name)
        if not self.needs_root:
            lengths = {"train": length}
            return {
                split: self.open(name, size=size, length=lengths.get(split))
                for split, name in self.splits.items()
            }
        if not root:
            fetch = f"; python {self.script} --out {self.root} fetches it" if self.script else ""
            raise ValueError(
                f"data={self.name!r} needs data_root: the data set's own folder, such as "
                f"{self.root}{fetch}"
            )
        if self.own and not self.is_of_volumes and (described := find_description(root)):
            return Description(described, ignore).open_splits(cache=self.cached)
        found = volumes.find_splits if self.is_of_volumes else find_splits
        splits = self.splits or {split: split for split in found(Path(root))}
        more = {"ignore": ignore} if self.own else {}
        return {
            split: self.open(root, name, cache=self.cached, **more)
            for split, name in splits.items()
        }


NEEDED = ("classes", "palette", "num_classes", "raw", "stem", "manifest", "with_transform")
"""What training, doctor and reports ask of a data set, see `segkit.data.FolderDataset`."""


def _checked(sets: Any, name: str) -> dict[str, Any]:
    """Data of somebody's own by split, if they can be trained on.

    Raises:
        ValueError: they cannot; the message says what is missing.
    """
    wanted = "a function of root that gives data sets by split, {'train': ..., 'val': ...}"
    if not isinstance(sets, Mapping) or not {"train", "val"} <= sets.keys() <= _ALL.keys():
        has = sorted(sets) if isinstance(sets, Mapping) else f"a {type(sets).__name__}"
        raise ValueError(
            f"data={outside.short(name)!r} gives {has}: it must be {wanted}, and 'test' where its "
            "labels are known"
        )
    for split, one in sets.items():
        if absent := [word for word in NEEDED if not hasattr(one, word)]:
            raise ValueError(
                f"data={outside.short(name)!r} gives for {split!r} {type(one).__name__} without "
                f"{', '.join(absent)}: segkit.data.FolderDataset has all"
            )
    return dict(sets)


_LABELLED = {"train": "train", "val": "val"}
_ALL = {**_LABELLED, "test": "test"}
_VOC: dict[str, Any] = {
    "open": data.VOC2012,
    "classes": voc.CLASSES,
    "palette": voc.PALETTE,
    "cached": False,
    "root": "data/voc",
}
_VOC_CREDIT = (
    "PASCAL VOC 2012, M. Everingham et al., *The PASCAL Visual Object Classes Challenge: A "
    "Retrospective*, IJCV 2015"
)

DATA: dict[str, Entry] = {
    entry.name: entry
    for entry in [
        Entry(
            name="synthetic",
            # Looked up when it is called, so that what stands in for it in a test is found.
            open=lambda split, **drawn: data.SyntheticStreets(split, **drawn),
            splits=_ALL,
            classes=camvid.CLASSES,
            palette=streets.PALETTE,
            cached=True,
            root="",
        ),
        Entry(name="folder", open=data.FolderDataset, cached=True, root="data/mine"),
        Entry(
            name="volumes",
            open=volumes.VolumeDataset,
            cached=True,
            root="data/my_volumes",
            is_of_volumes=True,
        ),
        Entry(
            name="hippocampus",
            open=hippocampus.Hippocampus,
            splits=_ALL,
            classes=hippocampus.CLASSES,
            palette=hippocampus.PALETTE,
            cached=True,
            root="data/hippocampus",
            is_of_volumes=True,
            credit="Medical Segmentation Decathlon Task04, A. Simpson et al., *A large annotated "
            "medical image dataset for the development and evaluation of segmentation "
            "algorithms*, 2019; a subset, as npz",
            licence="CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/)",
        ),
        Entry(
            name="nuclei_sample",
            open=lambda split, **_: data.FolderDataset(nuclei.ROOT, split),
            splits=_LABELLED,
            classes=nuclei.CLASSES,
            palette=nuclei.PALETTE,
            cached=True,
            root="",  # it comes with the package
            credit="2018 Data Science Bowl, J. Caicedo et al., *Nucleus segmentation across "
            "imaging experiments: the 2018 Data Science Bowl*, Nature Methods 2019",
            licence="Public domain (CC0)",
        ),
        Entry(
            name="camvid",
            open=data.CamVid,
            splits=_ALL,
            classes=camvid.CLASSES,
            palette=camvid.PALETTE,
            cached=True,
            root="data/camvid",
            script="data_scripts/camvid.py",
            credit="CamVid, G. Brostow, J. Fauqueur, R. Cipolla, *Semantic Object Classes in "
            "Video*, Pattern Recognition Letters 2009",
            licence="Shown for research and teaching",
        ),
        Entry(
            name="cityscapes",
            open=data.Cityscapes,
            splits=_LABELLED,
            classes=cityscapes.CLASSES,
            palette=cityscapes.PALETTE,
            cached=False,  # 25 GB
            root="data/cityscapes",
            credit="Cityscapes, M. Cordts et al., *The Cityscapes Dataset for Semantic Urban Scene "
            "Understanding*, CVPR 2016",
            licence="Before this page is published: the data's terms are at "
            "https://www.cityscapes-dataset.com/license/, and its authors ask to show the images "
            "of leftImg8bit_blurred",
        ),
        Entry(
            name="ade20k",
            open=data.ADE20K,
            splits=_LABELLED,
            classes=ade20k.CLASSES,
            palette=ade20k.PALETTE,
            cached=False,  # 29 GB
            root="data/ade20k",
            credit="ADE20K, B. Zhou et al., *Scene Parsing through ADE20K Dataset*, CVPR 2017",
        ),
        Entry(name="voc", splits=_LABELLED, credit=_VOC_CREDIT, **_VOC),
        Entry(
            name="voc_aug",  # trained on the list that SBD's masks augment
            splits={"train": "train_aug", "val": "val"},
            credit=f"{_VOC_CREDIT}; masks to train on: SBD, B. Hariharan et al., *Semantic "
            "Contours from Inverse Detectors*, ICCV 2011",
            **_VOC,
        ),
    ]
}
"""Every data set that a recipe may name."""


def find(name: str) -> Entry:
    """Return the row of a data set.

    Args:
        name: one of `DATA`, or of your own, ``"my_data.py:open_splits"`` (see `segkit.outside`).

    Raises:
        ValueError: no such name; the message has the closest and all that there are.
    """
    if outside.is_outside(name):  # its file is executed when it is opened
        return Entry(
            name=name,
            open=lambda root: outside.find(name, takes=["root"])(root=root),
            cached=False,
            root="data/mine",
        )
    if name in DATA:
        return DATA[name]
    close = difflib.get_close_matches(name, DATA, n=3)
    meant = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    raise ValueError(f"data={name!r} is unknown: {meant}Known are {', '.join(DATA)}")
