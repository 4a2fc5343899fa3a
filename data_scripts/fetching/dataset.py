"""What a data set is made of, and what proves that it is the right one: a hash of its archive.

Where the origin has no archive of fixed bytes (code hosts make theirs on the fly), a manifest
takes its place: the digest of every picture's pixels, which re-encoding without loss keeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG"}
"""The pictures that are taken, by the ending of their names; masks end as PNG."""


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
        shares: per cent of all pixels that each class id has, as published; empty where nobody did.
    """

    name: str
    images: str
    masks: str
    origin_images: str
    origin_masks: str
    count: int
    shares: tuple[float, ...] = ()

    def folders(self, *, ours: bool) -> dict[str, str]:
        """Return the folders of images and masks in our layout or in the origin's."""
        if ours:
            return {"image": self.images, "mask": self.masks}
        return {"image": self.origin_images, "mask": self.origin_masks}


class Item(NamedTuple):
    """One picture of the data set, with the digest that it must have; empty for any."""

    part: Part
    stem: str
    kind: Literal["image", "mask"]
    digest: str = ""

    def name(self, *, ours: bool) -> str:
        """Return its path in our layout or in the origin's, without the ending."""
        return f"{self.part.folders(ours=ours)[self.kind]}/{self.stem}"

    def find(self, root: Path, *, ours: bool) -> Path | None:
        """Return its file under `root`; None where there is none."""
        paths = (root / (self.name(ours=ours) + suffix) for suffix in FORMATS)
        return next((path for path in paths if path.is_file()), None)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set as its script describes it; it needs an `archive_sha256` or a `manifest`.

    Args:
        name: folder name, ``data/<name>`` unless ``--out`` says otherwise.
        title: for people.
        terms: citation and terms of use, printed before anything is fetched.
        classes: names by class id; a void class is one of them.
        image_mode: ``"RGB"`` or ``"L"``.
        parts: the folder pairs.
        archive_url: the origin as one archive.
        archive_bytes: size of that archive, roughly; for the disk-space check.
        archive_sha256: hash of that archive in hex; None where its bytes are not fixed.
        manifest: ``"<part>/<stem>"`` to the digests of image and mask; empty for none.
        files_url: the origin as single files: a folder address that ends in a slash.
        size: (width, height) of every picture, pixels; None where they differ.
        share_tolerance: largest accepted difference from a published share, points of per cent.
        ids_from_origin: turns the origin's mask values into class ids; None where they are the ids.
        lists: text files written at the root, name to stems, such as train.txt.
    """

    name: str
    title: str
    terms: str
    classes: tuple[str, ...]
    image_mode: Literal["RGB", "L"]
    parts: tuple[Part, ...]
    archive_url: str
    archive_bytes: int
    archive_sha256: str | None = None
    manifest: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    files_url: str = ""
    size: tuple[int, int] | None = None
    share_tolerance: float = 0.001
    ids_from_origin: Callable[[np.ndarray], np.ndarray] | None = None
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def pictures(self) -> int:
        """The number of images and masks together."""
        return 2 * sum(part.count for part in self.parts)

    def items(self, root: Path, *, ours: bool) -> list[Item]:
        """Return every image and its mask: the manifest's, or those that lie under `root`."""
        return [
            Item(part, stem, kind, digest)
            for part in self.parts
            for stem in self.stems(part, root, ours=ours)
            for kind, digest in zip(
                ("image", "mask"), self.manifest.get(f"{part.name}/{stem}", ("", "")), strict=True
            )
        ]

    def stems(self, part: Part, root: Path, *, ours: bool) -> list[str]:
        """Return the stems of one part: in the manifest's order, or as they lie under `root`."""
        if self.manifest:
            names = (key.split("/", 1) for key in self.manifest)
            return [stem for name, stem in names if name == part.name]
        folders = [root / folder for folder in part.folders(ours=ours).values()]
        files = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
        return sorted({path.stem for path in files if path.suffix in FORMATS})


def pixel_digest(pixels: np.ndarray) -> str:
    """Return 32 hex digits (128 bits of sha256) over the shape and the values of a uint8 array."""
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


def make_manifest(root: Path, spec: DataSet) -> dict[str, tuple[str, str]]:
    """Digest what lies under `root`, known to be right, in our layout; as `read_manifest`."""
    digests = [
        pixel_digest(read_picture(item.find(root, ours=True), item.kind, spec)[0])
        for item in spec.items(root, ours=True)
    ]
    names = [f"{item.part.name}/{item.stem}" for item in spec.items(root, ours=True)]
    return dict(zip(names[::2], zip(digests[::2], digests[1::2], strict=True), strict=True))


def read_picture(path: Path, kind: str, spec: DataSet) -> tuple[np.ndarray, bool]:
    """Decode an image or a mask.

    Returns:
        The pixels, uint8, (H, W, 3) of an image in RGB and (H, W) otherwise, and whether the file
        holds exactly these: False for an image of another mode, and for a mask with a palette,
        whose indices count.

    Raises:
        DataError: unreadable, of another size than the data set's, or a mask in colour.
    """
    try:
        with Image.open(path, formats=[FORMATS[path.suffix]]) as picture:
            # Before it is decoded, so that a picture made to fill the memory is refused early.
            fits = spec.size in (None, picture.size)
            if fits:
                picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        kinds = f"{FORMATS[path.suffix]}, as its name says"
        raise DataError(f"{path}: cannot be read as {kinds} ({error})") from error
    if not fits:
        (width, height), (right_width, right_height) = picture.size, spec.size
        raise DataError(f"{path}: {width}x{height}, expected {right_width}x{right_height}")
    if kind == "image":
        exact = picture.mode == spec.image_mode
        return np.asarray(picture if exact else picture.convert(spec.image_mode)), exact
    if picture.mode not in ("L", "P"):
        raise DataError(
            f"{path}: mode {picture.mode}; a mask holds class ids in one 8-bit channel, not colours"
        )
    return np.asarray(picture), picture.mode == "L"
