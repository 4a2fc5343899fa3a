"""The doctor and the data set read one file alike: a corpus of odd ones as image and as mask."""

import itertools
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from segkit.data import FolderDataset
from segkit.doctor import inspect, scan_data, scan_folder
from segkit.doctor.data.pictures import fingerprint

IDS = np.repeat(np.arange(4, dtype=np.uint8), 160).reshape(16, 40).copy()
IDS[3:9, 5:20] = 2


def png(chunks):
    body = b"".join(
        struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def interlaced(values):
    """A grey PNG in Adam7's seven passes, which PIL reads but does not write."""
    rows = b""
    for x, y, right, down in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                              (1, 0, 2, 2), (0, 1, 1, 2)):  # fmt: skip
        rows += b"".join(b"\0" + row.tobytes() for row in values[y::down, x::right])
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 8, 0, 0, 0, 1)
    return png([(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def claims(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return png([(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 9)), (b"IEND", b"")])


def saved(mode, **options):
    def make(path):
        picture = Image.fromarray(IDS)
        if mode in ("P", "PA"):
            picture.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])
        elif mode == "RGB16":
            row = b"".join(struct.pack(">HHH", v * 1500, v, 0) for v in range(40))
            header = struct.pack(">IIBBBBB", 40, 16, 16, 2, 0, 0, 0)
            data = zlib.compress((b"\0" + row) * 16)
            path.write_bytes(png([(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]))
            return
        elif mode == "1":
            picture = Image.fromarray(IDS > 1)
        elif mode == "NaN":
            picture = Image.fromarray(np.full(IDS.shape, np.nan, np.float32))
        elif mode in ("I;16", "F", "I"):
            kind = {"I;16": np.uint16, "F": np.float32, "I": np.int32}[mode]
            picture = Image.fromarray(IDS.astype(kind))
        elif mode != "L":
            picture = picture.convert(mode)
        picture.save(path, **options)

    return make


def written(content):
    return lambda path: path.write_bytes(content)


def cut(path):
    saved("L", format="PNG")(path)
    path.write_bytes(path.read_bytes()[:-30])


def pages(path):
    frames = [Image.fromarray(IDS) for _ in range(4)]
    frames[0].save(path, format="TIFF", save_all=True, append_images=frames[1:])


def endless_pages(path):
    """A TIFF whose last page leads to its first: to count them would never end."""
    pages(path)
    content = bytearray(path.read_bytes())
    with Image.open(path) as picture:
        picture.seek(3)
        last = picture.tag_v2._offset
    entries = struct.unpack_from("<H", content, last)[0]
    struct.pack_into("<I", content, last + 2 + 12 * entries, 8)
    path.write_bytes(content)


def white_is_zero(path):
    """A TIFF whose values PIL turns over, and GDAL does not."""
    saved("L", format="TIFF", tiffinfo={262: 0})(path)
    with Image.open(path) as picture:
        assert picture.tag_v2[262] == 0


def animated(kind):
    def make(path):
        frames = [Image.fromarray(IDS + k) for k in range(3)]
        frames[0].save(path, format=kind, save_all=True, append_images=frames[1:])

    return make


def sparse(path):
    with path.open("wb") as file:
        file.truncate(40 << 30)


def damaged_note(path):
    saved("L", format="PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")(path)


CORPUS = {
    "plain.png": saved("L"),
    "grey.bmp": saved("L"),
    "grey.tif": saved("L"),
    "lzw.tif": saved("L", compression="tiff_lzw"),
    "jpeg in.tif": saved("L", compression="jpeg"),
    "webp lossless.webp": saved("RGB", lossless=True),
    "grey.jpg": saved("L"),
    "colour.jpg": saved("RGB"),
    "ink.jpg": saved("CMYK"),
    "ink.tif": saved("CMYK"),
    "lab.tif": saved("LAB") if hasattr(Image, "LAB") else saved("CMYK"),
    "ycbcr.tif": saved("YCbCr"),
    "colour.png": saved("RGB"),
    "alpha.png": saved("RGBA"),
    "grey and alpha.png": saved("LA"),
    "palette.png": saved("P"),
    "palette with alpha.png": saved("P", transparency=b"\x80\x00"),
    "palette.bmp": saved("P"),
    "one bit.png": saved("1"),
    "one bit.tif": saved("1"),
    "group 4.tif": saved("1", compression="group4"),
    "sixteen.png": saved("I;16"),
    "sixteen colours.png": saved("RGB16"),
    "integers.tif": saved("I"),
    "white is zero.tif": white_is_zero,
    "floats.tif": saved("F"),
    "no numbers.tif": saved("NaN"),
    "interlaced.png": written(interlaced(IDS)),
    "cut.png": cut,
    "png within.jpg": saved("L", format="PNG"),
    "jpeg within.png": saved("L", format="JPEG"),
    "zero bytes.png": written(b""),
    "text.png": written(b"<html>404</html>"),
    "header only.png": written(claims(40, 16)[:33]),
    "short.png": written(claims(40, 16)),
    "bomb.png": written(claims(50_000, 50_000)),
    "large.png": written(claims(10_000, 10_000)),
    "edge.png": written(claims(2**31 - 1, 1)),
    "no width.png": written(claims(0, 16)),
    "gif.png": animated("GIF"),
    "animated.png": animated("PNG"),
    "animated.webp": animated("WEBP"),
    "pages.tif": pages,
    "endless.tif": endless_pages,
    "damaged note.png": damaged_note,
    "pipe.png": os.mkfifo,
    "folder.png": lambda path: path.mkdir(),
    "dead link.png": lambda path: path.symlink_to("nowhere.png"),
    "link in a ring.png": lambda path: path.symlink_to(path.name),
    "link to a device.png": lambda path: path.symlink_to("/dev/zero"),
    "sparse.png": sparse,
    "other.PNG": saved("L"),
    "a name that is no text \udcff.png": saved("L"),
    "two\nlines.png": saved("L"),
}
"""How each is made, by its name."""


def pair(root, part, name, make):
    """A folder of one pair, of which one half is odd."""
    for one in ("images", "masks"):
        (root / one).mkdir(parents=True)
        if one != part:
            Image.fromarray(IDS).save(root / one / f"{os.path.splitext(name)[0]}.png")
    make(root / part / name)
    (root / "classes.txt").write_text("a\nb\nc\nd\n")
    return root


def alike(root):
    """Hold what the doctor says of a folder of one pair against what the data set does."""
    try:
        dataset = FolderDataset(root, cache=False)
        image, mask = dataset[0]
        refusal = ""
    except ValueError as error:
        dataset = image = mask = None
        refusal = str(error)
    scan = scan_folder(root, workers=0)
    found = [finding for finding in inspect(scan) if finding.severity == "error"]
    said = "\n".join(map(str, found))
    assert bool(found) == bool(refusal), f"data set: {refusal or 'takes it'}\ndoctor: {said}"
    for text in (refusal, *map(str, inspect(scan))):
        text.encode()
        assert all(line.isprintable() for line in text.split("\n"))
    assert "\n" not in refusal
    if dataset is not None:
        (record,) = scan.records
        pixels = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
        assert record.fingerprint == fingerprint(pixels)
        values, counts = np.unique(mask.numpy(), return_counts=True)
        assert record.labels.values == dict(zip(values.tolist(), counts.tolist(), strict=True))
        again = scan_data({"all": dataset}, workers=0)
        assert again.records[0].fingerprint == record.fingerprint
        assert again.records[0].labels == record.labels
        assert [str(f) for f in inspect(again)] == [str(f) for f in inspect(scan)]
    return refusal, found


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("part", ["images", "masks"])
@pytest.mark.parametrize("name", CORPUS)
def test_doctor_and_data_set_read_one_file_alike(tmp_path, part, name):
    if "no text" in name and os.fsencode("\udcff") != b"\xff":
        pytest.skip("this system has no such names")
    root = pair(tmp_path / "data", part, name, CORPUS[name])
    refusal, found = alike(root)
    if refusal:
        assert ascii(name)[1:-1] in refusal  # the file is named
        assert any(ascii(name)[1:-1] in str(finding) for finding in found)


def noted(path, values, orientation, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    Image.fromarray(values).save(path, kind, **options)


@pytest.mark.parametrize("size", [(16, 24), (20, 20)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientations_of_image_and_mask(tmp_path, size, kind):
    """Each note in the image with each in the mask: named where sizes tell nothing."""
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    labels = (np.arange(size[0] * size[1]).reshape(size) // 100).astype(np.uint8)
    for image, mask in itertools.product((0, 1, 2, 3, 5, 6, 8), (0, 1, 3, 6)):
        root = tmp_path / f"{image} {mask}"
        for part in ("images", "masks"):
            (root / part).mkdir(parents=True)
        noted(root / "images" / "a.png", picture, image, kind)
        noted(root / "masks" / "a.png", labels, mask, "PNG")
        (root / "classes.txt").write_text("a\nb\nc\nd\n")
        refusal, _ = alike(root)
        across = size[0] != size[1] and (image in (5, 6, 8)) != (mask == 6)
        assert bool(refusal) == across, (image, mask, refusal)
        named = [f for f in inspect(scan_folder(root, workers=0)) if f.check == "turned_by_camera"]
        sure = max(image, 1) == mask or (not mask and image < 2) or (mask == 1 and image != 1)
        if mask == 0 and image in (5, 6, 8):
            sure = size[0] != size[1]
        assert bool(named) == (not sure and not across), (image, mask)
        shutil.rmtree(root)


def test_a_tiff_says_upright_without_meaning_it(tmp_path):
    """Most programs write orientation 1 into every TIFF, so that it settles nothing for a mask."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    noted(tmp_path / "images" / "a.jpg", np.zeros((*IDS.shape, 3), np.uint8), 3, "JPEG")
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x0112] = 1
    Image.fromarray(IDS).save(tmp_path / "masks" / "a.tif", tiffinfo=tags)
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\n")
    found = {finding.check: finding for finding in inspect(scan_folder(tmp_path, workers=0))}
    assert "save the mask as PNG; then" in found["turned_by_camera"].fix


def test_a_mask_that_programs_turn_over_is_refused(tmp_path):
    root = pair(tmp_path, "masks", "x.tif", white_is_zero)
    with pytest.raises(ValueError, match="WhiteIsZero"):
        FolderDataset(root)[0]
    alike(root)
