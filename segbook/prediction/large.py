"""Images larger than memory: windows of a TIFF in, the blocks of a tiled TIFF of labels out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from segbook.runs.files import write_whole
from segkit import engine
from segkit.data import Reading
from segkit.data.classes import Colour
from segkit.files import FileError
from segkit.inputs import device_of

CACHE = 128 << 20
"""Bytes of decoded blocks that GDAL keeps; by itself it takes a share of the machine's memory."""


def predict_large(
    model: nn.Module,
    prepare: Callable[[Tensor], Tensor],
    path: Path,
    place: Path,
    palette: Sequence[Colour],
    *,
    reading: Reading | None = None,
    progress: bool = False,
    **options: Any,
) -> None:
    """Write the labels of an image, of which a row of windows is in memory at a time.

    Args:
        model: the network, on the device where it is to run.
        prepare: makes a network's input (3, h, w) of pixels, uint8 RGB (3, h, w).
        path: a TIFF, or whatever else GDAL reads by windows, grey or RGB of 8 bits.
        place: the TIFF to write: ids, tiled, in the palette's colours and where the image lies on
            the earth.
        palette: RGB of each class.
        reading: how it is read, where it is not grey or RGB of 8 bits.
        progress: whether there is a bar, after two seconds.
        **options: of `segkit.engine.predict_blocks`: window, and how windows are made one.

    Raises:
        FileError: rasterio is missing, or the image cannot be read or is of another kind.
        ValueError: as `segkit.engine.predict_blocks`.
        OSError: the labels cannot be written.
    """
    try:
        import rasterio  # pyright: ignore[reportMissingImports]: an extra
        from rasterio.errors import (  # pyright: ignore[reportMissingImports]
            NotGeoreferencedWarning,
            RasterioError,
        )
        from rasterio.windows import Window  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise FileError(
            path, "is read by windows, which takes rasterio: pip install 'segbook[large]'"
        ) from error
    with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=CACHE):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            image = rasterio.open(path)
        except RasterioError as error:
            raise _unreadable(path, error) from error
        with image:
            kinds, other = {*image.dtypes}, reading and reading.to_dict()
            colours = image.colorinterp[0].name not in ("palette", "cyan")
            plain = kinds == {"uint8"} and image.count in (1, 3, 4) and colours
            if not (plain or other):
                raise FileError(
                    path,
                    f"has {image.count} bands of {', '.join(sorted(kinds))} "
                    f"({image.colorinterp[0].name} first): by windows are read grey and RGB of 8 "
                    "bits; convert it, such as by gdal_translate",
                )
            bands: Any = [1, 1, 1] if image.count == 1 else [1, 2, 3]
            if reading and other:
                bands = [*reading.bands] or None

            def read(rows: slice, columns: slice) -> Tensor:
                try:
                    pixels = image.read(bands, window=Window.from_slices(rows, columns))
                except RasterioError as error:
                    raise _unreadable(path, error) from error
                values = reading.scaled(pixels, path) if reading else torch.from_numpy(pixels)
                return prepare(values)[None].to(device_of(model))

            profile: dict[str, Any] = {
                "driver": "GTiff", "dtype": "uint8", "count": 1, "width": image.width,
                "height": image.height, "tiled": True, "blockxsize": engine.BLOCK,
                "blockysize": engine.BLOCK, "compress": "deflate", "bigtiff": "if_safer",
            }  # fmt: skip
            if image.crs:
                profile |= {"crs": image.crs, "transform": image.transform}

            def write(name: str) -> None:
                size = image.height, image.width
                with (
                    rasterio.open(name, "w", **profile) as labels,
                    tqdm(
                        total=size[0] * size[1], unit="pixel", unit_scale=True, delay=2,
                        leave=False, disable=not progress, dynamic_ncols=True,
                    ) as bar,
                ):  # fmt: skip
                    labels.write_colormap(1, dict(enumerate(palette)))
                    for rows, columns, block in engine.predict_blocks(model, read, size, **options):
                        window = Window.from_slices(rows, columns)
                        labels.write(block.cpu().numpy(), 1, window=window)
                        bar.update(block.numel())

            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, lambda file: write(file.name))  # GDAL opens it by its name


def _unreadable(path: Path, error: Exception) -> FileError:
    return FileError(path, f"cannot be read by windows ({error}): copy it again from its source")
