"""What a data set is made of: its folders, classes, terms, and the digest of every picture.

The digests are of decoded pixels, not of files: a lossless re-encoding (PNG, WebP) is the same
data, and the archives that code hosts make on the fly need not be the same bytes every month.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

SUFFIXES = (".png", ".webp")


class DataError(ValueError):
    """A file or folder that is not what the data set says; the message names it and the cure."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One folder pair of a data set, usually a split.

    Args:
        name: as printed and as used in the manifest.
        images: folder of the images in our layout, relative to the root; likewise `masks`.
        masks: see `images`.
        origin_images: the same folder as the origin has it; likewise `origin_masks`.
        origin_masks: see `origin_images`.
        count: number of pairs that the data set's papers state.
        shares: per cent of all pixels that each class id has, as published.
    """

    name: str
    images: str
    masks: str
    origin_images: str
    origin_masks: str
    count: int
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Item:
    """One picture of the data set: an image or a mask, with the digest that it must have."""

    part: Part
    stem: str
    kind: Literal["image", "mask"]
    digest: str

    def folder(self, *, ours: bool) -> str:
        """Return the folder of this picture in our layout or in the origin's."""
        if self.kind == "image":
            return self.part.images if ours else self.part.origin_images
        return self.part.masks if ours else self.part.origin_masks

    def find(self, root: Path, *, ours: bool) -> Path | None:
        """Return the file of this picture under `root`; None where there is none."""
        for suffix in SUFFIXES:
            path = root / self.folder(ours=ours) / (self.stem + suffix)
            if path.is_file():
                return path
        return None


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set as its script describes it.

    Args:
        name: folder name, ``data/<name>`` unless ``--out`` says otherwise.
        title: for people.
        terms: citation and terms of use, printed before anything is fetched.
        classes: names by class id; a void class is one of them.
        size: (width, height) of every picture, pixels.
        image_mode: ``"RGB"`` or ``"L"``.
        parts: the folder pairs.
        archive_url: the origin as one archive.
        files_url: the origin as single files: a folder address that ends in a slash.
        archive_bytes: size of that archive, roughly; for the disk-space check.
        manifest: ``"<part>/<stem>"`` to the digests of image and mask.
        share_tolerance: largest accepted difference from a published share, points of per cent.
        ids_from_origin: turns the origin's mask values into class ids; None where they are the ids.
        lists: text files written at the root, name to stems, such as train.txt.
    """

    name: str
    title: str
    terms: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    image_mode: Literal["RGB", "L"]
    parts: tuple[Part, ...]
    archive_url: str
    files_url: str
    archive_bytes: int
    manifest: Mapping[str, tuple[str, str]]
    share_tolerance: float
    ids_from_origin: Callable[[np.ndarray], np.ndarray] | None = None
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def items(self) -> Iterator[Item]:
        """Yield every image and mask that the data set has, part by part."""
        for part in self.parts:
            for stem in self.stems(part):
                image, mask = self.manifest[f"{part.name}/{stem}"]
                yield Item(part, stem, "image", image)
                yield Item(part, stem, "mask", mask)

    def stems(self, part: Part) -> list[str]:
        """Return the file stems of one part, in the manifest's order."""
        prefix = part.name + "/"
        return [key.removeprefix(prefix) for key in self.manifest if key.startswith(prefix)]


def pixel_digest(pixels: np.ndarray) -> str:
    """Return 32 hex digits (128 bits of sha256) over the shape and the values of a uint8 array.

    Args:
        pixels: (H, W) or (H, W, 3), uint8.
    """
    shape = "x".join(map(str, pixels.shape))
    return hashlib.sha256(f"{shape}:".encode() + pixels.tobytes()).hexdigest()[:32]


def read_manifest(path: Path) -> dict[str, tuple[str, str]]:
    """Read lines of ``part/stem image-digest mask-digest``; ``#`` begins a comment line.

    Raises:
        DataError: a line has another form.
    """
    manifest: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        fields = line.split(" ")
        if len(fields) != 3 or fields[0] in manifest:
            raise DataError(
                f"{path}, line {number}: not 'part/stem digest digest', or a second one"
            )
        manifest[fields[0]] = (fields[1], fields[2])
    return manifest


def make_manifest(root: Path, parts: tuple[Part, ...]) -> dict[str, tuple[str, str]]:
    """Digest what lies under `root` in our layout: how the committed manifests were made.

    Args:
        root: a folder known to be right.
        parts: its folder pairs.

    Returns:
        As `read_manifest`; stems in natural order, so that 2 comes before 10.
    """
    manifest = {}
    for part in parts:
        images = {p.stem: p for p in (root / part.images).iterdir() if p.suffix in SUFFIXES}
        masks = {p.stem: p for p in (root / part.masks).iterdir() if p.suffix in SUFFIXES}
        for stem in sorted(images, key=lambda s: (len(s), s)):
            pair = (np.asarray(open_picture(p[stem])) for p in (images, masks))
            first, second = map(pixel_digest, pair)
            manifest[f"{part.name}/{stem}"] = (first, second)
    return manifest


def open_picture(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """Decode a PNG or WebP file.

    Args:
        path: the file.
        size: (width, height) that it must have; checked before decoding, so that a picture made
            to fill the memory is refused early. None takes any.

    Raises:
        DataError: unreadable, of another format or of another size.
    """
    try:
        with Image.open(path, formats=("PNG", "WEBP")) as picture:
            if size is not None and picture.size != size:
                raise DataError(
                    f"{path}: {picture.width}x{picture.height}, expected {size[0]}x{size[1]}"
                )
            picture.load()
            return picture
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as PNG or WebP ({error})") from error


def read_image(path: Path, spec: DataSet) -> tuple[np.ndarray, bool]:
    """Decode an image of `spec`.

    Returns:
        The pixels, (H, W, 3) or (H, W) uint8 as the data set's mode says, and whether the file
        holds exactly these (False where it had to be converted, for example from RGBA).

    Raises:
        DataError: unreadable or of another size.
    """
    picture = open_picture(path, spec.size)
    exact = picture.mode == spec.image_mode
    return np.asarray(picture if exact else picture.convert(spec.image_mode)), exact


def read_mask(path: Path, spec: DataSet) -> tuple[np.ndarray, bool]:
    """Decode a mask of `spec`; its values are not judged.

    Returns:
        The values, (H, W) uint8, and whether the file is 8-bit grey (a palette picture gives its
        indices).

    Raises:
        DataError: unreadable, of another size, or neither grey nor palette.
    """
    picture = open_picture(path, spec.size)
    if picture.mode not in ("L", "P"):
        raise DataError(
            f"{path}: mode {picture.mode}; a mask holds class ids in one 8-bit channel, not colours"
        )
    return np.asarray(picture), picture.mode == "L"
