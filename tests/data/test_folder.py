"""FolderDataset: pairs by stem, classes from beside, and errors that name the file."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segkit import transforms
from segkit.data import FolderDataset, SyntheticStreets, write_folder
from segkit.outputs import IGNORE

CLASSES = ("cell", "wall", "gap")


def fill(root, stems=("a", "b", "c"), *, split="", suffix=".png", values=(0, 1, 2, 255)):
    """Write a small data set; pixel (0, 0) of an image holds the number of its pair."""
    generator = np.random.default_rng(3)
    for part in ("images", "masks"):
        (root / split / part).mkdir(parents=True, exist_ok=True)
    for number, stem in enumerate(stems):
        image = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        image[0, 0] = number
        Image.fromarray(image).save(root / split / "images" / f"{stem}{suffix}")
        mask = generator.choice(np.array(values, np.uint8), (12, 16))
        Image.fromarray(mask).save(root / split / "masks" / f"{stem}.png")
    return root


@pytest.mark.parametrize("part", ["images", "masks"])
def test_an_entry_that_is_no_file_is_named(tmp_path, part):
    path = fill(tmp_path) / part / "b.png"
    path.rename(tmp_path / "moved.png")
    path.symlink_to(tmp_path / "moved.png")
    assert len(FolderDataset(tmp_path, classes=CLASSES)) == 3
    (tmp_path / "moved.png").unlink()
    with pytest.raises(
        ValueError, match=rf"{part}/b\.png is a link to .*moved\.png, where no file"
    ):
        FolderDataset(tmp_path, classes=CLASSES)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=rf"{part}/b\.png is a folder, not a file"):
        FolderDataset(tmp_path, classes=CLASSES)


def test_pairs_in_the_order_of_their_stems(tmp_path):
    data = FolderDataset(fill(tmp_path, ("b", "c.2", "a")), classes=CLASSES)
    assert len(data) == 3
    assert [data.stem(index) for index in range(3)] == ["a", "b", "c.2"]
    assert [int(image[0, 0, 0]) for image, _ in data] == [2, 0, 1]
    image, mask = data[-1]
    assert image.shape == (3, 12, 16)
    assert image.dtype == torch.uint8
    assert set(mask.unique().tolist()) == {0, 1, 2, IGNORE}
    expected = np.array(Image.open(tmp_path / "masks" / "c.2.png"))
    assert np.array_equal(mask.numpy(), expected)
    assert repr(data) == f"FolderDataset({str(tmp_path)!r}: 3 pairs, 3 classes)"
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"pair {index} of 3"):
            data[index]


def test_split_is_a_folder_or_a_list(tmp_path):
    fill(tmp_path, ("x", "y"), split="train", suffix=".webp")
    fill(tmp_path, ("p", "q", "r s"))
    (tmp_path / "some.txt").write_text("r s\n\np\n")
    assert len(FolderDataset(tmp_path, "train", classes=CLASSES)) == 2
    listed = FolderDataset(tmp_path, "some", classes=CLASSES)
    assert [listed.stem(index) for index in range(2)] == ["p", "r s"]
    (tmp_path / "images" / "unlabelled.png").write_bytes(b"")  # not in the list: no matter
    assert len(FolderDataset(tmp_path, "some", classes=CLASSES)) == 2
    with pytest.raises(ValueError, match=r"no split 'test' .*test\.txt"):
        FolderDataset(tmp_path, "test", classes=CLASSES)
    (tmp_path / "bad.txt").write_text("p\nz\n")
    with pytest.raises(ValueError, match=r"bad\.txt lists 'z', but .* has no such file \(1 of 2"):
        FolderDataset(tmp_path, "bad", classes=CLASSES)
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"none\.txt lists no stem"):
        FolderDataset(tmp_path, "none", classes=CLASSES)
    (tmp_path / "windows.txt").write_bytes("\ufeffp\r\nq\r\n".encode())
    assert len(FolderDataset(tmp_path, "windows", classes=CLASSES)) == 2
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfep")
    with pytest.raises(ValueError, match=r"binary\.txt is no text in UTF-8"):
        FolderDataset(tmp_path, "binary", classes=CLASSES)


def test_classes_and_palette_from_beside(tmp_path):
    fill(tmp_path)
    (tmp_path / "classes.txt").write_text("cell\n wall \n\ngap\n")
    data = FolderDataset(tmp_path)
    assert data.classes == CLASSES
    assert data.num_classes == 3
    assert data.palette == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    (tmp_path / "classes.json").write_text(json.dumps(["one", "two", "three"]))
    assert FolderDataset(tmp_path).classes == ("one", "two", "three")
    palette = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": CLASSES, "palette": palette}))
    assert FolderDataset(tmp_path).palette == ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    given = FolderDataset(tmp_path, classes=CLASSES[::-1], palette=np.eye(3, dtype=int))
    assert given.classes == ("gap", "wall", "cell")
    assert given.palette == ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1", r"classes\.json is no JSON"),
        ('["only"]', "2 to 255 different names"),
        ('["same", "same"]', "2 to 255 different names"),
        ('{"names": ["a", "b"]}', r"gives \{'names'"),
        ("[" * 100_000, r"classes\.json is no JSON"),
        ('"ab"', "gives 'ab'"),
        ('{"classes": ["a", "b"], "palette": [[1, 2, 3]]}', "palette=.* for 2 classes"),
        ('{"classes": ["a", "b"], "palette": [[1, 2, 3], [1, 2, 256]]}', "in 0..255"),
        ('{"classes": ["a", "b"], "palette": [[1, 2, 3], "blu"]}', "in 0..255"),
    ],
)
def test_wrong_classes(tmp_path, content, message):
    fill(tmp_path)
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        FolderDataset(tmp_path)


def test_unknown_classes(tmp_path):
    with pytest.raises(ValueError, match=r"classes\.txt there, .* classes=\(name"):
        FolderDataset(fill(tmp_path))


@pytest.mark.parametrize("ignore", [-1, 256, True, None])
def test_wrong_void_id(tmp_path, ignore):
    with pytest.raises(ValueError, match="id of void pixels"):
        FolderDataset(fill(tmp_path), classes=CLASSES, ignore=ignore)


def test_void_id_of_the_files_becomes_ignore(tmp_path):
    fill(tmp_path, values=(0, 1, 2, 3))
    data = FolderDataset(tmp_path, classes=CLASSES, ignore=3)
    raw = np.array(Image.open(tmp_path / "masks" / "a.png"))
    assert np.array_equal(data[0][1].numpy(), np.where(raw == 3, IGNORE, raw))
    with pytest.raises(ValueError, match=r"a\.png holds 3 \(\d+ pixels\)"):
        FolderDataset(tmp_path, classes=CLASSES)[0]
    zero = FolderDataset(tmp_path, classes=(*CLASSES, "more"), ignore=0)  # void may be any id
    assert np.array_equal(zero[0][1].numpy(), np.where(raw == 0, IGNORE, raw))


def test_layout_errors(tmp_path):
    with pytest.raises(ValueError, match=r"no data in .*nowhere: .*data_scripts"):
        FolderDataset(tmp_path / "nowhere", classes=CLASSES)
    with pytest.raises(ValueError, match="no folder .*images"):
        FolderDataset(tmp_path, classes=CLASSES)
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match="no folder .*masks"):
        FolderDataset(tmp_path, classes=CLASSES)
    (tmp_path / "masks").mkdir()
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "images" / ".hidden.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no pairs in .* ends in \.png"):
        FolderDataset(tmp_path, classes=CLASSES)


def test_halves_of_pairs(tmp_path):
    fill(tmp_path)
    (tmp_path / "masks" / "b.png").rename(tmp_path / "masks" / "b_mask.png")
    with pytest.raises(ValueError, match=r"b\.png has no mask \(b_mask\.png has another stem\)"):
        FolderDataset(tmp_path, classes=CLASSES)
    (tmp_path / "masks" / "b_mask.png").rename(tmp_path / "masks" / "b.png")
    (tmp_path / "images" / "c.png").unlink()
    with pytest.raises(ValueError, match=r"masks.c\.png has no image \(1 of 3 files have none"):
        FolderDataset(tmp_path, classes=CLASSES)


def test_two_files_of_one_stem(tmp_path):
    fill(tmp_path)
    Image.new("RGB", (16, 12)).save(tmp_path / "images" / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png have one stem"):
        FolderDataset(tmp_path, classes=CLASSES)


def test_two_sizes_in_a_pair(tmp_path):
    fill(tmp_path)
    Image.new("L", (12, 16)).save(tmp_path / "masks" / "b.png")
    data = FolderDataset(tmp_path, classes=CLASSES)
    data[0]
    with pytest.raises(ValueError, match=r"b\.png has 16x12 pixels .*b\.png 12x16"):
        data[1]


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        (
            (0, 1, 77),
            r"holds 77 \(\d+ pixels\), .* ids 0 to 2 .*name their id .ignore=77 .*--set ignore=77",
        ),
        ((0, 200), "divide it by 200"),
        (range(3, 40), "and 32 more values.*never smoothed"),
    ],
)
def test_labels_out_of_range(tmp_path, values, hint):
    data = FolderDataset(fill(tmp_path, values=values), classes=CLASSES)
    with pytest.raises(ValueError, match=hint) as raised:
        data[0]
    assert str(tmp_path / "masks" / "a.png") in str(raised.value)


def test_zero_and_255_of_two_classes_is_suspicious(tmp_path):
    data = FolderDataset(fill(tmp_path, values=(0, 255)), classes=("no", "yes"))
    with pytest.warns(UserWarning, match=r"a\.png holds 0 and 255 only.*divide"):
        data[0]
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data[1]  # said once


def test_an_rgb_mask_names_the_file(tmp_path):
    fill(tmp_path)
    Image.new("RGB", (16, 12)).save(tmp_path / "masks" / "b.png")
    with pytest.raises(ValueError, match=r"b\.png is a colour picture"):
        FolderDataset(tmp_path, classes=CLASSES)[1]


def test_cache_reads_once_and_is_shared(tmp_path):
    data = FolderDataset(fill(tmp_path), classes=CLASSES)
    other = data.with_transform(transforms.evaluate())
    first = data[0]
    for part in ("images", "masks"):
        for path in (tmp_path / part).iterdir():
            path.write_bytes(b"gone")
    assert torch.equal(data[0][0], first[0])
    assert other[0][1].dtype == torch.int64
    assert data.transform is None
    with pytest.raises(ValueError, match="cannot be read"):
        data[1]
    with pytest.raises(ValueError, match="cannot be read"):
        FolderDataset(tmp_path, classes=CLASSES, cache=False)[0]


def test_no_cache_reads_again(tmp_path):
    data = FolderDataset(fill(tmp_path), classes=CLASSES, cache=False)
    data[0]
    (tmp_path / "images" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        data[0]


def test_what_is_given_out_may_be_written_into(tmp_path):
    data = FolderDataset(fill(tmp_path), classes=CLASSES)
    image, mask = data[0]
    before = image.clone(), mask.clone()
    image.zero_()
    mask.zero_()
    assert torch.equal(data.raw(0)[0], before[0])
    assert torch.equal(data.raw(0)[1], before[1])


def test_pickle_leaves_the_cache_behind(tmp_path):
    data = FolderDataset(fill(tmp_path), classes=CLASSES, transform=transforms.evaluate())
    small = len(pickle.dumps(data))
    images, _ = data[0]
    assert len(pickle.dumps(data)) == small
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again[0][0], images)


def test_manifest_tells_data_apart(tmp_path):
    fill(tmp_path)
    first = FolderDataset(tmp_path, classes=CLASSES).manifest()
    assert len(first) == 64
    assert FolderDataset(tmp_path, classes=CLASSES).manifest() == first
    assert FolderDataset(tmp_path, classes=CLASSES[::-1]).manifest() != first
    assert FolderDataset(tmp_path, classes=CLASSES, ignore=9).manifest() != first
    mask = np.array(Image.open(tmp_path / "masks" / "a.png"))
    mask[0, 0] = 1 - min(mask[0, 0], 1)
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    second = FolderDataset(tmp_path, classes=CLASSES).manifest()
    assert second != first
    for part in ("images", "masks"):
        (tmp_path / part / "c.png").rename(tmp_path / part / "d.png")
    assert FolderDataset(tmp_path, classes=CLASSES).manifest() not in (first, second)


@pytest.mark.data
def test_membranes_of_the_electron_microscope():
    here = Path(__file__).resolve().parents[2].parent / "shared"
    root = Path(os.environ.get("SEGBOOK_SHARED", here)) / "data" / "isbi_em"
    if not root.is_dir():
        pytest.skip(f"the real ISBI images are not at {root}")
    data = FolderDataset(root, classes=("cell", "membrane"), cache=False)
    assert len(data) == 30
    assert len(FolderDataset(root, "train", classes=data.classes)) == 24
    shares = [float((data[index][1] == 1).float().mean()) for index in range(0, 30, 5)]
    assert data[0][0].shape == (3, 512, 512)
    assert 0.18 < sum(shares) / len(shares) < 0.26  # 22.0 % of all pixels


def test_what_is_written_is_read_again(tmp_path):
    streets = SyntheticStreets("val", size=(16, 20), length=3)
    for split, palette in ((None, None), ("val", streets.palette)):
        pairs = map(streets.raw, range(3))
        write_folder(tmp_path / "new", pairs, streets.classes, palette, split=split)
        again = FolderDataset(tmp_path / "new", split)
        assert again.classes == streets.classes
        assert (again.palette == streets.palette) is bool(palette)
        assert [again.stem(index) for index in range(3)] == ["000", "001", "002"]
        for index in range(3):
            assert all(map(torch.equal, again.raw(index), streets.raw(index)))
    with pytest.raises(ValueError, match="not empty"):
        write_folder(tmp_path / "new", [], streets.classes)
