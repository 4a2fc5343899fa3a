"""Read one image or one mask from a file; every error names the file and the cure.

Everything that opens a picture does it here, so that a doctor sees what a training gets.
"""

from __future__ import annotations

import os
import shlex
import struct
import tempfile
import zlib
from collections.abc import Sequence
from functools import cached_property
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from segkit.files import FileError, open_regular, shown
from segkit.inputs import check_tensor
from segkit.outputs import IGNORE

IMAGE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Endings, in lower case, of files that are taken for images and masks."""

MAX_PIXELS = 89_000_000
"""Largest picture that is read; a file of a few bytes may claim to be far larger."""

MAX_BYTES = 2 << 30
"""Largest file that is opened as a picture."""

FORMATS = ("PNG", "WEBP", "JPEG", "BMP", "TIFF")
"""What is read, whatever a file's name says: for other kinds PIL may start other programs."""

_LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
# PIL stretches grey values of 2 and 4 bits to 0..255; class ids have to be squeezed back.
_STRETCH = {"L;2": 85, "L;4": 17}
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how it begins
_ORIENTATION = 0x0112
# How a picture is turned that a camera noted to lie so (EXIF 2.3, tag 274).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class TooLargeError(FileError):
    """A picture of more pixels than are read."""


class NoBandsError(FileError):
    """A picture of which no bands can be taken."""


class PictureFile:
    """A picture's file, opened to be looked at and decoded; a context manager.

    Args:
        path: PNG, WebP, JPEG, BMP or TIFF by content.

    Attributes:
        format: what it is by content, such as "PNG".
        mode: PIL's name of its pixels, such as "RGB", "L", "P", "I;16".
        raw_mode: PIL's name of the pixels as they are stored, such as "L;2".
        size: (height, width) in pixels, upright.
        animated: several frames, or pages.
        lossy: the compression that may have changed pixels; "" where they are exact.
        orientation: how a camera noted that it lies, 1 (upright) to 8; 0 where nothing is noted.

    Raises:
        FileError: no plain file, empty, more than `MAX_BYTES`, or no picture.
        TooLargeError: it claims far more pixels than are read.
    """

    def __init__(self, path: str | bytes | Path) -> None:
        self.path = Path(os.fsdecode(path))
        self._file: BinaryIO = open_regular(self.path, MAX_BYTES)
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        if not os.fstat(self._file.fileno()).st_size:
            raise FileError(self.path, "is empty (0 bytes): copy it again from its source")
        try:
            self.picture: Image.Image = Image.open(self._file, formats=FORMATS)
            self.format, self.mode = self.picture.format or "", self.picture.mode
            self.orientation = self._noted()
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _too_large(self.path, str(error)) from error
        except UnidentifiedImageError as error:
            self._file.seek(0)
            if self._file.read(4) in _TIFF:
                raise FileError(
                    self.path,
                    "is a TIFF, and neither grey nor RGB: where it has other bands say which in "
                    "data.yaml, such as bands: [4, 3, 2], and range: of their values; else it is "
                    "damaged: copy it again from its source",
                ) from error
            raise _unreadable(self.path, f"it is none of {', '.join(FORMATS)}") from error
        except MemoryError:
            raise
        except Exception as error:  # what PIL raises depends on where the damage is
            raise _unreadable(self.path, error) from error
        width, height = self.picture.size
        # PIL has turned a TIFF's size by itself.
        turned = self.orientation >= 5 and self.format != "TIFF"
        self.size = (width, height) if turned else (height, width)
        arguments = self.picture.tile[0][3] if self.picture.tile else ""
        self.raw_mode = str(arguments[0] if isinstance(arguments, tuple) else arguments)
        # Asks only whether there is a second one. MPO is a camera's JPEG with its preview.
        self.animated = self.format != "MPO" and bool(getattr(self.picture, "is_animated", False))
        compression = self.picture.info.get("compression")
        in_tiff = self.format == "TIFF" and compression in _LOSSY_TIFF
        self.lossy = f"TIFF compressed by {compression}" if in_tiff else ""
        self.lossy = self.format if self.format in _LOSSY else self.lossy

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.picture.close()
        self._file.close()

    @property
    def deep(self) -> bool:
        """Whether it has more than 8 bits a channel."""
        return self.mode.startswith(("I", "F")) or "16" in self.raw_mode

    @cached_property
    def pixels(self) -> Image.Image:
        """Its pixels, turned upright.

        Raises:
            FileError: several pictures, damaged, or (`TooLargeError`) more than `MAX_PIXELS`.
        """
        return self.decode()

    def decode(self, draft: tuple[int, int] | None = None) -> Image.Image:
        """Decode, see `pixels`; a JPEG may come smaller, down to ``draft`` (width, height)."""
        self.check()
        try:
            if draft is not None:
                self.picture.draft(None, draft)
            self.picture.load()
            turn = _TURNS.get(self.orientation)
            if turn is None or self.format == "TIFF":  # PIL turns a TIFF when it is decoded
                return self.picture
            return self.picture.transpose(turn)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _too_large(self.path, str(error)) from error
        except MemoryError:
            raise
        except Exception as error:
            raise _unreadable(self.path, error) from error

    def check(self) -> None:
        """Refuse what should not be decoded.

        Raises:
            FileError: several pictures, or (`TooLargeError`) more than `MAX_PIXELS`.
        """
        if self.size[0] * self.size[1] > MAX_PIXELS:
            raise _too_large(self.path, f"{self.size[1]}x{self.size[0]} pixels")
        if self.animated:
            raise FileError(
                self.path,
                "holds several pictures (an animation, or pages), and which of them is meant is a "
                "choice that only you can make: save that one by itself",
            )

    def _noted(self) -> int:
        picture = self.picture
        if self.format == "PNG" and "exif" not in picture.info:
            if late := _chunk(self._file, b"eXIf"):
                picture.info["exif"] = b"Exif\0\0" + late
        # Of a PNG, PIL's own method of this name would decode the pixels first.
        noted = Image.Image.getexif(picture).get(_ORIENTATION)
        # Of a TIFF 1 says nothing: most programs write it, whatever lies in the file.
        lowest = 2 if self.format == "TIFF" else 1
        return noted if isinstance(noted, int) and lowest <= noted <= 8 else 0


