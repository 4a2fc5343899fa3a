"""A folder of one's own by its data.yaml: layouts, values, bands, and what is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data import Description, FolderDataset, open_folder
from segkit.data.bands import Reading
from segkit.data.catalog import find
from segkit.data.data_file import DataFile, meanings

NAMES = "{0: sky, 7: road, 8: road, 255: car}"


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path)


def pair(root, image, mask, values=(0, 7, 8, 255)):
    save(root / image, np.full((4, 4, 3), 90, np.uint8))
    save(root / mask, np.repeat(np.uint8(values), 4).reshape(4, 4))


@pytest.mark.parametrize(
    ("files", "said", "split", "names"),
    [
        ([("images/a.png", "masks/a.png")], "", None, ["a"]),
        ([("img/a.jpg", "gt/a.png"), ("img/b.JPG", "gt/b.png")], "images: img\nmasks: gt", None,
         ["a", "b"]),
        ([("a.png", "a_mask.png"), ("b c.png", "b c_mask.png")],
         'images: "*.png"\nmasks: "*_mask.png"', None, ["a", "b c"]),
        ([("x/img_1.png", "y/lbl_1.png")], "images: x/img_*\nmasks: y/lbl_*.png", None, ["1"]),
        ([("i/p/a.png", "m/p/a.png"), ("i/q/a.png", "m/q/a.png")], "images: i\nmasks: m", None,
         ["p/a", "q/a"]),
        ([("i/p/a.png", "m/p/a.png"), ("i/q/b.png", "m/q/b.png")], "images: i\nmasks: m", None,
         ["a", "b"]),
        ([("train/i/a.png", "train/m/a.png")], "images: i\nmasks: m", "train", ["a"]),
        ([("i/t/a.png", "m/t/a.png")], "val: {images: i/t, masks: m/t}", "val", ["a"]),
        ([("images/a.png", "masks/a.png"), ("images/01.png", "masks/01.png")], 'test: ["01"]',
         "test", ["01"]),
        ([("p/a b.png", "q/c.png")], 'train: ["p/a b.png\\tq/c.png"]', "train", ["a b"]),
        ([("p/a.png", "q/c.png")], 'train: ["p/a.png, q/c.png"]', "train", ["a"]),
    ],
)  # fmt: skip
def test_layouts(tmp_path, files, said, split, names):
    for one in files:
        pair(tmp_path, *one)
    (tmp_path / "data.yaml").write_text(f"classes: {NAMES}\n{said}\n")
    dataset = open_folder(tmp_path, split)
    assert [dataset.stem(k) for k in range(len(dataset))] == names
    image, mask = dataset.raw(0)
    assert image.shape == (3, 4, 4)
    assert mask[:, 0].tolist() == [0, 1, 1, 2]
    assert dataset.classes == ("sky", "road", "car")


def test_a_list_of_stems_or_pairs_is_read_from_root_or_beside_the_file(tmp_path):
    root, beside = tmp_path / "data", tmp_path / "notes"
    beside.mkdir()
    for stem in "abcd":
        pair(root, f"images/{stem}.png", f"masks/{stem}.png")
    (root / "train.txt").write_text("a\nb.png\n")
    (beside / "val.txt").write_text("images/c.png masks/c.png\nd\n")
    (beside / "mine.yaml").write_text(f"root: ../data\nclasses: {NAMES}\n")
    sets = find("folder").open_splits(str(beside / "mine.yaml"))
    assert {k: [one.stem(i) for i in range(len(one))] for k, one in sets.items()} == {
        "train": ["a", "b"],
        "val": ["c", "d"],
    }


def test_void_is_said_by_the_file_and_the_recipe(tmp_path):
    pair(tmp_path, "images/a.png", "masks/a.png", (0, 1, 2, 3))
    (tmp_path / "data.yaml").write_text("classes: [a, b]\nignore: 2\n")
    with pytest.raises(ValueError, match=r"holds 3 \(4 pixels\), of which .*data.yaml says noth"):
        open_folder(tmp_path).raw(0)
    assert open_folder(tmp_path, ignore=3).raw(0)[1][:, 0].tolist() == [0, 1, 255, 255]


def test_palette_by_name_and_in_order(tmp_path):
    pair(tmp_path, "images/a.png", "masks/a.png")
    for said in ("{car: [3, 0, 0], sky: [1, 0, 0], road: [2, 0, 0]}",
                 "[[1, 0, 0], [2, 0, 0], [3, 0, 0]]"):  # fmt: skip
        (tmp_path / "data.yaml").write_text(f"classes: {NAMES}\npalette: {said}\n")
        assert open_folder(tmp_path).palette == ((1, 0, 0), (2, 0, 0), (3, 0, 0))


def test_json_is_yaml_and_classes_may_lie_beside(tmp_path):
    pair(tmp_path, "images/a.png", "masks/a.png", (0, 1, 1, 0))
    (tmp_path / "classes.txt").write_text("one\ntwo\n")
    (tmp_path / "data.yaml").write_text(json.dumps({"images": "images"}))
    assert open_folder(tmp_path).classes == ("one", "two")


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ("classes: {0: a, 1: b}\nclass: x", "has a field 'class', and there are root, images"),
        (
            "classes: {0: a, 300: b}",
            r"has classes: \{0: 'a', 300: 'b'\}, and takes a name for each",
        ),
        ("classes: {0: a, 0: b}", "line 1: '0' is there twice"),
        ("classes: {0: a}", "2 to 255 different names"),
        ("classes: [a, b]\nignore: 1", "has ignore: 1, and takes .*1 is 'b'"),
        ("classes: [a, b]\nmean: [0.5]", r"has mean: \[0.5\].*3 bands are read"),
        ("classes: [a, b]\nmean: [0.5, 0.5, 0.5]", "one of mean and std"),
        ("classes: [a, b]\nbands: [0]", r"has bands: \[0\]"),
        ("classes: [a, b]\nrange: [9, 1]", "the lower value comes first"),
        ("classes: [a, b]\nrange: [0, .inf]", "finite numbers that differ"),
        ("classes: [a, b]\nrange: [0, 1.0e+300]", "finite numbers that differ"),
        ("classes: [a, b]\nrange: [[0, 1], [16777216, 16777217]]", "finite numbers that differ"),
        ("classes: [a, b]\nrange: [[0, 1], 5]", "two numbers, or two for each band"),
        ("classes: [a, b]\nshow: [4]", "has show: .4.*are read"),
        ("classes: [a, b]\nroot: nowhere", "has root: 'nowhere'.*no such folder"),
        ("classes: [a, b]\npalette: {a: [0, 0, 0]}", "'b' is not in both classes and palette"),
        ("classes: [a, b]\ntrain: [1, 2]", r"has train: \[1, 2\], and takes a text file"),
        ("classes: [a, b]\ntrain: lost.txt", "has train: 'lost.txt'.*is missing"),
        ("classes: [a, b]\ntrain: [b]", "lists 'b', which is neither a pair of files"),
        ("classes: [a, b]\nimages: img", "images is 'img', and no file in .* is such"),
        ("classes: [a, b]\nimages: '*/*'", "stands there more than once"),
        ("classes: [a", "is no YAML"),
        ("just words", "holds 'just words': it must have fields"),
        ("a: &x [1,1]\nb: [*x, *x]", "has a field 'a'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, said, match):
    pair(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "data.yaml").write_text(said)

    def open_it():
        description = Description(tmp_path / "data.yaml")
        description.open("train" if "train" in description.splits else None)

    with pytest.raises(ValueError, match=match) as caught:
        open_it()
    assert "data.yaml" in str(caught.value)


def test_a_file_without_its_half_is_named(tmp_path):
    pair(tmp_path, "images/a.png", "masks/a.png")
    save(tmp_path / "images/b.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "data.yaml").write_text("classes: [a, b]")
    with pytest.raises(ValueError, match=r"b\.png has no mask, which would be named 'b' in masks"):
        open_folder(tmp_path)


def test_without_splits_there_is_nothing_to_train_on(tmp_path):
    pair(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "data.yaml").write_text("classes: [a, b]")
    with pytest.raises(ValueError, match="says nothing of train and val: `segbook data split`"):
        find("folder").open_splits(str(tmp_path))


def test_sixteen_bits_need_a_range_and_keep_their_precision(tmp_path):
    values = np.arange(1000, 1016, dtype=np.uint16).reshape(4, 4)
    save(tmp_path / "a.png", values)
    with pytest.raises(ValueError, match=r"uint16 values.*range: \[1000, 1015\]"):
        Reading(bands=(1,)).read(tmp_path / "a.png")
    image = Reading(range=((1000.0, 1010.0),)).read(tmp_path / "a.png")
    assert image.dtype == torch.float32
    assert image.shape == (1, 4, 4)
    assert torch.allclose(image.flatten()[:12], torch.arange(12).clamp(max=10) * 25.5)
    assert Reading().shown(image).shape == (3, 4, 4)


def test_bands_of_a_picture(tmp_path):
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[:] = (10, 20, 30)
    save(tmp_path / "a.png", colours)
    reading = Reading(bands=(3, 1), show=(3,))
    image = reading.read(tmp_path / "a.png")
    assert image[:, 0, 0].tolist() == [30, 10]
    assert image.dtype == torch.uint8
    assert reading.shown(image)[:, 0, 0].tolist() == [30, 30, 30]
    with pytest.raises(ValueError, match="has 3 bands, and data.yaml asks for band 4"):
        Reading(bands=(4,)).read(tmp_path / "a.png")
    assert Reading.from_dict(json.loads(json.dumps(reading.to_dict()))) == reading


def test_a_tiff_of_many_bands(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    values = np.arange(5 * 16, dtype=np.uint16).reshape(5, 4, 4)
    size = {"width": 4, "height": 4, "count": 5, "dtype": "uint16"}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **size) as file:
        file.write(values)
    reading = Reading(bands=(5, 1), range=((64.0, 79.0), (0.0, 15.0)), show=(5, 1, 1))
    image = reading.read(tmp_path / "a.tif")
    assert torch.allclose(image[0], image[1])
    assert float(image.max()) == 255
    assert reading.shown(image).dtype == torch.uint8


@pytest.mark.parametrize(
    ("dtype", "stored"), [("uint32", (0, 1 << 31, (1 << 32) - 1)), ("int8", (-100, 0, 100))]
)
def test_the_sign_of_a_tiffs_values_is_kept(tmp_path, dtype, stored):
    rasterio = pytest.importorskip("rasterio")
    values = np.array([stored], dtype)[None]
    size = {"width": 3, "height": 1, "count": 1, "dtype": dtype}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **size) as file:
        file.write(values)
    image = Reading(range=((float(stored[0]), float(stored[2])),)).read(tmp_path / "a.tif")
    assert torch.allclose(image.flatten(), torch.tensor([0, 127.5, 255]))


@pytest.mark.parametrize("said", ["", "\nrange: [0, 65535]"])
def test_sixteen_bits_of_rgb_need_a_range_as_well(tmp_path, said):
    rasterio = pytest.importorskip("rasterio")
    pair(tmp_path, "images/a.png", "masks/a.png", (0, 1, 1, 0))
    size = {"width": 4, "height": 4, "count": 3, "dtype": "uint16", "driver": "PNG"}
    with rasterio.open(tmp_path / "images/a.png", "w", **size) as file:
        file.write(np.full((3, 4, 4), 257 * 7 + 100, np.uint16))
    (tmp_path / "data.yaml").write_text(f"classes: [a, b]{said}")
    dataset = open_folder(tmp_path)
    if said:
        assert torch.allclose(dataset.raw(0)[0], torch.tensor(7 + 100 / 257))
    else:
        with pytest.raises(ValueError, match=r"a\.png has more than 8 bits.*range: \[0, 65535\]"):
            dataset.raw(0)


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["images/a.png masks/a.png", "images/a.png masks/b.png"], r"b\.png: of one image"),
        (["a", "images/a.png masks/b.png"], "of one image"),
        (["images/a.png masks/a.png", "images/../images/a.png masks/b.png"], "of one image"),
        (["images/a.png masks/a.png", "images/a.jpg masks/b.png"], "or one name"),
        (["a", "images/a.png masks/a.png"], ""),
    ],
)
def test_an_image_has_one_line(tmp_path, lines, match):
    for stem in "ab":
        pair(tmp_path, f"images/{stem}.png", f"masks/{stem}.png")
    (tmp_path / "data.yaml").write_text(json.dumps({"classes": ["x", "y"], "train": lines}))
    if not match:
        assert len(open_folder(tmp_path, "train")) == 1
        return
    if "jpg" in lines[1]:
        save(tmp_path / "images/a.jpg", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=match):
        open_folder(tmp_path, "train")


def test_a_band_to_show_that_a_file_lacks_is_named(tmp_path):
    save(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="has 3 bands, and show in data.yaml asks for band 9"):
        Reading(range=((0.0, 255.0),), show=(1, 2, 9)).read(tmp_path / "a.png")


def test_places_outside_of_root_may_be_absolute(tmp_path):
    pair(tmp_path / "far", "images/a.png", "masks/a.png", (0, 1, 1, 0))
    (tmp_path / "own").mkdir()
    (tmp_path / "link").symlink_to("own")
    images, masks = (str(tmp_path / "far" / part) for part in ("images", "masks"))
    said = {"images": images, "masks": f"{masks}/*.png", "classes": ["x", "y"],
            "train": [f"{images}/a.png {masks}/a.png"],
            "val": {"images": images, "masks": masks}}  # fmt: skip
    (tmp_path / "own/data.yaml").write_text(json.dumps(said))
    for folder in ("own", "link"):
        for split in (None, "train", "val"):
            dataset = open_folder(tmp_path / folder, split)
            assert [dataset.stem(0), len(dataset)] == ["a", 1]
            assert dataset.raw(0)[1][:, 0].tolist() == [0, 1, 1, 0]


def test_a_tiff_of_other_bands_says_what_to_write(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    size = {"width": 4, "height": 4, "count": 5, "dtype": "uint16", "driver": "GTiff"}
    with rasterio.open(tmp_path / "a.tif", "w", **size) as file:
        file.write(np.zeros((5, 4, 4), np.uint16))
    with pytest.raises(ValueError, match=r"say which in data.yaml, such as bands: .* and range:"):
        Reading().read(tmp_path / "a.tif")
    Image.new("CMYK", (4, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="has CMYK pixels, .*leave bands and range out"):
        Reading(bands=(1,)).read(tmp_path / "a.jpg")


def test_the_manifest_changes_with_what_the_file_says(tmp_path):
    pair(tmp_path, "images/a.png", "masks/a.png")
    seen = set()
    for said in (NAMES, "{0: sky, 7: road, 8: car, 255: car}", f"{NAMES}\nbands: [1]"):
        (tmp_path / "data.yaml").write_text(f"classes: {said}\n")
        seen.add(open_folder(tmp_path).manifest())
    assert len(seen) == 3


def test_a_folder_without_the_file_is_what_it_was(tmp_path):
    pair(tmp_path, "images/a.png", "masks/a.png", (0, 1, 1, 255))
    (tmp_path / "classes.txt").write_text("one\ntwo\n")
    dataset = open_folder(tmp_path)
    assert type(dataset) is FolderDataset
    assert dataset._meaning == 255


def test_every_field_says_what_it_means():
    assert meanings().keys() == set(DataFile.__struct_fields__)
