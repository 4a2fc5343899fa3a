"""Volumes with their labels: NIfTI or npz, voxel for voxel, with the size of a voxel.

    root/images/case_1.nii.gz     root/masks/case_1.nii.gz
    root/case_1.npz               "image" and "label" in one file

An array's axes stay as the file has them, and are called depth, height and width: of NIfTI they
are its i, j and k, whose lengths in mm the spacing gives in that order.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from segkit.data.classes import find_classes, void_ids
from segkit.data.folder import meaning_of
from segkit.data.layout import no_folder, read_lines
from segkit.data.pairs import PairDataset, Transform
from segkit.files import FileError, open_regular, shown
from segkit.outputs import IGNORE

SUFFIXES = (".nii.gz", ".nii", ".npz")
"""Endings of files with volumes."""
FOLDERS = (("images", "masks"), ("imagesTr", "labelsTr"))
"""Where images and their labels lie: ours, and the Medical Segmentation Decathlon's."""
UNIT = (1.0, 1.0, 1.0)
"""The spacing of an npz that holds none: distances then count voxels."""


class Volume(NamedTuple):
    """What a file holds.

    Attributes:
        values: as the file has them: image (D, H, W) or, of several channels, (D, H, W, C).
        spacing: length of a voxel along depth, height and width, in mm.
        affine: from voxel to patient space in mm, (4, 4); None where an npz has none.
    """

    values: np.ndarray
    spacing: tuple[float, float, float]
    affine: np.ndarray | None


