"""Which images and masks are found, and what their predictions are called."""

import os

import pytest

from segbook.prediction.files import find_images, find_masks


@pytest.fixture
def make(tmp_path):
    def write(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        return tmp_path

    return write


def names(*inputs, **options):
    return [image.name for image in find_images(inputs, **options).images]


def test_a_folder_with_all_below_it_in_natural_order(make):
    root = make("img10.png", "img2.JPG", "img1.tif", "b/a.png", "b2/a.png", "b10/a.png",
                "notes.txt", ".hidden.png", ".trash/a.png")  # fmt: skip
    assert names(root) == ["b/a", "b2/a", "b10/a", "img1", "img2", "img10"]


def test_of_a_data_folder_the_images(make):
    root = make("val/images/a.png", "val/masks/a.png", "val/instances/a.png", "train/masks/b.png")
    assert names(root) == ["train/masks/b", "val/a"]
    assert names(root / "val") == names(root / "val/images") == ["a"]
    assert names(root / "val", root / "val/images/a.png") == ["a"]


def test_equal_stems_of_several_inputs_keep_their_folders(make):
    root = make("day/1.png", "day/in/1.png", "night/1.png", "2.png")
    assert names(root / "day", root / "night") == ["day/1", "day/in/1", "night/1"]
    assert names(root / "night/1.png", root / "day/1.png") == ["day/1", "night/1"]
    assert names(root / "day", root / "2.png", root / "day/1.png") == ["2", "day/1", "day/in/1"]
    assert names(root / "day/1.png") == ["1"]


def test_what_has_one_name_is_refused(make):
    root = make("a1.jpg", "a01.png", "a1.png")
    with pytest.raises(ValueError, match=r"a1\.jpg and .*one stem.*\*\.jpg and with \*\.png"):
        find_images([root])
    assert names(make("c/x.y.png", "c/x.png") / "c") == ["x", "x.y"]


def test_a_file_that_is_given_may_end_in_anything(make):
    root = make("shot", "shot.v2")
    assert names(root / "shot", root / "shot.v2") == ["shot", "shot.v2"]


def test_closed_folders_are_not_looked_into(make):
    root = make("a.png", "out/labels/a.png", "out/b.png")
    assert names(root, leave=[root / "out/labels"]) == ["a", "out/b"]


def test_nothing_to_predict(make, tmp_path):
    with pytest.raises(ValueError, match="there is no image in .*: no file ends in .png"):
        find_images([make("a.txt")])
    with pytest.raises(ValueError, match=r"is missing, but .*a\.txt lies there"):
        find_images([tmp_path / "A.TXT"])


def test_links(make):
    root = make("a.png", "others/b.png")
    os.symlink(root / "others", root / "link")
    os.symlink(root / "nowhere.png", root / "lost.png")
    assert names(root) == ["a", "lost", "others/b"]
    assert names(root / "link") == ["b"]


def test_masks_by_their_path_or_by_their_stem(make):
    root = make("in/1.jpg", "in/day/1.jpg", "in/2.jpg", "in/3.jpg",
                "same/1.png", "same/day/1.png", "flat/2.png", "flat/9.png",
                "data/images/3.png", "data/masks/3.png",
                "sets/a/images/1.png", "sets/a/masks/1.png", "sets/b/images/1.png",
                "sets/b/masks/1.png")  # fmt: skip
    images = find_images([root / "in"]).images
    same, flat, data = (find_masks(root / folder, images) for folder in ("same", "flat", "data"))
    sets = find_masks(root / "sets", find_images([root / "sets"]).images)
    assert sets == {"a/1": root / "sets/a/masks/1.png", "b/1": root / "sets/b/masks/1.png"}
    assert same == {"1": root / "same/1.png", "day/1": root / "same/day/1.png"}
    assert flat == {"2": root / "flat/2.png"}
    assert data == {"3": root / "data/masks/3.png"}


def test_masks_that_may_belong_to_several_are_refused(make):
    root = make("in/a/1.jpg", "in/b/1.jpg", "one/1.png", "two/1.png", "two/1.bmp", "no/7.png")
    images = find_images([root / "in"]).images
    with pytest.raises(ValueError, match="may be the mask of several images"):
        find_masks(root / "one", images)
    with pytest.raises(ValueError, match="one of several masks"):
        find_masks(root / "two", images[:1])
    with pytest.raises(ValueError, match=r"has the stem of an image, such as 1\.png"):
        find_masks(root / "no", images)
    with pytest.raises(ValueError, match="there is no such folder"):
        find_masks(root / "nowhere", images)
