"""Pictures made to do harm, or only odd: each is read or refused by name."""

import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from segkit.data import FolderDataset, batches, read_image, read_mask


@pytest.fixture
def marker(tmp_path):
    """The file that attackers' code would make: it is not there at the end."""
    path = tmp_path / "the code ran"
    yield path
    assert not path.exists()


def png(width, height, rows):
    """A grey PNG of one bit a pixel whose rows come one by one."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for row in rows) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")  # fmt: skip # noqa: E501


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_an_image_of_50000_by_50000_is_refused_before_it_is_decoded(tmp_path, read):
    path = tmp_path / "huge.png"
    path.write_bytes(png(50_000, 50_000, (bytes(6251) for _ in range(50_000))))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ValueError, match=r"huge\.png is too large .*2500000000 pixels"):
        read(path)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_an_empty_file_and_animations_are_named(tmp_path, read):
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.png is empty \(0 bytes\)"):
        read(tmp_path / "empty.png")
    frames = [Image.fromarray(np.full((9, 9), value, np.uint8)) for value in (1, 90, 200)]
    for name in ("moves.png", "moves.tif", "moves.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(ValueError, match=rf"{name} holds several pictures"):
            read(tmp_path / name)
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"moves\.gif cannot be read as a picture"):
        read(tmp_path / "moves.gif")


def test_a_cameras_preview_is_no_animation(tmp_path):
    whole, preview = (Image.new("L", size, 90) for size in ((16, 8), (4, 2)))
    whole.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview])
    with Image.open(tmp_path / "a.jpg") as picture:
        assert (picture.format, picture.n_frames) == ("MPO", 2)
    assert read_image(tmp_path / "a.jpg").shape == (3, 8, 16)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_what_a_camera_noted_may_be_damaged(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[271] = 6, "a camera"
    Image.new("L", (16, 8), 90).save(tmp_path / "a.jpg", exif=exif)
    content = (tmp_path / "a.jpg").read_bytes()
    begin = content.index(b"Exif")
    for offset in range(begin, begin + 40):
        for value in (0, 2, 5, 11, 12, 255):
            changed = bytearray(content)
            changed[offset] = value
            (tmp_path / "b.jpg").write_bytes(changed)
            shape = shape_or_refusal(tmp_path / "b.jpg")
            assert shape in ((3, 8, 16), (3, 16, 8)) or "b.jpg cannot be read" in shape


def shape_or_refusal(path):
    try:
        return read_image(path).shape
    except ValueError as error:
        return str(error)


def test_cmyk_becomes_rgb_and_is_no_mask(tmp_path):
    grey = Image.new("CMYK", (4, 3), (0, 0, 0, 155))
    for name in ("ink.jpg", "ink.tif"):
        grey.save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert image.shape == (3, 3, 4)
        assert (image.int() - 100).abs().max() <= 2
    with pytest.raises(ValueError, match=r"ink\.tif is a colour picture \(mode CMYK\)"):
        read_mask(tmp_path / "ink.tif")


def test_postscript_under_a_pictures_name_starts_no_interpreter(tmp_path, marker, monkeypatch):
    interpreter = tmp_path / "bin" / "gs"
    interpreter.parent.mkdir()
    interpreter.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    interpreter.chmod(0o755)
    monkeypatch.setenv("PATH", f"{interpreter.parent}:{os.environ['PATH']}")
    assert shutil.which("gs") == str(interpreter)
    path = tmp_path / "street.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    for read in (read_image, read_mask):
        with pytest.raises(ValueError, match=r"street\.png cannot be read"):
            read(path)


def test_hostile_pictures_do_not_stop_a_training(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for index in range(6):
            Image.new("L", (9, 9), index % 2).save(tmp_path / kind / f"{index}.png")
    (tmp_path / "images" / "2.png").write_bytes(b"")
    huge = png(50_000, 50_000, (bytes(6251) for _ in range(100)))
    (tmp_path / "images" / "3.png").write_bytes(huge)
    told = []
    drawn = list(batches(FolderDataset(tmp_path, classes=("a", "b")), batch_size=2, seed=0, stop=6,
                         bad_samples=2, on_bad=told.append))  # fmt: skip
    assert len(drawn) == 6
    assert sorted(bad.stem for bad in told) == ["2", "3"]
