"""From the origin's layout or ours to ours, without changing a pixel; and what a check finds."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from data_scripts.fetching.dataset import DataError
from data_scripts.fetching.pictures import check, convert, find_source


def build(tiny, out):
    convert(find_source(tiny.origin, tiny.spec), out, tiny.spec)
    for name, stems in tiny.spec.lists.items():
        (out / name).write_text("\n".join(stems))
    return out


def pixels(path):
    return np.asarray(Image.open(path))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def edit(path, change):
    """Rewrite a picture after `change` has had its pixels."""
    array = pixels(path).copy()
    array = change(array)
    Image.fromarray(array).save(path, lossless=True)


def flip_one(array):
    array[2, 3] ^= 1
    return array


@pytest.fixture
def done(streets, tmp_path):
    return build(streets, tmp_path / "out")


def test_the_origin_is_copied_byte_for_byte(streets, done):
    assert names(done / "train" / "images") == ["train_0.png", "train_1.png", "train_2.png"]
    for split, count in (("train", 3), ("val", 2)):
        for folder, ours in ((split, "images"), (f"{split}annot", "masks")):
            for number in range(count):
                name = f"{split}_{number}.png"
                before = (streets.origin / folder / name).read_bytes()
                assert (done / split / ours / name).read_bytes() == before
    assert check(done, streets.spec) == []


def test_labels_that_are_drawings_become_class_ids(cells, tmp_path):
    out = build(cells, tmp_path / "out")
    for number in range(3):
        label = pixels(cells.origin / "label" / f"{number}.png")
        mask = pixels(out / "masks" / f"{number}.png")
        np.testing.assert_array_equal(mask, (label == 0).astype(np.uint8))
    assert check(out, cells.spec) == []


def test_a_label_value_between_is_refused(cells, tmp_path):
    edit(cells.origin / "label" / "1.png", lambda a: np.where(a == 0, 128, a).astype(np.uint8))
    with pytest.raises(DataError, match=r"label/1\.png: label value 128"):
        build(cells, tmp_path / "out")


def test_a_lossless_webp_stays_as_it_is_and_a_lossy_one_is_refused(streets, tmp_path):
    for path in sorted(streets.origin.glob("val/*.png")):
        Image.open(path).save(path.with_suffix(".webp"), lossless=True)
        path.unlink()
    out = build(streets, tmp_path / "out")
    assert names(out / "val" / "images") == ["val_0.webp", "val_1.webp"]
    source = streets.origin / "val" / "val_0.webp"
    assert (out / "val" / "images" / "val_0.webp").read_bytes() == source.read_bytes()
    assert check(out, streets.spec) == []
    Image.open(source).save(source, quality=60)
    with pytest.raises(DataError, match=r"val_0\.webp: its pixels are not the origin's"):
        build(streets, tmp_path / "again")


def test_other_modes_are_brought_to_ours(streets, tmp_path):
    """A user's copy may have an alpha channel, or masks with a palette: the same data."""
    image = streets.origin / "train" / "train_0.png"
    before = pixels(image)
    Image.open(image).convert("RGBA").save(image)
    mask = streets.origin / "trainannot" / "train_0.png"
    ids = pixels(mask)
    palette = Image.fromarray(ids)
    palette.putpalette([128, 64, 128, 70, 130, 180, 0, 0, 0])
    palette.save(mask)
    out = build(streets, tmp_path / "out")
    for path, mode, expected in (
        (out / "train" / "images" / "train_0.png", "RGB", before),
        (out / "train" / "masks" / "train_0.png", "L", ids),
    ):
        assert Image.open(path).mode == mode
        np.testing.assert_array_equal(pixels(path), expected)
    assert check(out, streets.spec) == []


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("val/val_1.png", flip_one, "its pixels are not the origin's"),
        ("valannot/val_1.png", flip_one, "its pixels are not the origin's"),
        ("valannot/val_1.png", lambda a: a + np.uint8(9), "class id 9, 10, 11, allowed are 0 to 2"),
        ("valannot/val_1.png", lambda a: np.stack([a] * 3, 2), "mode RGB; a mask holds class ids"),
        ("val/val_1.png", lambda a: a[:5], "8x5, expected 8x6"),
    ],
)
def test_a_wrong_source_file_is_named_and_not_let_in(streets, tmp_path, file, change, message):
    edit(streets.origin / file, change)
    out = tmp_path / "out"
    with pytest.raises(DataError) as caught:
        build(streets, out)
    assert f"{streets.origin / file}: " in str(caught.value)
    assert message in str(caught.value)
    ours = file.replace("valannot", "val/masks").replace("val/val_", "val/images/val_")
    assert not (out / ours).exists()


def test_an_unreadable_source_file_is_named(streets, tmp_path):
    path = streets.origin / "val" / "val_0.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"val_0\.png: cannot be read"):
        build(streets, tmp_path / "out")


