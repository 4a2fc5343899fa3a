"""Images that are not 8-bit RGB: grey, of 16 bits, of more than three bands."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.TiffImagePlugin import SAMPLEFORMAT, TiffImageFile
from torch import Tensor

from segkit.data import images
from segkit.data.images import PictureFile, read_image
from segkit.files import FileError, open_regular

RGB = 3
_MODES = ("1", "L", "I", "F", "RGB", "RGBA", "LA")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How images are read, as a ``data.yaml`` and the header of weights have it.

    Attributes:
        bands: of the files, counted from 1; none for RGB of 8 bits, or for all with a range.
        range: which values are 0 and 1: one pair for all bands, or one for each; none for 8 bits.
        show: the band, or the three, in which a picture is shown; none for the first ones.
    """

    bands: tuple[int, ...] = ()
    range: tuple[tuple[float, float], ...] = ()
    show: tuple[int, ...] = ()

    @classmethod
    def from_dict(cls, given: Any) -> Reading:
        """The reading that a header describes; of one that says nothing RGB of 8 bits.

        Raises:
            ValueError: it is none.
        """
        try:
            return cls(
                bands=tuple(map(int, given.get("bands", ()))),
                range=tuple((float(low), float(high)) for low, high in given.get("range", ())),
                show=tuple(map(int, given.get("show", ()))),
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"the header says of images {given!r:.200}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """The same, as JSON has it; empty for RGB of 8 bits."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value}

    def __str__(self) -> str:
        fields = dataclasses.replace(self, show=()).to_dict().items()
        said = [f"{name} {list(map(_plain, value))}" for name, value in fields]
        return " and ".join(said) or "8-bit RGB"

    def same_values(self, other: Reading) -> bool:
        """Whether another one reads the same of a file; how it is shown is no matter."""
        return dataclasses.replace(self, show=()) == dataclasses.replace(other, show=())

    @property
    def fixed_channels(self) -> int:
        """How many channels every image has; 0 where the files say it."""
        if self.bands:
            return len(self.bands)
        return (len(self.range) if len(self.range) > 1 else 0) if self.range else RGB

    def read(self, path: Path) -> Tensor:
        """Read an image.

        Returns:
            (C, H, W): uint8, or, of a range, float32 that counts 0..255 as well.

        Raises:
            FileError: it cannot be read, lacks a band, or has more than 8 bits and no range.
        """
        if not self.bands and not self.range:
            return read_image(path)
        return self.scaled(read_bands(path, self.bands), path)

    def scaled(self, values: np.ndarray, path: Path) -> Tensor:
        """What `read` gives of the bands of a file, (C, H, W), as they are stored.

        Raises:
            FileError: as `read`.
        """
        if not self.range:
            if values.dtype != np.uint8:
                low, high = values.min(), values.max()
                raise FileError(
                    path,
                    f"has {values.dtype} values, here from {low} to {high}: say which of them are "
                    f"0 and 1, such as range: [{low}, {high}] in data.yaml",
                )
            return torch.from_numpy(values)
        if len(self.range) not in (1, len(values)):
            raise FileError(
                path, f"has {len(values)} bands, and range in data.yaml is of {len(self.range)}"
            )
        if not self.bands and max(self.show, default=0) > len(values):
            raise FileError(
                path,
                f"has {len(values)} bands, and show in data.yaml asks for band {max(self.show)}: "
                "name one band, or three, of the file",
            )
        bounds = np.array(self.range, np.float32)[:, :, None, None]
        low, high = bounds[:, 0], bounds[:, 1]
        scaled = (values.astype(np.float32) - low) * (255 / (high - low))
        if not np.isfinite(scaled).all():
            raise FileError(
                path, "holds NaN or infinite values: write a number of range in their place"
            )
        scaled = scaled.clip(0, 255)
        # What counts 0..1 alone would be taken for colours of 0..1, see `segkit.transforms`.
        return torch.from_numpy(scaled.round() if scaled.max() <= 1 else scaled)

    def shown(self, image: Tensor) -> Tensor:
        """An image as it is seen.

        Args:
            image: (C, H, W), as `read` gives it.

        Returns:
            uint8 RGB (3, H, W): the bands of ``show``, or the first three, or the first alone.
        """
        if image.dtype == torch.uint8 and image.shape[0] == RGB and not self.show:
            return image
        order = [*self.bands] or [*range(1, image.shape[0] + 1)]
        chosen = [order.index(band) for band in self.show if band in order]
        chosen = chosen or ([0, 1, 2] if image.shape[0] >= RGB else [0])
        return image[chosen].round().to(torch.uint8).expand(RGB, -1, -1)


def _plain(value: Any) -> Any:
    """A band, or the two numbers of a range, as ``data.yaml`` has it."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return int(value) if value == int(value) else value


def reading_of(dataset: Any) -> Reading:
    """How a data set reads its images; RGB of 8 bits for one that does not say it."""
    return getattr(dataset, "reading", Reading())


def read_bands(path: Path, bands: tuple[int, ...]) -> np.ndarray:
    """Read bands of a file as they are stored, (C, H, W).

    Args:
        path: of a picture, or of a TIFF that rasterio reads.
        bands: counted from 1; none for all.

    Raises:
        FileError: it cannot be read, rasterio is missing, or there is no such band.
    """
    try:
        with PictureFile(path) as file:
            by_pil = file.mode.partition(";")[0] in _MODES and not (
                (file.deep and file.mode[0] not in "IF")  # of others PIL drops 8 bits
                or _sign_is_lost(file)
            )
            if file.mode == "P":
                values = np.asarray(file.pixels.convert("RGB"))
            elif not by_pil and file.format not in ("TIFF", "PNG"):
                raise images.NoBandsError(
                    path,
                    f"has {file.mode} pixels, and bands are of grey and RGB: leave bands and range "
                    "out of data.yaml, or save it as RGB",
                )
            else:
                values = np.asarray(file.pixels) if by_pil else None
    except (images.TooLargeError, images.NoBandsError):
        raise
    except FileError as error:
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise
        values = _by_rasterio(path, error)
    else:
        values = _by_rasterio(path) if values is None else np.atleast_3d(values).transpose(2, 0, 1)
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    if not bands:
        return np.ascontiguousarray(values)
    if (most := max(bands)) > len(values):
        raise FileError(path, f"has {len(values)} bands, and data.yaml asks for band {most}")
    return np.ascontiguousarray(values[[band - 1 for band in bands]])


def _sign_is_lost(file: PictureFile) -> bool:
    """Whether PIL reads unsigned 32 bits of a TIFF as signed ones, or signed 8 as unsigned."""
    if not isinstance(file.picture, TiffImageFile) or file.mode not in ("I", "L"):
        return False
    signed = 2 in file.picture.tag_v2.get(SAMPLEFORMAT, (1,))
    return signed if file.mode == "L" else not signed


def _by_rasterio(path: Path, before: FileError | None = None) -> np.ndarray:
    """All bands of a TIFF or PNG that PIL does not read.

    Args:
        path: of the file.
        before: what PIL said of it.
    """
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
    except ImportError as error:
        raise FileError(
            path, "has bands that only rasterio reads: pip install 'segbook[large]'"
        ) from error
    open_regular(path, images.MAX_BYTES).close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            driver = "PNG" if path.suffix.lower() == ".png" else "GTiff"
            with rasterio.open(path, driver=driver) as image:
                if image.width * image.height > images.MAX_PIXELS:
                    raise images.TooLargeError(
                        path,
                        f"has {image.height}x{image.width} pixels, the limit is "
                        f"{images.MAX_PIXELS}: cut it into tiles",
                    )
                return image.read()
        except RasterioError as error:
            raise before or FileError(path, f"cannot be read ({error}): copy it again") from error
