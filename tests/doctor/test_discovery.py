"""What is found in a folder of unknown layout, and how its pairs are dealt out to splits."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from segbook import cli
from segkit.data import Description
from segkit.data.pairs import PairDataset
from segkit.doctor import scan_data
from segkit.doctor.data.discovery import discover
from segkit.doctor.data.splitting import split_records, table_of


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def lay(root, image, mask, *, number=4, splits=("",), values=(0, 1)):
    """Write pairs by the names that have a split and a number in them."""
    random = np.random.default_rng(0)
    for split in splits:
        for k in range(number):
            shot = random.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            save(root / image.format(split=split, k=k), shot)
            save(root / mask.format(split=split, k=k), random.choice(np.uint8(values), (40, 40)))


@pytest.mark.parametrize(
    ("image", "mask", "splits", "images", "masks"),
    [
        ("images/{k}.jpg", "masks/{k}.png", [""], "images", "masks"),
        ("img/a{k}.jpg", "gt/a{k}.png", [""], "img", "gt"),
        ("JPEGImages/{k}.jpg", "SegmentationClass/{k}.png", [""], "JPEGImages",
         "SegmentationClass"),
        ("x{k}.jpg", "x{k}_mask.png", [""], ".", "*_mask"),
        ("d/{k}_sat.jpg", "d/{k}_mask.png", [""], "d/*_sat", "d/*_mask"),
        ("raw/{k}.png", "labels/{k}_L.png", [""], "raw", "labels/*_L"),
        ("images/{split}/{k}.png", "labels/{split}/{k}.png", ["train", "val"], "images/train",
         "labels/train"),
        ("{split}/img/{k}.png", "{split}/annotations/{k}.png", ["training", "validation"],
         "training/img", "training/annotations"),
        ("leftImg8bit/{split}/u/{k}_leftImg8bit.png", "gtFine/{split}/u/{k}_gtFine_labelIds.png",
         ["train", "val"], "leftImg8bit/train/*_leftImg8bit", "gtFine/train/*_gtFine_labelIds"),
        ("photos of me/{k}.png", "masks/{k}.png", [""], "photos of me", "masks"),
    ],
)  # fmt: skip
def test_layouts_are_found_and_the_file_reads_them(
    tmp_path, image, mask, splits, images, masks, monkeypatch
):
    lay(tmp_path, image, mask, splits=splits)
    found = discover(tmp_path)
    at = found.splits.get("train", "")
    assert (found.images.pattern(at), found.masks.pattern(at)) == (images, masks)
    done = CliRunner().invoke(cli.main, ["data", str(tmp_path)])
    assert done.exit_code == 0, done.output
    description = Description(tmp_path / "data.yaml")
    sizes = [len(description.open(split)) for split in description.splits or [None]]
    assert sizes == [4] * len(splits)
    assert description.classes.names == ("background", "class_1")
    wanted = "train one_protocol" if splits != [""] else "data split"
    assert f"next: segbook {wanted}" in done.output


def test_nothing_is_overwritten_and_what_is_there_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    lay(tmp_path / "own", "images/{k}.png", "masks/{k}.png", values=(0, 255))
    (tmp_path / "own/data.yaml").write_text("mine")
    lay(tmp_path / "odd", "a/{k}.png", "b/q{k}.png")
    for arguments, said in (
        (["data", "empty"], "holds no pictures"),
        (["data", "own"], "is there already"),
        (["data", "odd"], "no two of one name"),
        (["data", "lost"], "is no folder"),
        (["data", "own", "--out", "x.txt"], "does not end in .yaml"),
        (["data", "split", "own", "--val", "0.6", "--test", "0.5"], "leave nothing to train on"),
        (["data", "split", "own", "--val", "nan"], "'nan' is no finite number: give one in 0<x<1"),
    ):
        words = [str(tmp_path / w) if w in ("empty", "own", "odd", "lost") else w
                 for w in arguments]  # fmt: skip
        done = CliRunner().invoke(cli.main, words)
        assert done.exit_code == 2
        assert said in done.output
    assert (tmp_path / "own/data.yaml").read_text() == "mine"
    done = CliRunner().invoke(cli.main, ["data", "--force", str(tmp_path / "own")])
    assert done.exit_code == 0, done.output
    assert Description(tmp_path / "own/data.yaml").classes.names == ("background", "object")


def test_sixteen_bits_have_a_range(tmp_path):
    values = np.random.default_rng(0).integers(300, 4000, (8, 40, 40)).astype(np.uint16)
    for k, one in enumerate(values):
        save(tmp_path / f"images/{k}.png", one)
        save(tmp_path / f"masks/{k}.png", (one > 2000).astype(np.uint8))
    done = CliRunner().invoke(cli.main, ["data", str(tmp_path)])
    assert done.exit_code == 0, done.output
    reading = Description(tmp_path / "data.yaml").reading
    assert reading.bands == (1,)
    assert reading.range == ((values.min(), values.max()),)
    assert "sixteen_bit  " not in done.output


@pytest.mark.parametrize(
    ("values", "kept", "said"),
    [((0, 255), [], "255: object"), ((0, 1, 1000, 2000), [255], "map the others in the files")],
)
def test_what_is_void_is_what_the_file_takes(tmp_path, values, kept, said):
    for k in range(3):
        save(tmp_path / f"images/{k}.png", np.full((4, 4, 3), 40 * k, np.uint8))
        ids = np.array(values, np.uint16 if max(values) > 255 else np.uint8)
        save(tmp_path / f"masks/{k}.png", np.resize(ids, (4, 4)))
    CliRunner().invoke(cli.main, ["data", str(tmp_path)])
    assert Description(tmp_path / "data.yaml").file.ignore == kept
    assert said in (tmp_path / "data.yaml").read_text()


def test_help_and_a_seed_that_is_too_long():
    assert "\\b" not in CliRunner().invoke(cli.main, ["data", "--help"]).output
    done = CliRunner().invoke(cli.main, ["data", "split", "x", "--seed", str(2**64)])
    assert done.exit_code == 2
    assert "18446744073709551615" in done.output


class Plain(PairDataset):
    """Six images of one grey each, two of each grey."""

    classes, palette = ("a", "b"), ((0, 0, 0), (1, 1, 1))

    def __len__(self):
        return 6

    def _read(self, index):
        grey = torch.full((3, 8, 8), 50 * (index // 2), dtype=torch.uint8)
        return grey, torch.zeros(8, 8, dtype=torch.uint8)

    def stem(self, index):
        return str(index)


def test_equal_plain_images_stay_together():
    dealt = split_records(scan_data({"all": Plain(None, True)}), {"train": 0.5, "val": 0.5})
    greys = [{record.index // 2 for record in records} for records in dealt.values()]
    assert not greys[0] & greys[1]


class Frames(PairDataset):
    """Sixty images in twenty scenes of three frames; class 2 is in three scenes, 3 in one."""

    classes, palette = tuple("abcd"), ((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3))

    def __len__(self):
        return 60

    def _read(self, index):
        scene, frame = divmod(index, 3)
        scenes = torch.Generator().manual_seed(scene)
        image = torch.randint(0, 255, (3, 8, 8), generator=scenes).float()[None]
        image = torch.nn.functional.interpolate(image, size=(64, 64), mode="bilinear")[0]
        mask = torch.zeros(64, 64, dtype=torch.uint8)
        mask[:8] = 1
        mask[8, 0] = 2 if scene in (4, 9, 15) else 3 if scene == 7 else 0
        return (image + frame).clamp(0, 255).to(torch.uint8), mask

    def stem(self, index):
        return str(index)


def test_splits_keep_scenes_together_and_have_each_class():
    scan = scan_data({"all": Frames(None, True)})
    shares = {"train": 0.7, "val": 0.2, "test": 0.1}
    dealt = split_records(scan, shares, seed=1)
    scenes = {name: {record.index // 3 for record in records} for name, records in dealt.items()}
    assert sum(map(len, scenes.values())) == 20
    assert {name: len(records) for name, records in dealt.items()} == {
        "train": 42, "val": 12, "test": 6,
    }  # fmt: skip
    held = {name: {c for r in records for c in r.labels.values} for name, records in dealt.items()}
    assert held == {"train": {0, 1, 2, 3}, "val": {0, 1, 2}, "test": {0, 1, 2}}
    again, other = (split_records(scan, shares, seed=seed) for seed in (1, 2))
    assert again == dealt
    assert other != dealt
    rows = table_of(scan, dealt)
    assert rows[1] == ["images", "42", "12", "6"]
    assert rows[5][1].startswith("3 (")


def test_too_few_groups_and_shares_that_are_none():
    scan = scan_data({"all": Frames(None, True)})
    with pytest.raises(ValueError, match="sum to 1"):
        split_records(scan, {"train": 0.7, "val": 0.2})
    with pytest.raises(ValueError, match="20 groups of images"):
        split_records(scan, {str(k): 1 / 25 for k in range(25)})


@pytest.mark.parametrize("splits", [["train"], ["train", "test"]])
def test_a_folder_with_train_alone_is_split_by_the_commands_that_are_said(tmp_path, splits):
    lay(tmp_path, "{split}/imgs/{k}.png", "{split}/labels/{k}.png", number=8, splits=splits)
    done = CliRunner().invoke(cli.main, ["data", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert f"data split {tmp_path} --val" in done.output
    assert ("is left out" in (tmp_path / "data.yaml").read_text()) == (len(splits) > 1)
    done = CliRunner().invoke(cli.main, ["data", "split", str(tmp_path), "--val", "0.25"])
    assert done.exit_code == 0, done.output
    sets = Description(tmp_path / "data.yaml").open_splits()
    assert {name: len(one) for name, one in sets.items() if name != "test"} == {
        "train": 6, "val": 2,
    }  # fmt: skip