def test_missing_source_files_are_listed_before_anything_is_written(streets, tmp_path):
    (streets.origin / "val" / "val_0.png").unlink()
    (streets.origin / "trainannot" / "train_2.png").unlink()
    with pytest.raises(DataError, match="2 pictures are missing: trainannot/train_2, val/val_0"):
        build(streets, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_what_is_missing_is_brought_in(streets, done):
    gone = [done / "train" / "images" / "train_1.png", done / "val" / "masks" / "val_0.png"]
    for path in gone:
        path.unlink()
    kept = {p: p.stat().st_ino for p in done.rglob("*.png")}
    build(streets, done)
    assert all(path.stat().st_ino == inode for path, inode in kept.items())
    assert check(done, streets.spec) == []


@pytest.mark.parametrize("depth", [0, 1, 6])
def test_the_data_may_lie_some_folders_down(streets, tmp_path, depth):
    deep = tmp_path / "deep"
    root = deep.joinpath(*"abcdefgh"[:depth])
    shutil.copytree(streets.origin, root)
    assert find_source(deep, streets.spec) == root


def test_links_are_not_searched(streets, tmp_path):
    """One of them may lead to the whole disk."""
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "link").symlink_to(streets.origin, target_is_directory=True)
    with pytest.raises(DataError, match="is not in there"):
        find_source(tmp_path / "given", streets.spec)
    link = tmp_path / "given" / "link"
    assert find_source(link, streets.spec) == link


def test_a_folder_without_the_data_says_what_was_looked_for(streets, tmp_path):
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="train, trainannot, val, valannot"):
        find_source(tmp_path / "empty", streets.spec)


FAULTS = {
    "image gone": ("val/images/val_0.png", lambda p: p.unlink(), ["missing", "1 pairs"]),
    "pixel flipped": ("val/images/val_0.png", lambda p: edit(p, flip_one), ["not the origin's"]),
    "other size": ("val/images/val_0.png", lambda p: edit(p, lambda a: a[1:]), ["8x5, expected"]),
    "grey image": (
        "val/images/val_0.png",
        lambda p: Image.open(p).convert("L").save(p),
        ["not stored as RGB", "not the origin's"],
    ),
    "not a picture": ("val/images/val_0.png", lambda p: p.write_text("x"), ["cannot be read"]),
    "jpeg in disguise": (
        "val/images/val_0.png",
        lambda p: Image.open(p).save(p, format="JPEG"),
        ["cannot be read"],
    ),
    "stranger": (
        "val/images/thumbs.db",
        lambda p: p.write_text("x"),
        ["does not belong to Tiny streets"],
    ),
    "second file": (
        "val/images/val_0.webp",
        lambda p: shutil.copy(p.with_suffix(".png"), p),
        ["a second file for the stem val_0"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_only_that(streets, done, fault):
    name, plant, expected = FAULTS[fault]
    plant(done / name)
    problems = check(done, streets.spec)
    assert len(problems) == len(expected), problems
    assert str(done / name) in problems[0]
    for problem, words in zip(problems, expected, strict=True):
        assert words in problem


def test_a_wrong_mask_shows_in_the_shares_as_well(streets, done):
    path = done / "train" / "masks" / "train_1.png"
    edit(path, lambda a: np.where(a == 2, 7, a).astype(np.uint8))
    problems = check(done, streets.spec)
    assert problems[0] == f"{path}: class id 7, allowed are 0 to 2"
    assert problems[1].startswith(f"{path}: its pixels are not the origin's")
    assert "train: class 2 (void) has" in problems[-1]
    Image.open(path).convert("RGB").save(path)
    assert "holds class ids" in check(done, streets.spec)[0]


def test_a_published_share_that_differs_is_named(streets, done):
    train, val = streets.spec.parts
    off = replace(train, shares=(train.shares[0] + 0.0011, *train.shares[1:]))
    [problem] = check(done, replace(streets.spec, parts=(off, val)))
    assert problem.startswith("train: class 0 (road) has")
    near = replace(train, shares=(train.shares[0] + 0.0009, *train.shares[1:]))
    assert check(done, replace(streets.spec, parts=(near, val))) == []


def test_a_count_that_differs_from_the_paper_is_named(streets, done):
    train, val = streets.spec.parts
    spec = replace(streets.spec, parts=(train, replace(val, count=101)))
    assert check(done, spec) == ["val: 2 pairs, expected 101"]


def test_list_files_are_looked_at(cells, tmp_path):
    out = build(cells, tmp_path / "out")
    (out / "train.txt").write_text("0\n2\n")
    (out / "val.txt").unlink()
    assert check(out, cells.spec) == [
        f"{out / 'train.txt'}: does not hold the 2 lines that it should",
        f"{out / 'val.txt'}: missing",
    ]


def test_an_empty_folder_has_everything_missing(streets, tmp_path):
    problems = check(tmp_path / "nothing", streets.spec)
    assert sum(problem.endswith(": missing") for problem in problems) == 10
