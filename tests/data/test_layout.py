"""Which files a line of a list means, and which a message names that lie nearby."""

import json
import os
import pickle
import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data import FolderDataset, batches, read_image
from segkit.data.layout import find_splits, match_lines
from segkit.doctor import inspect, inspect_folder, scan_folder

CLASSES = ("a", "b")


def fill(root, names, split="", masks=True):
    for number, name in enumerate(names):
        for part in ("images", "masks")[: 1 + masks]:
            (root / split / part).mkdir(parents=True, exist_ok=True)
            values = np.full((8, 12), number % 2, np.uint8)
            Image.fromarray(values).save(root / split / part / name, "PNG")
    (root / "classes.txt").write_text("a\nb\n")
    return root


@pytest.mark.parametrize(
    "line",
    ["x", "x.png", "x.jpg", "images/x.png", "./images/x.png", "masks/x", "images\\x.png", '"x"',
     "'images/x.png'", "images/x.png masks/x.png", "./images/x.png\t./masks/x.png",
     "images/x.png,masks/x.png", "x.PNG", "{root}/images/x.png", "images/../images/x.png"],
)  # fmt: skip
def test_what_a_line_means(tmp_path, line, monkeypatch):
    fill(tmp_path, ["x.png", "y.png"])
    line = line.format(root=tmp_path)
    for end in ("\n", "\r\n", "  \n"):
        (tmp_path / "some.txt").write_bytes(f"\ufeff{line}{end}".encode())
        (only,) = [FolderDataset(tmp_path, "some").stem(0)]
        assert only == "x"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert match_lines(["~/images/x.png"], {"x"}, tmp_path).stems == ["x"]
    monkeypatch.chdir(tmp_path)
    scan = scan_folder(".", splits=("some",), workers=0)
    assert [record.stem for record in scan.records] == ["x"]


@pytest.mark.parametrize(
    "line", ["X", "other/x.png", "x.gif", "/elsewhere/images/x.png", "images", "."]
)
def test_what_is_not_certain_is_refused_with_the_file_that_lies_there(tmp_path, line):
    fill(tmp_path, ["x.png", "y.png"])
    (tmp_path / "train.txt").write_text(f"y\n{line}\n")
    with pytest.raises(ValueError, match=r"train\.txt lists .*\(1 of 2 lines\)") as raised:
        FolderDataset(tmp_path, "train")
    if line in ("X", "other/x.png", "x.gif"):
        assert f"{tmp_path}/images/x.png lies there" in str(raised.value)
    (lost,) = [f for f in inspect_folder(tmp_path, workers=0) if f.check == "listed_without_files"]
    assert ("x.png lies there" in lost.what) == ("x.png lies there" in str(raised.value))


def test_a_stem_with_a_dot_is_no_ending(tmp_path):
    fill(tmp_path, ["x.png", "x.png.png", "v1.jpg.png"])
    (tmp_path / "some.txt").write_text("x.png\nv1.jpg\n")
    assert [FolderDataset(tmp_path, "some").stem(k) for k in range(2)] == ["v1.jpg", "x.png"]


@pytest.mark.parametrize(
    ("other", "said"),
    [("X.png", r"X\.png lies there, which is another name"),
     ("x.gif", r"x\.gif lies there, whose ending is not read"),
     ("x.jfif", r"x\.jfif lies there, whose ending is not read: it has to be one of \.png"),
     ("x_mask.png", r"x_mask\.png has another stem")],
)  # fmt: skip
def test_of_a_half_alone_what_lies_there_is_said(tmp_path, other, said):
    fill(tmp_path, ["x.png", "y.png"])
    (tmp_path / "masks" / "x.png").rename(tmp_path / "masks" / other)
    with pytest.raises(ValueError, match=rf"images/x\.png has no mask \(.*{said}"):
        FolderDataset(tmp_path)
    found = [f for f in inspect_folder(tmp_path, workers=0) if f.check == "image_without_mask"]
    assert "lies there" in found[0].what or "x_mask" in other