def read_image(path: str | bytes | Path) -> Tensor:
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
    with PictureFile(path) as file:
        # A plain copy: PIL's own memory may not be written, and torch wants to be able to.
        pixels = np.array(to_rgb(file, file.pixels))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def read_mask(path: str | bytes | Path) -> Tensor:
    """Read a map of class ids.

    It is turned by an orientation that is noted in its file, as an image is.

    Args:
        path: PNG, BMP or TIFF with one channel: grey of 1, 2, 4, 8 or 16 bits, or a palette, of
            which the indices count.

    Returns:
        uint8, shape (H, W), the values of the file.

    Raises:
        ValueError: no such file, empty, damaged, not a picture, animated, more than `MAX_PIXELS`,
            colours instead of ids, a lossy format, or an id above 255.
    """
    with PictureFile(path) as file:
        return torch.from_numpy(to_ids(file))


def to_rgb(file: PictureFile, pixels: Image.Image) -> Image.Image:
    """The pixels of an image as RGB.

    Raises:
        FileError: more than 8 bits, or pixels that are no colours.
    """
    if file.mode.startswith(("I", "F")):
        strange = int(np.isnan(np.asarray(pixels)).sum()) if file.mode == "F" else 0
        raise FileError(
            file.path,
            f"has {file.mode!r} pixels, more than 8 bits"
            + f" ({strange} of them are NaN, no numbers at all)" * bool(strange)
            + ": scale it to 0..255 and save it as 8-bit PNG (which range to keep is a choice that "
            "only you can make)",
        )
    try:
        return pixels.convert("RGB")
    except ValueError as error:
        raise _unreadable(file.path, error) from error


