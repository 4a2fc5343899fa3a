"""What one file holds, looked at without trust: whatever it is, it is described, never raised."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from segkit.data.images import PictureFile, TooLargeError, grey_values, to_ids, to_rgb
from segkit.files import FileError

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
        lossy: the compression that may have changed pixels; "" where they are exact.
        orientation: how a camera noted that it lies, 1 (upright) to 8; 0 where nothing is noted.
        too_large: more pixels than are read (`segkit.data.images.MAX_PIXELS`).
        error: why it cannot be read; "" where it can.
        refused: why a data set does not take what can be read; "" where it does.
    """

    file: str
    format: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    deep: bool = False
    animated: bool = False
    lossy: str = ""
    orientation: int = 0
    too_large: bool = False
    error: str = ""
    refused: str = ""

    @property
    def refused_depth(self) -> bool:
        """Whether it has one channel of more than 8 bits, which no image may have."""
        return self.mode.startswith(("I", "F"))


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

    def take(file: PictureFile) -> tuple[Fingerprint, str]:
        large = file.size[0] * file.size[1] > _DRAFT_PIXELS
        pixels = file.decode((512, 512)) if large else file.pixels
        refused = ""
        try:
            rgb = to_rgb(file, pixels)
        except FileError as error:
            if not file.mode.startswith(("I", "F")):
                raise
            refused = str(error)
            grey = np.nan_to_num(np.asarray(pixels, np.float64))
            rgb = Image.fromarray((grey * 255 / max(grey.max(), 1)).astype(np.uint8)).convert("RGB")
        return fingerprint(rgb), refused

    found, content = _look(path, take)
    print_, refused = content or (None, found.refused)
    return found._replace(refused=refused), print_


def look_at_mask(path: Path) -> tuple[Picture, np.ndarray | None, Labels]:
    """Decode a mask of any kind.

    Returns:
        The file, its values (H, W), colours as R * 65536 + G * 256 + B, and their description;
        None and no values where it cannot be decoded.
    """

    def read(file: PictureFile) -> tuple[np.ndarray, Labels, str]:
        refused = ""
        try:
            values = to_ids(file)
        except FileError as error:
            refused = str(error)
            values, labels = _strange_values(file)
            if labels is not None:
                return values, labels, refused
        palette = palette_of(file.picture) if file.mode == "P" else {}
        labels = count_labels(values)
        used = {value: palette[value] for value in labels.values if value in palette}
        return values, labels._replace(palette=used), refused

    found, content = _look(path, read)
    values, labels, refused = content or (None, Labels({}), found.refused)
    return found._replace(refused=refused), values, labels


def look_at_header(path: Path) -> tuple[Picture, dict[int, tuple[int, int, int]]]:
    """Describe a file without decoding it; also give its palette."""
    found, palette = _look(path, lambda file: palette_of(file.picture))
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
    stored = (palette.rawmode or palette.mode) if palette else ""
    if palette is None or not {*"RGB"} <= {*stored}:
        return {}
    content = bytes(palette.palette)  # of a BMP it is BGRX
    channels = (content[stored.index(channel) :: len(stored)] for channel in "RGB")
    return dict(enumerate(zip(*channels, strict=False)))


def _strange_values(file: PictureFile) -> tuple[np.ndarray, Labels | None]:
    """The values of a mask that no data set takes, and what they are; None for plain ids."""
    if file.mode in ("1", "L", "P"):
        return grey_values(file), None
    if file.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(file.pixels)).astype(np.int64)
        return values, Labels(_count(values))
    rgb = np.asarray(file.pixels.convert("RGB")).astype(np.int64)
    values = rgb @ np.array([1 << 16, 1 << 8, 1])
    return values, Labels(_count(values), colours=True)


def _look(path: Path, read: Callable[[PictureFile], T]) -> tuple[Picture, T | None]:
    """Describe a picture and read it, where that can be done."""
    found = Picture(str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PictureFile(path) as file:
                found = Picture(
                    found.file,
                    file.format,
                    file.mode,
                    file.size,
                    deep=file.deep,
                    animated=file.animated,
                    lossy=file.lossy,
                    orientation=file.orientation,
                )
                return found, read(file)
    except TooLargeError as error:
        return found._replace(too_large=True, error=error.reason), None
    except FileError as error:
        if found.animated:
            return found._replace(refused=str(error)), None
        return found._replace(error=error.reason), None
    except Exception as error:  # whatever else a damaged file makes PIL or numpy do
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