def test_a_root_that_is_not_there_says_what_is(tmp_path, monkeypatch):
    fill(tmp_path / "Data", ["x.png"])
    monkeypatch.setenv("HOME", str(tmp_path))
    for typed in (f"{tmp_path}/data", f"'{tmp_path}/Data'", "~/Data", f" {tmp_path}/Data "):
        with pytest.raises(ValueError, match="there is no such folder, but .*Data lies there"):
            FolderDataset(typed)
        with pytest.raises(ValueError, match="Data lies there"):
            inspect_folder(typed)
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(ValueError, match="this is a file"):
        FolderDataset(tmp_path / "a file")


def test_lines_that_are_there_again_and_files_of_two_splits_are_named(tmp_path):
    fill(tmp_path, [f"{k}.png" for k in range(24)])
    (tmp_path / "train.txt").write_text("\n".join(map(str, [*range(12), 3, "images/3.png", 4])))
    (tmp_path / "val.txt").write_text("\n".join(map(str, range(11, 22))))
    assert len(FolderDataset(tmp_path, "train")) == 12
    found = {f.check: f for f in inspect_folder(tmp_path, workers=0)}
    assert found["listed_twice"].what.startswith("3 lines of a list that name a pair again")
    assert [p.file for p in found["listed_twice"].places] == [
        f"{tmp_path}/train.txt: {line}" for line in ("3", "images/3.png", "4")
    ]
    assert found["in_two_splits"].severity == "warning"
    assert [p.file for p in found["in_two_splits"].places] == [f"{tmp_path}/images/11.png"]
    assert not any(f.severity == "error" for f in found.values())


def test_a_test_split_without_masks_is_left_out_and_said(tmp_path):
    for split in ("train", "val"):
        fill(tmp_path, [f"{k}.png" for k in range(10)], split)
    fill(tmp_path, [f"{k}.png" for k in range(3)], "test", masks=False)
    for _ in range(2):
        assert find_splits(tmp_path) == ["train", "val"]
        found = inspect(scan_folder(tmp_path, workers=0))
        assert [f.severity for f in found if f.check == "unlabelled_splits"] == ["note"]
        assert not [f for f in found if f.severity == "error"]
        (tmp_path / "test" / "masks").mkdir(exist_ok=True)  # empty: the same
    Image.new("L", (12, 8)).save(tmp_path / "test" / "masks" / "0.png")
    assert find_splits(tmp_path) == ["train", "val", "test"]  # some have masks: others lack theirs
    assert "image_without_mask" in {f.check for f in inspect_folder(tmp_path, workers=0)}


def test_a_list_to_predict_on(tmp_path):
    fill(tmp_path, [f"{k}.png" for k in range(20)])
    for k in range(16, 20):
        (tmp_path / "masks" / f"{k}.png").unlink()
    for split, numbers in {"train": range(10), "val": range(10, 16), "test": range(16, 20)}.items():
        (tmp_path / f"{split}.txt").write_text("\n".join(f"images/{k}.png" for k in numbers))
    assert find_splits(tmp_path) == ["train", "val"]
    assert scan_folder(tmp_path, workers=0).listing.unlabelled == (("test", 4),)


@pytest.mark.parametrize("name", ["train.txt", "val.txt"])
def test_a_pipe_in_place_of_a_list_is_named(tmp_path, name):
    fill(tmp_path, ["x.png", "y.png"])
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text("x\n")
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name} is a pipe"):
        FolderDataset(tmp_path, name.removesuffix(".txt"))
    with pytest.raises(ValueError, match=rf"{name} is a pipe"):
        inspect_folder(tmp_path)


LATIN = os.fsdecode(b"caf\xe9")


@pytest.fixture
def latin(tmp_path):
    """A folder in which every path has a byte that is no UTF-8."""
    root = tmp_path / LATIN
    try:
        fill(root, [f"{LATIN} {k}.png" for k in range(4)], "train")
    except (OSError, UnicodeEncodeError):
        pytest.skip("this system has no such names")
    return fill(root, [f"{LATIN} {k}.png" for k in range(4)], "val")


def test_names_that_are_no_text_are_read_hashed_and_listed(latin, tmp_path):
    dataset = FolderDataset(os.fsencode(latin), "train", classes=CLASSES)
    assert dataset.stem(0) == f"{LATIN} 0"
    assert len(dataset.manifest()) == 64
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[0][0], dataset[0][0])
    assert read_image(os.fsencode(latin / "train" / "images" / f"{LATIN} 0.png")).shape == (
        3,
        8,
        12,
    )
    train = latin / "train"
    (train / "some.txt").write_bytes(b"caf\xe9 1\nimages/caf\xe9 2.png\n")
    assert len(FolderDataset(train, "some", classes=CLASSES)) == 2
    (train / "some.txt").write_bytes(b"caf\xe9 9\n")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        FolderDataset(train, "some", classes=CLASSES)


