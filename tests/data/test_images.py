"""Reading files: every kind that is fine, every kind that is not, with its name in the error."""

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data import images, mask_from_colours, read_image, read_mask

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
IDS = np.random.default_rng(1).integers(0, 4, (6, 9), dtype=np.uint8)


def write(path, array, mode=None, **options):
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {}), ("a.webp", {"lossless": True}), ("a.bmp", {}), ("a.TIF", {"format": "TIFF"})],
)
def test_lossless_images_are_read_as_they_are(tmp_path, name, options):
    image = read_image(write(tmp_path / name, COLOURS, **options))
    assert image.dtype == torch.uint8
    assert image.shape == (3, 6, 9)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), COLOURS)
    image[0, 0, 0] = 1  # its own memory


def test_jpeg_and_grey_and_palette_become_rgb(tmp_path):
    jpeg = read_image(write(tmp_path / "a.jpg", np.full((8, 8, 3), 90, np.uint8), quality=95))
    assert (jpeg.int() - 90).abs().max() < 5
    grey = read_image(write(tmp_path / "g.png", IDS))
    assert np.array_equal(grey.numpy(), np.broadcast_to(IDS, (3, 6, 9)))
    flat = np.zeros((4, 4, 3), np.uint8)
    flat[:2] = (200, 10, 30)
    picture = Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE)
    picture.save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png")[:, 0, 0].tolist() == [200, 10, 30]


def test_orientation_of_the_camera_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    image = read_image(write(tmp_path / "a.png", COLOURS, exif=exif))
    assert np.array_equal(image.permute(1, 2, 0).numpy(), np.rot90(COLOURS, -1))


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "I"])
def test_masks_keep_their_ids(tmp_path, mode):
    path = tmp_path / ("m.tif" if mode == "I" else "m.png")
    picture = Image.fromarray(IDS.astype({"I;16": np.uint16, "I": np.int32}.get(mode, np.uint8)))
    if mode == "P":
        picture.putpalette([255 - value for value in range(12)])  # the colours must not matter
    assert picture.mode == mode
    picture.save(path)
    mask = read_mask(path)
    assert mask.dtype == torch.uint8
    assert np.array_equal(mask.numpy(), IDS)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_are_not_stretched(tmp_path, bits):
    ids = IDS % 2 if bits == 1 else IDS
    path = tmp_path / "m.png"
    path.write_bytes(_grey_png(ids, bits))
    assert np.array_equal(read_mask(path).numpy(), ids)


def _grey_png(ids, bits):
    """Write a grey PNG of ``bits`` bits a pixel, which PIL itself cannot."""
    import struct
    import zlib

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b""
    for row in ids:
        digits = "".join(f"{value:0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + bytes(int(digits[at : at + 8], 2) for at in range(0, len(digits), 8))
    height, width = ids.shape
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_what_masks_may_not_be(tmp_path):
    cases = {
        "colour.png": (COLOURS, {}, r"colour\.png is a colour picture .*mask_from_colours"),
        "lossy.jpg": (IDS, {}, r"lossy\.jpg is a mask in JPEG.* as PNG"),
        "lossy.webp": (COLOURS, {}, r"lossy\.webp is a mask in WEBP"),
        "many.png": (IDS.astype(np.uint16) + 7000, {}, r"many\.png holds values from 700\d to 700"),
        "alpha.png": (np.dstack((COLOURS, IDS)), {}, r"alpha\.png is a colour picture \(mode RGBA"),
    }
    for name, (array, options, message) in cases.items():
        with pytest.raises(ValueError, match=message):
            read_mask(write(tmp_path / name, array, **options))


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_damaged_files_are_named(tmp_path, read):
    whole = write(
        tmp_path / "whole.png", np.random.default_rng(0).integers(0, 9, (64, 64), np.uint8)
    )
    content = whole.read_bytes()
    broken = {
        "empty.png": (b"", "is empty"),
        "cut.png": (content[: len(content) // 2], "cannot be read"),
        "head.png": (content[:20], "cannot be read"),
        "text.png": (b"<html>404</html>", "cannot be read"),
        "flipped.png": (content[:30] + b"\xff\xff\xff\xff" + content[34:], "cannot be read"),
    }
    for name, (bytes_, message) in broken.items():
        (tmp_path / name).write_bytes(bytes_)
        with pytest.raises(ValueError, match=f"{name} {message}"):
            read(tmp_path / name)
    with pytest.raises(ValueError, match=r"gone\.png is missing"):
        read(tmp_path / "gone.png")
    with pytest.raises(ValueError, match="is a folder, not a file"):
        read(tmp_path)


def test_sixteen_bit_images_are_refused(tmp_path):
    path = write(tmp_path / "deep.png", IDS.astype(np.uint16) * 9000)
    with pytest.raises(ValueError, match=r"deep\.png has 'I;16' pixels, more than 8 bits"):
        read_image(path)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_bombs_are_refused_before_they_are_decoded(tmp_path, read, monkeypatch):
    path = write(tmp_path / "bomb.png", np.zeros((40, 50), np.uint8))
    monkeypatch.setattr(images, "MAX_PIXELS", 1999)
    with pytest.raises(ValueError, match=r"bomb\.png is too large \(50x40 pixels\)"):
        read(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 2000)
    read(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # PIL's own limit speaks first
    with pytest.raises(ValueError, match=r"bomb\.png is too large"):
        read(path)


def test_colours_to_ids():
    palette = [(1, 2, 3), (3, 2, 1), (255, 255, 255)]
    colours = torch.tensor([palette[2], palette[0], (9, 9, 9), palette[1]], dtype=torch.uint8)
    mask = mask_from_colours(colours.T[:, None], palette)
    assert mask.tolist() == [[2, 0, 255, 1]]
    assert mask.dtype == torch.uint8
    with pytest.raises(ValueError, match="all different"):
        mask_from_colours(colours.T[:, None], [(1, 2, 3), (1, 2, 3)])
    with pytest.raises(ValueError, match=r"give uint8 \(3, H, W\)"):
        mask_from_colours(mask, palette)
