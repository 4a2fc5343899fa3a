"""Read one image or one mask from a file; every error names the file and the cure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from segkit.outputs import IGNORE

IMAGE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Endings, in lower case, of files that are taken for images and masks."""

MAX_PIXELS = 89_000_000
"""Largest picture that is read; a file of a few bytes may claim to be far larger."""

FORMATS = ("PNG", "WEBP", "JPEG", "BMP", "TIFF")
"""What is read, whatever a file's name says: for other kinds PIL may start other programs."""

_LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF")
# PIL stretches grey values of 2 and 4 bits to 0..255; class ids have to be squeezed back.
_STRETCH = {"L;2": 85, "L;4": 17}


def read_image(path: str | Path) -> Tensor:
    """Read an image as RGB.

    Grey and CMYK (by the plain formula, without colour profiles) become RGB, transparency is
    dropped, and the orientation that a camera noted (EXIF) is applied, so that the image lies as
    viewers show it.

    Args:
        path: PNG, WebP, JPEG, BMP or TIFF of 8 bits a channel.

    Returns:
        uint8, shape (3, H, W). In memory the three colours of a pixel lie together (channels
        last), which resizes up to four times faster.

    Raises:
        ValueError: no such file, empty, damaged, not a picture, animated, more than `MAX_PIXELS`,
            or more than 8 bits.
    """
    picture, _ = _open(path)
    if picture.mode.startswith(("I", "F")):
        raise ValueError(
            f"{path} has {picture.mode!r} pixels, more than 8 bits: scale it to 0..255 and save it "
            "as 8-bit PNG (which range to keep is a choice that only you can make)"
        )
    try:
        upright = ImageOps.exif_transpose(picture)
    except Exception as error:
        raise _unreadable(path, error) from error
    # A plain copy: PIL's own memory may not be written, and torch wants to be able to.
    pixels = np.array(upright.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def read_mask(path: str | Path) -> Tensor:
    """Read a map of class ids.

    Args:
        path: PNG, BMP or TIFF with one channel: grey of 1, 2, 4, 8 or 16 bits, or a palette, of
            which the indices count.

    Returns:
        uint8, shape (H, W), the values of the file.

    Raises:
        ValueError: no such file, empty, damaged, not a picture, animated, more than `MAX_PIXELS`,
            colours instead of ids, a lossy format, or an id above 255.
    """
    picture, raw_mode = _open(path)
    if picture.format in _LOSSY:
        raise ValueError(
            f"{path} is a mask in {picture.format}, which may change pixels when it compresses, "
            "and a changed pixel is another class: save masks as PNG"
        )
    if picture.mode.startswith("I"):
        values = np.asarray(picture)
        if values.size and (values.max() > 255 or values.min() < 0):
            raise ValueError(
                f"{path} holds values from {values.min()} to {values.max()}: class ids are "
                "0..254 and 255 for void; map them (instance ids are often class * 1000 + n)"
            )
        return torch.from_numpy(values.astype(np.uint8))
    if picture.mode not in ("1", "L", "P"):
        raise ValueError(
            f"{path} is a colour picture (mode {picture.mode}), a mask holds class ids in one "
            "channel: convert it once with "
            "segkit.data.mask_from_colours(segkit.data.read_image(path), palette), or save one "
            "channel where all three are equal"
        )
    values = np.array(picture).astype(np.uint8)
    return torch.from_numpy(values // _STRETCH.get(raw_mode, 1))


def mask_from_colours(colours: Tensor, palette: Sequence[tuple[int, int, int]]) -> Tensor:
    """Turn a picture of labels into class ids.

    Args:
        colours: uint8, shape (3, H, W), each pixel exactly one of the palette's colours.
        palette: RGB of each class, 0..255, in the order of the ids, at most 255.

    Returns:
        uint8, shape (H, W); IGNORE where a colour is not in the palette.

    Raises:
        ValueError: a wrong shape, an empty or too long palette, or a colour that is there twice.
    """
    if colours.ndim != 3 or colours.shape[0] != 3 or colours.dtype != torch.uint8:
        raise ValueError(f"colours is {colours.dtype} {tuple(colours.shape)}: give uint8 (3, H, W)")
    if not 0 < len(palette) < 256 or len(set(map(tuple, palette))) != len(palette):
        raise ValueError(f"palette of {len(palette)} colours: give 1 to 255, all different")
    weights = torch.tensor([1 << 16, 1 << 8, 1], dtype=torch.int32)
    codes = (colours.to(torch.int32) * weights[:, None, None]).sum(dim=0, dtype=torch.int32)
    mask = torch.full(codes.shape, IGNORE, dtype=torch.uint8)
    for index, colour in enumerate(palette):
        mask[codes == (torch.tensor(colour, dtype=torch.int32) * weights).sum()] = index
    return mask


def _open(path: str | Path) -> tuple[Image.Image, str]:
    """Decode a picture of whatever kind; also give the pixel format that the file itself has."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty (0 bytes): copy it again from its source")
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            # MPO is a camera's JPEG with its preview.
            frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
            raw_mode = str(picture.tile[0][3]) if picture.tile else ""
            if width * height <= MAX_PIXELS and frames == 1:
                picture.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, str(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # what PIL raises for a damaged file depends on where the damage is
        raise _unreadable(path, error) from error
    if width * height > MAX_PIXELS:
        raise _too_large(path, f"{width}x{height} pixels")
    if frames != 1:
        raise ValueError(
            f"{path} holds {frames} pictures (an animation, or pages), and which of them is meant "
            "is a choice that only you can make: save that one by itself"
        )
    return picture, raw_mode


def _unreadable(path: str | Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} cannot be read as a picture ({error}): it is damaged, incomplete or of another "
        "kind; copy it again from its source"
    )


def _too_large(path: Path, claim: str) -> ValueError:
    return ValueError(
        f"{path} is too large ({claim}), the limit is {MAX_PIXELS} pixels: cut it into tiles, or "
        "raise segkit.data.images.MAX_PIXELS"
    )