class VolumeDataset(PairDataset):
    """A data set of volumes: a folder of NIfTI files or of npz.

    Args:
        root: the folder; with ``images/`` and ``masks/`` (or the Decathlon's ``imagesTr/`` and
            ``labelsTr/``) with files of equal stems, or with npz files that hold "image" and
            "label", and maybe "spacing" and "affine".
        split: name of a subfolder of that kind, or of a list of stems ``<split>.txt``; None for
            everything.
        classes: names in the order of the ids; None reads classes.json or classes.txt, as
            `segkit.data.FolderDataset`.
        palette: RGB of each class, 0..255; None takes that of classes.json, or distinct colours.
        ignore: the id, or ids, by which labels mark void, as 255 always does.
        transform: callable ``(image, mask) -> (image, mask)``, see `segkit.transforms.volumes`.
        cache: keep what was read, 5 bytes a voxel of one channel.

    Attributes:
        classes: names in the order of the ids.
        palette: RGB of each class.
        num_classes: K, void not counted.
        meaning: the class, or IGNORE, of each value that labels may hold.

    Raises:
        ValueError: no folder, no volumes, an image without labels. On access: a damaged file, two
            sizes in a pair, numbers that are not finite, or a label out of range.
    """

    def __init__(
        self,
        root: str | bytes | Path,
        split: str | None = None,
        *,
        classes: Sequence[str] | None = None,
        palette: Sequence[tuple[int, int, int]] | None = None,
        ignore: int | Sequence[int] = IGNORE,
        transform: Transform | None = None,
        cache: bool = True,
    ) -> None:
        super().__init__(transform, cache)
        self.root, self.split = Path(os.fsdecode(root)), split
        self._pairs = find_volumes(self.root, split)
        self.classes, self.palette, self.coloured = find_classes(self.root, classes, palette)
        self.meaning = meaning_of(len(self.classes), void_ids(ignore))

    def __len__(self) -> int:
        return len(self._pairs)

    def stem(self, index: int) -> str:
        """Return the name of case number ``index``."""
        return stem_of(self._pairs[index][0])

    def files(self, index: int) -> tuple[Path, Path]:
        """Return the files of image and labels number ``index``, of npz the same one."""
        return self._pairs[index]

    def spacing(self, index: int) -> tuple[float, float, float]:
        """Return the length of a voxel of case ``index``: depth, height, width, in mm."""
        return read_volume(self._pairs[index][0]).spacing

    def manifest(self) -> str:
        """Return a fingerprint of the data: sha256 in hexadecimal.

        It changes with a stem, a class name, the meaning of an id and any byte of a file.
        """
        about = [self.classes, sorted(self.meaning.items())]
        digest = hashlib.sha256(json.dumps(about).encode())
        for pair in self._pairs:
            for path in dict.fromkeys(pair):
                with open_regular(path) as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
                digest.update(os.fsencode(stem_of(path)) + f"\0{content}\n".encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        split = "" if self.split is None else f", split={self.split!r}"
        return (
            f"{type(self).__name__}({str(self.root)!r}{split}: {len(self)} volumes, "
            f"{self.num_classes} classes)"
        )

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        image_path, label_path = self._pairs[index]
        image = to_image(read_volume(image_path), image_path)
        labels = to_labels(read_volume(label_path, "label"), label_path, self.meaning)
        if image.shape[1:] != labels.shape:
            raise FileError(
                image_path,
                f"has {_by(image.shape[1:])} voxels and the labels in {shown(label_path)} "
                f"{_by(labels.shape)}: they have the size of their image; resample one to the "
                "other's grid, labels by nearest neighbour",
            )
        return image, labels


def find_splits(root: Path) -> list[str]:
    """Which of "train", "val" and "test" a folder has, as subfolders or as lists of stems.

    Raises:
        ValueError: no such folder, or one without "train" or "val".
    """
    if not root.is_dir():
        raise ValueError(f"data_root={str(root)!r}: {no_folder(root)}")
    names = ("train", "val", "test")
    found = [name for name in names if (root / name).is_dir() or (root / f"{name}.txt").is_file()]
    if not {"train", "val"} <= {*found}:
        raise ValueError(
            f"{shown(root)} has no train and val split: write the stems to train on and to "
            "validate on to train.txt and val.txt there, one a line"
        )
    return found


def holds_volumes(root: Path) -> bool:
    """Whether a folder, or one in it for images or a split, has files with volumes."""
    parts = ["", *(images for images, _ in FOLDERS)]
    splits = ("", "train", "val", "test")
    folders = {root / split / part for split in splits for part in parts}
    return any(is_volume(path) for one in folders if one.is_dir() for path in one.iterdir())


def find_volumes(root: Path, split: str | None = None) -> list[tuple[Path, Path]]:
    """The files of images and labels, sorted by stem; of npz with both the same file twice.

    Args:
        root: the folder.
        split: a folder in it, or a list of stems ``<split>.txt``; None for everything.

    Raises:
        ValueError: no such folder or split, no volumes, an image without labels or the other way
            round, two of one stem, or a stem of the list that is not there.
    """
    if not root.is_dir():
        raise ValueError(f"no volumes in {shown(root)}: {no_folder(root)}")
    stems, folder = None, root
    if split is not None and not (folder := root / split).is_dir():
        folder, listing = root, root / f"{split}.txt"
        if not listing.is_file():
            raise ValueError(
                f"no split {split!r} in {shown(root)}: make a folder {split}/, or list its stems "
                f"in {split}.txt, one a line"
            )
        stems = [stem_of(Path(line)) for line in read_lines(listing)]
    for images, masks in FOLDERS:
        if (folder / images).is_dir():
            found, labels = _by_stem(folder / images), _by_stem(folder / masks)
            break
    else:
        found = labels = {s: path for s, path in _by_stem(folder).items() if path.suffix == ".npz"}
    if not found:
        raise ValueError(
            f"no volumes in {shown(folder)}: expected images/ and masks/ with files of equal stems "
            f"({', '.join(SUFFIXES)}), or .npz files that hold image and label"
        )
    if stems is None:
        stems = [*(found | labels)]
    if lost := [stem for stem in stems if stem not in found or stem not in labels]:
        what = "image" if lost[0] not in found else "labels"
        raise ValueError(
            f"{shown(lost[0])} has no {what} in {shown(folder)} ({len(lost)} of {len(stems)} "
            "volumes): the two of a pair have one stem; rename, add or remove files"
        )
    return [(found[stem], labels[stem]) for stem in sorted({*stems})]


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(".") or not is_volume(path):
            continue
        if stem_of(path) in found:
            raise ValueError(
                f"{shown(found[stem_of(path)])} and {shown(path)} have one stem: keep one of them"
            )
        found[stem_of(path)] = path
    return found


def is_volume(path: Path) -> bool:
    """Whether a file is taken for a volume, by its name."""
    return path.name.lower().endswith(SUFFIXES)


def stem_of(path: Path) -> str:
    """A file's name without the ending, which of NIfTI may be two."""
    ending = next((end for end in SUFFIXES if path.name.lower().endswith(end)), "")
    return path.name[: len(path.name) - len(ending)]


def read_volume(path: Path, key: str = "image") -> Volume:
    """Read a volume.

    Args:
        path: .nii, .nii.gz, or .npz with an array of this name, "spacing" and "affine".
        key: which array of an npz.

    Raises:
        ValueError: no plain file, damaged, of other axes, or NIfTI without nibabel.
    """
    with open_regular(path) as file:
        values, spacing, affine = (
            _read_npz(path, file, key) if path.name.lower().endswith(".npz") else _read_nifti(path)
        )
    if values.ndim not in (3, 4) or not values.size or values.dtype.kind not in "buif":
        raise FileError(
            path,
            f"holds {values.dtype} {values.shape}: a volume is numbers of shape (depth, height, "
            "width), or (depth, height, width, channels)",
        )
    if len(spacing) != 3 or not all(0 < side < math.inf for side in spacing):
        raise FileError(path, f"has spacing {spacing}: three lengths of a voxel in mm, above 0")
    return Volume(values, spacing, affine)


def _read_npz(path: Path, file: IO[bytes], key: str) -> tuple[Any, Any, Any]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            if key not in arrays:
                raise FileError(path, f"holds {', '.join(arrays)}, and no array {key!r}")
            spacing = arrays["spacing"] if "spacing" in arrays else np.array(UNIT)
            affine = arrays["affine"] if "affine" in arrays else None
            return arrays[key], tuple(map(float, np.ravel(spacing))), affine
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError, AttributeError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(path, f"cannot be read as npz ({error}): write it again") from error


def _read_nifti(path: Path) -> tuple[Any, Any, Any]:
    nibabel = _nibabel(path)
    try:
        image = nibabel.load(path)
        return np.asanyarray(image.dataobj), _spacing(image), image.affine
    except Exception as error:  # what nibabel raises depends on where the damage is
        raise FileError(path, f"cannot be read as NIfTI ({error}): write it again") from error


def _spacing(image: Any) -> tuple[float, ...]:
    return tuple(float(side) for side in image.header.get_zooms()[:3])


def _nibabel(path: Path) -> Any:
    try:
        import nibabel  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise FileError(
            path, "is NIfTI, which nibabel reads and writes: pip install 'segbook[volumes]'"
        ) from None
    return nibabel


def to_image(volume: Volume, path: Path) -> Tensor:
    """What a network's preparation takes: float32 (C, D, H, W), in the file's own numbers.

    Raises:
        ValueError: numbers that are not finite.
    """
    values = np.ascontiguousarray(volume.values, dtype=np.float32)
    values = np.moveaxis(values, -1, 0) if values.ndim == 4 else values[None]
    if not np.isfinite(values).all():
        raise FileError(path, "holds NaN or infinite numbers: look at how it was made")
    return torch.from_numpy(np.ascontiguousarray(values))


def to_labels(volume: Volume, path: Path, meaning: dict[int, int]) -> Tensor:
    """Labels as classes, uint8 (D, H, W), IGNORE for void.

    Raises:
        ValueError: several channels, or a value that stands for no class.
    """
    values = volume.values
    if values.ndim != 3:
        raise FileError(path, f"holds {values.shape}: labels have shape (depth, height, width)")
    held, where = np.unique(values, return_inverse=True)
    if strays := [one for one in held.tolist() if one not in meaning]:
        last = max(label for label in meaning.values() if label != IGNORE)
        void = [int(one) for one in strays if one in range(IGNORE)]
        cure = "look at how they were made"
        if void:
            cure = f"add the classes, or name the id of void voxels (--set ignore={void[0]})"
        raise FileError(
            path,
            f"holds {', '.join(f'{one:g}' for one in strays[:5])}, but the classes have the ids 0 "
            f"to {last}: {cure}",
        )
    table = np.array([meaning[one] for one in held.tolist()], dtype=np.uint8)
    return torch.from_numpy(table[where].reshape(values.shape))


def write_labels(file: IO[bytes], labels: np.ndarray, like: Path) -> None:
    """Write labels as the file of their image is: its form, affine and spacing.

    Args:
        file: to write.
        labels: uint8 (D, H, W).
        like: the image's file.
    """
    if like.name.lower().endswith(".npz"):
        volume = read_volume(like)
        arrays: dict[str, Any] = {"spacing": np.array(volume.spacing, np.float32)}
        if volume.affine is not None:
            arrays["affine"] = volume.affine
        np.savez_compressed(file, label=labels, **arrays)
        return
    nibabel = _nibabel(like)
    image = nibabel.load(like)
    made = nibabel.Nifti1Image(labels, image.affine)
    for code, name in (
        (image.header["qform_code"], "qform"),
        (image.header["sform_code"], "sform"),
    ):
        getattr(made, f"set_{name}")(getattr(image, f"get_{name}")(), int(code))
    made.header.set_zooms(_spacing(image))
    made.header.set_xyzt_units(*image.header.get_xyzt_units())
    content = made.to_bytes()
    if like.name.lower().endswith(".gz"):
        import gzip

        content = gzip.compress(content, mtime=0)
    file.write(content)


def _by(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
