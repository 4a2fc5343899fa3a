"""Reading files: every kind that is fine, every kind that is not, with its name in the error."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

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


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_applied_to_images(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a"
    Image.fromarray(COLOURS).save(path, kind, exif=exif, lossless=True)
    expected = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), np.array(expected))


TURNED = {1: IDS, 2: IDS[:, ::-1], 3: np.rot90(IDS, 2), 4: IDS[::-1], 5: IDS.T,
          6: np.rot90(IDS, -1), 7: np.rot90(IDS, 2).T, 8: np.rot90(IDS)}  # fmt: skip


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["noted", "PNG", "TIFF", "after the pixels"])
def test_each_orientation_is_applied_to_masks(tmp_path, kind, orientation):
    path = tmp_path / "m.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(IDS).save(path, **({} if kind in ("noted", "after the pixels") else
                                       {"format": kind, "exif": exif}))  # fmt: skip
    if kind == "noted":
        images.note_orientation(path, 9 - orientation)
        images.note_orientation(path, orientation)  # in the place of what was there
    if kind == "after the pixels":
        whole, body = path.read_bytes(), b"eXIf" + exif.tobytes()[6:]
        late = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        path.write_bytes(whole[:-12] + late + whole[-12:])
    assert np.array_equal(read_mask(path).numpy(), TURNED[orientation])


def test_a_note_of_orientation_leaves_the_pixels_alone(tmp_path):
    path = tmp_path / "m.png"
    path.write_bytes(_grey_png(IDS, 2))
    images.note_orientation(path, 1)
    assert np.array_equal(read_mask(path).numpy(), IDS)
    with pytest.raises(ValueError, match="orientation=9: EXIF knows 1"):
        images.note_orientation(path, 9)
    Image.fromarray(IDS).save(tmp_path / "m.bmp")
    with pytest.raises(ValueError, match=r"m\.bmp is BMP: save it as PNG"):
        images.note_orientation(tmp_path / "m.bmp", 1)
    assert {one.name for one in tmp_path.iterdir()} == {"m.png", "m.bmp"}


@pytest.mark.parametrize("compression", [1, 8])
def test_tiff_of_four_bits_is_not_stretched(tmp_path, compression):
    ids = np.random.default_rng(2).integers(0, 16, (6, 10), dtype=np.uint8)
    rows = (ids[:, ::2] << 4 | ids[:, 1::2]).tobytes()
    packed = zlib.compress(rows) if compression == 8 else rows
    tags = {
        256: 10,
        257: 6,
        258: 4,
        259: compression,
        262: 1,
        273: 0,
        277: 1,
        278: 6,
        279: len(packed),
    }
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # where the pixels begin
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    (tmp_path / "m.tif").write_bytes(header + packed)
    with Image.open(tmp_path / "m.tif") as picture:
        assert picture.mode == "L"
    assert np.array_equal(read_mask(tmp_path / "m.tif").numpy(), ids)


def test_what_masks_may_not_be(tmp_path):
    cases = {
        "colour.png": (COLOURS, {}, r"colour\.png is a colour picture .*mask_from_colours"),
        "lossy.jpg": (IDS, {}, r"lossy\.jpg is a mask in JPEG.* as PNG"),
        "lossy.webp": (COLOURS, {}, r"lossy\.webp is a mask in WEBP"),
        "lossy.tif": (
            IDS,
            {"compression": "jpeg"},
            r"lossy\.tif is a mask in TIFF compressed by j",
        ),
        "float.tif": (IDS.astype(np.float32), {}, r"float\.tif has floating-point pixels"),
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
    path = write(tmp_path / "nan.tif", np.full((2, 3), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"nan\.tif has 'F' pixels.*6 of them are NaN"):
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
