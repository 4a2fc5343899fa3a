"""Checks of files: each fires on a real fault, names the file, and is silent on good data."""

import io
import struct
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image

from segkit.doctor import inspect_folder, scan_folder


def test_good_data_gives_notes_only(folder):
    findings = inspect_folder(folder.root, workers=0)
    assert [(f.severity, f.check) for f in findings] == [("note", "class_frequencies")]


def lying_png(width, height):
    """A PNG of a few bytes that claims a size."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + end


@pytest.mark.parametrize("fault", ["empty", "text", "truncated", "dead link", "folder"])
@pytest.mark.parametrize("part", ["image", "mask"])
def test_unreadable_or_truncated(folder, fault, part):
    path = getattr(folder, part)(3)
    content = path.read_bytes()
    path.unlink()
    if fault == "dead link":
        path.symlink_to("nowhere.png")
    elif fault == "folder":
        path.mkdir()
    else:
        text = {"empty": b"", "text": b"not a picture", "truncated": content[: len(content) // 2]}
        path.write_bytes(text[fault])
    finding = folder.only("unreadable_or_truncated")
    assert finding.severity == "error"
    assert [place.file for place in finding.places] == [str(path)]
    assert str(path) in finding.what


def test_a_jpeg_cut_off_in_its_last_bytes(folder):
    folder.image(2).unlink()
    path = folder.image(2, suffix=".jpg")
    folder.scene(2, (1600, 1200)).save(path)
    folder.write(2, folder.stripes(size=(1200, 1600)))
    assert not folder.found("unreadable_or_truncated")
    path.write_bytes(path.read_bytes()[:-2000])
    assert folder.only("unreadable_or_truncated").places[0].file == str(path)


def test_a_half_is_missing(folder):
    folder.mask(4).unlink()
    finding = folder.only("image_without_mask")
    assert [place.file for place in finding.places] == [str(folder.image(4))]
    assert finding.severity == "error"
    folder.mask(4).write_bytes(folder.mask(5).read_bytes())
    folder.image(4).unlink()
    finding = folder.only("mask_without_image")
    assert [place.file for place in finding.places] == [str(folder.mask(4))]


def test_names_that_differ_in_their_unicode_form_only(folder):
    composed, apart = (unicodedata.normalize(form, "Zürich") for form in ("NFC", "NFD"))
    image, mask = folder.image(4).with_stem(composed), folder.mask(4).with_stem(apart)
    folder.image(4).rename(image)
    folder.mask(4).rename(mask)
    finding = folder.only("names_in_two_forms")
    assert finding.severity == "error"
    assert [place.file for place in finding.places] == [f"{image} ~ {mask}"]
    assert "nfc" in finding.fix
    mask.rename(folder.mask(4).with_stem(composed))
    assert not folder.found("names_in_two_forms")


def test_a_list_in_another_unicode_form(folder):
    composed, apart = (unicodedata.normalize(form, "Zürich") for form in ("NFC", "NFD"))
    train = folder.root / "train"
    folder.image(4).rename(folder.image(4).with_stem(composed))
    folder.mask(4).rename(folder.mask(4).with_stem(apart))
    stems = [f"{index:03d}" for index in range(12) if index != 4]
    (train / "train.txt").write_text("\n".join([*stems, composed]))
    (train / "classes.txt").write_text((folder.root / "classes.txt").read_text())
    found = [f for f in inspect_folder(train, workers=0) if f.severity == "error"]
    assert [f.check for f in found] == ["names_in_two_forms"]
    (train / "masks" / f"{apart}.png").rename(train / "masks" / f"{composed}.png")
    (train / "train.txt").write_text("\n".join([*stems, apart]))
    found = [f for f in inspect_folder(train, workers=0) if f.severity == "error"]
    assert [f.check for f in found] == ["listed_without_files"]
    assert "in another Unicode form" in found[0].what


def test_two_images_of_one_name_in_two_forms_are_no_pair(folder):
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "Zürich")
        folder.scene(70 if form == "NFC" else 71).save(folder.image(0).with_stem(name))
    assert folder.only("image_without_mask").count == 2


def test_pictures_in_subfolders(folder):
    for part in ("images", "masks"):
        deep = folder.root / "train" / part / "city1" / "day"
        deep.mkdir(parents=True)
        (folder.root / "train" / part / "city1" / "notes").mkdir()
        (folder.root / "train" / part / ".hidden").mkdir()
        for index in range(3):
            folder.scene(index).save(deep / f"{index}.png")
            folder.scene(index).save(folder.root / "train" / part / ".hidden" / f"{index}.png")
    finding = folder.only("pictures_in_subfolders")
    assert finding.severity == "warning"
    assert finding.what.startswith("6 pictures in 2 folders")
    assert [place.file for place in finding.places] == [
        str(folder.root / "train" / part / "city1") for part in ("images", "masks")
    ]
    assert not folder.found("pictures_in_subfolders", splits=["val"])


def test_where_all_pictures_are_in_subfolders_it_is_an_error(folder):
    for part in ("images", "masks"):
        (folder.root / part).mkdir()
        (folder.root / "train" / part).rename(folder.root / part / "train")
        (folder.root / "val" / part).rename(folder.root / part / "val")
    found = {finding.check: finding for finding in inspect_folder(folder.root, workers=0)}
    assert found["pictures_in_subfolders"].severity == "error"
    assert "44 pictures in 4 folders" in found["pictures_in_subfolders"].what
    assert "train/images/" in found["pictures_in_subfolders"].fix


def test_lists_of_stems(folder):
    train = folder.root / "train"
    (train / "classes.txt").write_text("a\nb\nc\nd")
    (train / "train.txt").write_text("\n".join(f"{n:03d}" for n in range(10)))
    (train / "some.txt").write_text("010\n011\n099\n")
    (train / "README.txt").write_text("These pairs were made by hand\n001 is the best\n")
    scan = scan_folder(train, workers=0)
    assert scan.splits == ("some", "train")
    assert len(scan.records) == 12
    findings = inspect_folder(train, workers=0)
    (lost,) = [f for f in findings if f.check == "listed_without_files"]
    assert [place.file for place in lost.places] == [f"{train / 'some.txt'}: 099"]
    assert scan_folder(train, splits=("train",), workers=0).splits == ("train",)


def test_several_files_of_one_stem(folder):
    folder.scene(0).save(folder.image(0, suffix=".jpg"))
    finding = folder.only("several_files_of_one_stem")
    assert finding.places[0].file == str(folder.image(0))  # 000.jpg comes first and is kept
    assert finding.severity == "error"


def test_size_mismatch(folder):
    folder.write(6, folder.stripes(size=(24, 32)))
    finding = folder.only("size_mismatch")
    assert [place.file for place in finding.places] == [str(folder.mask(6))]
    assert "64x48" in finding.what
    assert "32x24" in finding.what


def test_a_picture_that_the_camera_turns(folder):
    picture = folder.scene(6, (48, 64))
    exif = picture.getexif()
    exif[0x0112] = 6
    folder.image(6).unlink()
    picture.save(folder.image(6, suffix=".jpg"), exif=exif)
    assert not folder.found("size_mismatch")  # turned, it has the size of its mask
    folder.write(6, folder.stripes(size=(64, 48)))
    assert "camera" in folder.only("size_mismatch").fix


def test_sixteen_bit_images(folder):
    deep = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 20
    Image.fromarray(deep).save(folder.image(1))
    finding = folder.only("sixteen_bit")
    assert finding.severity == "error"
    assert finding.places[0].file == str(folder.image(1))


def test_sixteen_bit_masks(folder):
    values = folder.stripes(0, 1, 2, 3, dtype=np.uint16)
    folder.write(1, values)
    (finding,) = folder.found("sixteen_bit")
    assert finding.severity == "note"
    values[:5, :7] = 26_001
    folder.write(1, values)
    finding = folder.only("sixteen_bit")
    assert finding.severity == "error"
    assert finding.places[0][:2] == (str(folder.mask(1)), 35)
    assert finding.places[0].marked.sum() == 35
    assert finding.places[0].marked[:5, :7].all()
    folder.mask(1).unlink()
    wide = Image.fromarray(np.arange(48 * 64, dtype=np.int32).reshape(48, 64) * 97)
    wide.save(folder.mask(1, suffix=".tif"))
    assert folder.only("sixteen_bit").places[0].pixels == 48 * 64 - 3  # 0, 97 and 194 fit


def test_odd_sizes(folder):
    folder.scene(5, (70, 50)).save(folder.image(5))
    folder.write(5, folder.stripes(size=(50, 70)))
    (finding,) = folder.found("odd_sizes")
    assert finding.severity == "note"
    assert [place.file for place in finding.places] == [str(folder.image(5))]
    folder.scene(5, (64, 20)).save(folder.image(5))
    folder.write(5, folder.stripes(size=(20, 64)))
    warning = folder.found("odd_sizes")[0]
    assert warning.severity == "warning"
    assert warning.places[0].file == str(folder.image(5))


def test_too_large_for_memory(folder):
    assert not folder.found("too_large_for_memory", memory=1 << 30)
    finding = folder.only("too_large_for_memory", memory=300_000)
    assert finding.severity == "warning"
    assert finding.count == 22
    assert "64x48" in finding.what


@pytest.mark.parametrize("side", [10_000, 50_000])
def test_a_few_bytes_that_claim_to_be_huge(folder, side):
    folder.image(7).write_bytes(lying_png(side, side))
    finding = folder.only("too_large_for_memory")
    assert finding.severity == "error"
    assert finding.places[0].file == str(folder.image(7))


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_animated_pictures(folder, kind):
    first, *others = (folder.scene(seed) for seed in (50, 51, 52))
    first.save(folder.image(8), kind, save_all=True, append_images=others)
    finding = folder.only("animated_pictures")
    assert finding.severity == "error"
    assert finding.places[0].file == str(folder.image(8))
    assert kind in finding.what
    first.save(folder.image(8), kind)
    assert not folder.found("animated_pictures")


def test_an_animation_of_a_kind_that_is_not_read(folder):
    first, *others = (folder.scene(seed) for seed in (50, 51, 52))
    first.save(folder.image(8), "GIF", save_all=True, append_images=others)
    finding = folder.only("unreadable_or_truncated")
    assert finding.places[0].file == str(folder.image(8))
    assert "none of PNG" in finding.what


def test_a_jpeg_in_the_colours_of_print(folder):
    folder.image(9).unlink()
    folder.scene(9).convert("CMYK").save(folder.image(9, suffix=".jpg"))
    assert not folder.found("unreadable_or_truncated")  # it is read as RGB


def test_no_bytes_make_it_raise(folder):
    """Pictures of every kind, cut and with bytes changed: each is described or reported."""
    generator = np.random.default_rng(0)
    for number, kind in enumerate(("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")):
        content = io.BytesIO()
        folder.scene(number).save(content, kind)
        for path in (folder.image(number), folder.mask(number)):
            damaged = bytearray(content.getvalue())
            for place in generator.integers(0, min(len(damaged), 200), 12):
                damaged[place] = generator.integers(0, 256)
            path.write_bytes(damaged[: generator.integers(20, len(damaged))])
    assert len(scan_folder(folder.root, workers=0).records) == 22
    for finding in inspect_folder(folder.root, workers=0):
        assert str(finding)


def test_no_such_folder_and_no_pairs(tmp_path, folder):
    with pytest.raises(ValueError, match="there is no such folder"):
        inspect_folder(tmp_path / "nowhere")
    (tmp_path / "other" / "pictures").mkdir(parents=True)
    with pytest.raises(ValueError, match="no pairs in .*other.*images/ and masks/"):
        inspect_folder(tmp_path / "other")
    with pytest.raises(ValueError, match="no split 'test' in .*: it has train, val"):
        inspect_folder(folder.root, splits=["test"])
