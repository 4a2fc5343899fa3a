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

FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG"}
"""The pictures that are taken, by the ending of their names; masks end as PNG."""


class DataError(ValueError):
    """A file or folder that is not what the data set says; the message names it and the cure."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One folder pair of a data set, usually a split; folders are relative to the root."""

    name: str  # as printed and as used in the manifest
    images: str  # in our layout
    masks: str
    origin_images: str  # as the origin has it
    origin_masks: str
    count: int  # pairs, as the data set's papers state
    shares: tuple[float, ...] = ()  # per cent of all pixels by class id, where they are published

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
    """A data set as its script describes it; it needs an `archive_sha256` or a `manifest`."""

    name: str  # of the folder: data/<name> unless --out says otherwise
    title: str
    terms: str  # citation and terms of use, printed before anything is fetched
    classes: tuple[str, ...]  # by class id; a void class is one of them
    image_mode: Literal["RGB", "L"]
    parts: tuple[Part, ...]
    archive_url: str
    archive_bytes: int  # roughly; for the disk's room and for what is too much
    archive_sha256: str | None = None  # in hex; None where its bytes are not fixed
    manifest: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # see `read_manifest`
    size: tuple[int, int] | None = None  # (width, height) of every picture; None where they differ
    share_tolerance: float = 0.001  # largest difference from a published share, points of per cent
    ids_from_origin: Callable[[np.ndarray], np.ndarray] | None = None  # None: masks hold class ids
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by file: its lines

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
    """Read lines of ``part/stem image-digest mask-digest``; ``#`` begins a comment line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = (line.split(" ") for line in lines if not line.startswith("#"))
    return {name: (image, mask) for name, image, mask in rows}