def test_messages_of_names_that_are_no_text_can_be_printed(latin):
    (latin / "train" / "masks" / f"{LATIN} 1.png").write_bytes(b"")
    told = []
    dataset = FolderDataset(latin, "train", classes=CLASSES)
    list(batches(dataset, batch_size=2, seed=0, stop=4, bad_samples=2, on_bad=told.append))
    assert r"caf\udce9 1" in str(told[0])
    findings = inspect_folder(latin, workers=0)
    for text in (*map(str, told), *map(str, findings)):
        text.encode()
    assert r"caf\udce9 1.png is empty" in "".join(map(str, findings))
    json.dumps([str(place) for finding in findings for place in finding.places]).encode()
    (latin / "train" / "masks" / f"{LATIN} 1.png").unlink()
    with pytest.raises(ValueError, match=r"caf\\udce9 1\.png has no mask") as raised:
        FolderDataset(latin, "train", classes=CLASSES)
    str(raised.value).encode()


def test_a_manifest_of_what_cannot_be_read(tmp_path):
    """It is made all the same, at once: the doctor is the one who names the files."""
    dataset = FolderDataset(fill(tmp_path, ["x.png", "y.png"]))
    whole = dataset.manifest()
    mask = tmp_path / "masks" / "x.png"
    with mask.open("wb") as file:
        file.truncate(40 << 30)
    assert dataset.manifest() != whole
    mask.unlink()
    assert dataset.manifest() != whole
    os.mkfifo(mask)
    assert dataset.manifest() != whole


def test_lists_in_another_unicode_form_say_so(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Zürich") for form in ("NFC", "NFD"))
    fill(tmp_path, [f"{composed}.png"])
    (tmp_path / "train.txt").write_text(apart)
    with pytest.raises(ValueError, match=rf"{composed}\.png lies there, which is another name"):
        FolderDataset(tmp_path, "train")


@pytest.mark.parametrize(
    ("folder", "other", "split"),
    [("images", "Images", None), ("masks", "MASKS", None), ("train", "Train", "train")],
)
def test_a_folder_of_another_case_is_named(tmp_path, folder, other, split):
    fill(tmp_path, ["x.png"], split=split or "")
    (tmp_path / folder).rename(tmp_path / other)
    with pytest.raises(ValueError, match=f"there is {other} in another case: rename it"):
        FolderDataset(tmp_path, split)
    (tmp_path / other).rename(tmp_path / folder)  # as it says
    assert len(FolderDataset(tmp_path, split)) == 1


def test_a_list_of_another_case_is_named(tmp_path):
    fill(tmp_path, ["x.png"])
    for name in ("Train.txt", "VAL.txt", "train.zip", "val.csv"):
        (tmp_path / name).write_text("x\n")
    with pytest.raises(ValueError, match=r"is Train\.txt in another"):
        FolderDataset(tmp_path, "train")
    with pytest.raises(ValueError, match=r"Train\.txt and VAL\.txt in another"):
        find_splits(tmp_path)


def test_the_doctor_names_a_split_of_another_case(tmp_path):
    for split in ("Train", "val"):
        fill(tmp_path, ["x.png"], split=split)
    (found,) = [f for f in inspect_folder(tmp_path) if f.check == "split_in_another_case"]
    assert found.fix == "rename Train to train"
    (tmp_path / "Train").rename(tmp_path / "train")  # as it says
    assert not [f for f in inspect_folder(tmp_path) if f.check == "split_in_another_case"]
    assert find_splits(tmp_path) == ["train", "val"]


def test_an_empty_test_split_is_left_out_by_the_doctor_too(tmp_path):
    for split in ("train", "val"):
        fill(tmp_path, ["x.png"], split=split)
    for part in ("images", "masks"):
        (tmp_path / "test" / part).mkdir(parents=True)
        assert find_splits(tmp_path) == ["train", "val"]
        found = inspect_folder(tmp_path)
        assert "unlabelled_splits" in [f.check for f in found]
        assert not [f for f in found if f.severity == "error"]
