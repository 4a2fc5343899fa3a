"""What one file holds, looked at without trust: whatever it is, it is described, never raised."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from segkit.data import images
from segkit.data.layout import what_is_there

_ORIENTATION = 0x0112  # EXIF: how the camera was held
_DRAFT_PIXELS = 1_000_000
_MOST_VALUES = 4096

T = TypeVar("T")


class Picture(NamedTuple):
    """What is known of a file without its pixels.

    Attributes:
        file: its path, or the name of a sample that has none.
        format: what it is by content, such as "PNG"; "" where it is no picture.
        mode: PIL's name of its pixels, such as "RGB", "L", "P", "I;16".
        size: (height, width) as it is read, a camera's rotation applied; (0, 0) where unknown.
        deep: more than 8 bits a channel.
        animated: several frames, or pages.
        rotated: a camera's note turns it by 90 degrees.
        too_large: more pixels than are read (`segkit.data.images.MAX_PIXELS`).
        error: why it cannot be read; "" where it can.
    """

    file: str
    format: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    deep: bool = False
    animated: bool = False
    rotated: bool = False
    too_large: bool = False
    error: str = ""


class Fingerprint(NamedTuple):
    """What an image is compared by.

    Attributes:
        hash: 64 bits, the brightness of neighbours compared on an 8 x 9 grid (dHash).
        thumbnail: 16 x 16 pixels, RGB, row by row.
        digest: equal for equal pixels only.
    """

    hash: int
    thumbnail: bytes
    digest: bytes


class Labels(NamedTuple):
    """What a mask holds.

    Attributes:
        values: pixels by value; of a colour picture by colour, R * 65536 + G * 256 + B. Beyond 4096
            different ones, those above 255 are rounded.
        colours: True where the values are colours.
        palette: RGB by value used, of a picture with a palette.
        ramps: by value, pixels in whose row or column the values rise, or fall, from one neighbour
            over it to the other: a slope that blending leaves and that borders of regions do not
            have.
        insides: by value, pixels whose four neighbours have the same value; lines have none.
        borders: how many pixels are no insides.
    """

    values: dict[int, int]
    colours: bool = False
    palette: dict[int, tuple[int, int, int]] | None = None
    ramps: dict[int, int] = {}
    insides: dict[int, int] = {}
    borders: int = 0


def look_at_image(path: Path) -> tuple[Picture, Fingerprint | None]:
    """Decode an image, a large JPEG at reduced size, and take its fingerprint."""

    def take(picture: Image.Image) -> Fingerprint:
        if picture.mode.startswith(("I", "F")):
            grey = np.nan_to_num(np.asarray(picture, np.float64))
            picture = Image.fromarray((grey * 255 / max(grey.max(), 1)).astype(np.uint8))
        return fingerprint(ImageOps.exif_transpose(picture).convert("RGB"))

    return _open(path, take, draft=True)


def look_at_mask(path: Path) -> tuple[Picture, np.ndarray | None, Labels]:
    """Decode a mask of any kind.

    Returns:
        The file, its values (H, W), colours as R * 65536 + G * 256 + B, and their description;
        None and no values where it cannot be decoded.
    """

    def read(picture: Image.Image) -> tuple[np.ndarray, Labels]:
        if picture.mode in ("1", "L", "P"):
            values = np.asarray(picture).astype(np.uint8)
            values //= images._STRETCH.get(picture.info["raw mode"], 1)
            palette = palette_of(picture) if picture.mode == "P" else {}
            labels = count_labels(values)
            used = {value: palette[value] for value in labels.values if value in palette}
            return values, labels._replace(palette=used)
        if picture.mode.startswith(("I", "F")):
            values = np.nan_to_num(np.asarray(picture)).astype(np.int64)
            return values, Labels(_count(values))
        rgb = np.asarray(picture.convert("RGB")).astype(np.int64)
        values = rgb @ np.array([1 << 16, 1 << 8, 1])
        return values, Labels(_count(values), colours=True)

    found, content = _open(path, read)
    values, labels = content or (None, Labels({}))
    return found, values, labels


def look_at_header(path: Path) -> tuple[Picture, dict[int, tuple[int, int, int]]]:
    """Describe a file without decoding it, as it lies; also give its palette."""
    found, palette = _open(path, palette_of, load=False)
    return found, palette or {}


def fingerprint(picture: Image.Image) -> Fingerprint:
    """Take the fingerprint of an RGB picture."""
    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX))
    bits = np.packbits(grey[:, 1:] > grey[:, :-1])
    digest = hashlib.blake2b(repr(picture.size).encode(), digest_size=16)
    digest.update(picture.tobytes())
    return Fingerprint(
        int.from_bytes(bits.tobytes(), "big"),
        picture.resize((16, 16), Image.Resampling.BOX).tobytes(),
        digest.digest(),
    )


def count_labels(values: np.ndarray) -> Labels:
    """Count the values of a map of ids, uint8 (H, W), and the slopes in it."""
    border = np.zeros(values.shape, bool)
    across, down = values[:, 1:] != values[:, :-1], values[1:] != values[:-1]
    border[:, 1:] |= across
    border[:, :-1] |= across
    border[1:] |= down
    border[:-1] |= down
    found, slopes, insides = map(_count_ids, (values, values[ramps(values)], values[~border]))
    return Labels(found, ramps=slopes, insides=insides, borders=int(border.sum()))


def ramps(values: np.ndarray) -> np.ndarray:
    """Mark the pixels whose value lies between those of their neighbours in row or column.

    Args:
        values: (H, W).

    Returns:
        bool (H, W).
    """
    marked = np.zeros(values.shape, bool)
    for lines, marks in ((values, marked), (values.T, marked.T)):
        left, middle, right = lines[:, :-2], lines[:, 1:-1], lines[:, 2:]
        rising, falling = (left < middle) & (middle < right), (left > middle) & (middle > right)
        marks[:, 1:-1] |= rising | falling
    return marked


def palette_of(picture: Image.Image) -> dict[int, tuple[int, int, int]]:
    """RGB by index; empty where a picture has no palette, or one in another form."""
    palette = picture.palette
    if palette is None or palette.mode != "RGB" or palette.rawmode not in (None, "RGB"):
        return {}
    content = bytes(palette.palette)
    return dict(enumerate(zip(content[::3], content[1::3], content[2::3], strict=False)))


def _open(
    path: Path, read: Callable[[Image.Image], T], *, load: bool = True, draft: bool = False
) -> tuple[Picture, T | None]:
    """Describe a picture and read it once it is decoded, where that can be done."""
    found = Picture(str(path))
    try:
        if not path.is_file():
            return found._replace(error=what_is_there(path)), None
        if not path.stat().st_size:
            return found._replace(error="is empty (0 bytes)"), None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=images.FORMATS) as picture:
                raw_mode = str(picture.tile[0][3]) if picture.tile else ""
                width, height = picture.size
                animated = getattr(picture, "is_animated", False) and picture.format != "MPO"
                found = found._replace(
                    format=picture.format or "",
                    mode=picture.mode,
                    size=(height, width),
                    deep=picture.mode.startswith(("I", "F")) or "16" in raw_mode,
                    animated=bool(animated),  # an MPO is a phone's JPEG with a preview
                )
                if width * height > images.MAX_PIXELS:
                    error = f"{width}x{height} pixels, more than {images.MAX_PIXELS:,}"
                    return found._replace(too_large=True, error=error), None
                if load:
                    if draft and found.size[0] * found.size[1] > _DRAFT_PIXELS:
                        picture.draft(None, (512, 512))
                    picture.load()
                    picture.info["raw mode"] = raw_mode
                    # Only now: of a PNG, asking for what the camera noted decodes it.
                    if picture.getexif().get(_ORIENTATION) in (5, 6, 7, 8):
                        found = found._replace(rotated=True, size=found.size[::-1])
                return found, read(picture)
    except Image.DecompressionBombError as error:
        return found._replace(too_large=True, error=str(error)), None
    except UnidentifiedImageError:
        return found._replace(error=f"is none of {', '.join(images.FORMATS)}"), None
    except Exception as error:  # a damaged file makes PIL raise errors of any kind
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return found._replace(error=reason), None


def _count_ids(values: np.ndarray) -> dict[int, int]:
    """Pixels by value of uint8; ten times as fast as sorting them."""
    counts = np.bincount(values.reshape(-1), minlength=256)
    return {int(value): int(counts[value]) for value in counts.nonzero()[0]}


def _count(values: np.ndarray) -> dict[int, int]:
    step = 1
    while True:
        found, counts = np.unique(values, return_counts=True)
        if len(found) <= _MOST_VALUES:
            return dict(zip(found.tolist(), counts.tolist(), strict=True))
        step *= 16
        coarse = np.maximum(values // step * step, 256)
        values = np.where(values < 256, values.clip(-1), coarse)