def to_ids(file: PictureFile) -> np.ndarray:
    """The class ids of a mask, uint8 (H, W).

    Raises:
        FileError: it cannot be decoded, or holds something else.
    """
    file.check()
    if file.lossy:
        raise FileError(
            file.path,
            f"is a mask in {file.lossy}, which may change pixels when it compresses, and a changed "
            "pixel is another class: save masks as PNG",
        )
    if file.mode == "F":
        raise FileError(file.path, "has floating-point pixels: save the ids as 8-bit PNG")
    if file.mode.startswith("I"):
        values = np.asarray(file.pixels)
        if values.size and (values.max() > 255 or values.min() < 0):
            raise FileError(
                file.path,
                f"holds values from {values.min()} to {values.max()}: class ids are 0..254 and 255 "
                "for void; map them (instance ids are often class * 1000 + n)",
            )
        return values.astype(np.uint8)
    if file.format == "TIFF" and file.mode == "L" and file.raw_mode.endswith(("I", "IR")):
        raise FileError(
            file.path,
            "is a TIFF in which 0 means white (WhiteIsZero): some programs turn its values over "
            "and others do not, so that an id may be 255 minus it; save masks as PNG",
        )
    if file.mode not in ("1", "L", "P"):
        raise FileError(
            file.path,
            f"is a colour picture (mode {file.mode}), a mask holds class ids in one channel: "
            "convert it once with "
            "segkit.data.mask_from_colours(segkit.data.read_image(path), palette), or save one "
            "channel where all three are equal",
        )
    return grey_values(file)


def grey_values(file: PictureFile) -> np.ndarray:
    """The stored values of a picture of one channel of at most 8 bits, uint8 (H, W)."""
    return np.array(file.pixels).astype(np.uint8) // _STRETCH.get(file.raw_mode[:3], 1)


def note_orientation(path: str | Path, orientation: int) -> None:
    """Write into a PNG how it is to be turned when it is read; the pixels stay as they are.

    A mask that says nothing lies beside a photograph that a camera turns: was it drawn on the
    turned one, then 1; on the pixels as they are stored, then the photograph's own orientation.

    Args:
        path: of the PNG, which is replaced.
        orientation: EXIF's, 1 (as it lies) to 8.

    Raises:
        ValueError: another format, or no such orientation.
    """
    if orientation not in range(1, 9):
        raise ValueError(f"orientation={orientation!r}: EXIF knows 1 (as it lies) to 8")
    with PictureFile(path) as file:
        if file.format != "PNG":
            raise FileError(path, f"is {file.format}: save it as PNG, which can say how it lies")
    with open_regular(path) as stream:
        chunks = [(kind, body) for kind, body in _chunks(stream) if kind != b"eXIf"]
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    chunks.insert(1, (b"eXIf", exif.tobytes()[6:]))
    handle, written = tempfile.mkstemp(dir=Path(path).parent, suffix=".png")
    with os.fdopen(handle, "wb") as out:
        out.write(_PNG)
        for kind, body in chunks:
            out.write(struct.pack(">I4s", len(body), kind) + body)
            out.write(struct.pack(">I", zlib.crc32(kind + body)))
    Path(written).chmod(Path(path).stat().st_mode)
    Path(written).replace(path)


def turning_cure(image: Path, mask: Path) -> str:
    """How a pair is mended in which one is turned by a camera's note and the other is not.

    Returns:
        Commands for a shell; "" where no note is in the way.
    """
    with PictureFile(image) as shot, PictureFile(mask) as drawn:
        noted, own, upright = shot.orientation, drawn.orientation, shot.size == drawn.size
        is_png = drawn.format == "PNG"
    if noted < 2 and own < 2:
        return ""
    first = "" if is_png else "save the mask as PNG; then, "

    def command(orientation: int) -> str:
        name = str(mask if is_png else mask.with_suffix(".png"))
        # In double quotes, which need no others in a shell.
        literal = repr(name) if '"' in name else '"' + repr("'" + name)[2:]
        code = f"from segkit.data import note_orientation as note; note({literal}, {orientation})"
        return shlex.join(["python", "-c", code])

    if not upright:
        return f"{first}{command(noted if noted >= 5 else 1)}"
    as_stored = f"; where it lies as the image's pixels are stored: {command(noted)}"
    return (
        f"{first}where the mask lies as viewers show the image, say so in its file: {command(1)}"
        + as_stored * (noted >= 2)
    )


def mask_from_colours(colours: Tensor, palette: Sequence[tuple[int, int, int]]) -> Tensor:
    """Turn a picture of labels into class ids.

    Args:
        colours: uint8, shape (3, H, W), each pixel exactly one of the palette's colours.
        palette: RGB of each class, 0..255, in the order of the ids, at most 255.

    Returns:
        uint8, shape (H, W); IGNORE where a colour is not in the palette.

    Raises:
        ValueError: no tensor or a wrong shape, an empty or too long palette, a colour that is there
            twice, or one that is not three whole numbers in 0..255.
    """
    check_tensor("colours", colours, "uint8 (3, H, W), as segkit.data.read_image gives")
    if colours.ndim != 3 or colours.shape[0] != 3 or colours.dtype != torch.uint8:
        raise ValueError(f"colours is {colours.dtype} {tuple(colours.shape)}: give uint8 (3, H, W)")
    if not 0 < len(palette) < 256 or len(set(map(tuple, palette))) != len(palette):
        raise ValueError(f"palette of {len(palette)} colours: give 1 to 255, all different")
    for colour in palette:
        whole = all(isinstance(level, Integral) and 0 <= int(level) <= 255 for level in colour)
        if len(colour) != 3 or not whole:
            raise ValueError(
                f"palette has {colour!r:.80}: give (red, green, blue) in whole numbers of 0..255"
            )
    weights = torch.tensor([1 << 16, 1 << 8, 1], dtype=torch.int32)
    codes = (colours.to(torch.int32) * weights[:, None, None]).sum(dim=0, dtype=torch.int32)
    mask = torch.full(codes.shape, IGNORE, dtype=torch.uint8)
    for index, colour in enumerate(palette):
        mask[codes == (torch.tensor(colour, dtype=torch.int32) * weights).sum()] = index
    return mask


_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_CHUNKS = 100_000  # programs write the pixels in chunks of 8 kB and more


def _chunks(file: BinaryIO) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG, as they follow each other."""
    file.seek(len(_PNG))
    chunks = []
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        chunks.append((kind, file.read(length)))
        file.seek(4, os.SEEK_CUR)
    return chunks


def _chunk(file: BinaryIO, wanted: bytes) -> bytes:
    """The first chunk of a kind in a PNG, also one after the pixels; the file stays where it is."""
    before, found = file.tell(), b""
    file.seek(len(_PNG))
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
        if kind in (wanted, b""):
            found = file.read(min(length, 1 << 16))
            break
        file.seek(length + 4, os.SEEK_CUR)
    file.seek(before)
    return found


def _unreadable(path: Path, reason: Exception | str) -> FileError:
    return FileError(
        path,
        f"cannot be read as a picture ({shown(reason) or type(reason).__name__}): it is damaged, "
        "incomplete or of another kind; copy it again from its source",
    )


def _too_large(path: Path, claim: str) -> TooLargeError:
    return TooLargeError(
        path,
        f"is too large ({claim}), the limit is {MAX_PIXELS} pixels: cut it into tiles, or, if that "
        "is its true size, raise segkit.data.images.MAX_PIXELS and PIL.Image.MAX_IMAGE_PIXELS",
    )
