"""Checks of splits, data sets instead of folders, processes, and many faults at once."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from segkit.data import ADE20K, CamVid, FolderDataset, SyntheticStreets
from segkit.data.statistics import class_pixels
from segkit.doctor import CHECKS, inspect, inspect_folder, scan_data, scan_folder
from segkit.losses import median_frequency_weights


def of(findings, check):
    return [finding for finding in findings if finding.check == check]


def test_classes_never_present(folder):
    assert not of(inspect_folder(folder.root, workers=0), "classes_never_present")
    for index in range(10):
        folder.write(index, folder.stripes(0, 1, 2), split="val")
    (finding,) = of(inspect_folder(folder.root, workers=0), "classes_never_present")
    assert finding.severity == "warning"
    assert "val has no pixel of 1 class of 4: sign" in finding.what
    assert "undefined" in finding.why
    folder.write_all(folder.stripes(1, 2, 3))
    first, _ = of(inspect_folder(folder.root, workers=0), "classes_never_present")
    assert "train" in first.what
    assert "count from 1" in first.fix


def test_class_frequencies_are_those_of_the_data(folder):
    folder.write(0, folder.stripes(0, 0, 0, 1, 255))
    (finding,) = of(inspect_folder(folder.root, workers=0), "class_frequencies")
    assert finding.severity == "note"
    pixels, area = class_pixels(FolderDataset(folder.root, "train"))
    weights = median_frequency_weights(pixels, area)
    rows = {line.split()[0]: line.split()[1:] for line in finding.what.splitlines()[2:]}
    assert list(rows) == ["road", "tree", "car", "sign"]
    for name, count, weight in zip(rows, pixels, weights, strict=True):
        assert rows[name][0] == f"{count / pixels.sum():.2%}"
        assert rows[name][2] == f"{weight:.3f}"
    assert rows["sign"][1] == "11"  # of 12 images


def test_what_cannot_be_read_is_not_counted(folder):
    before, _ = class_pixels(FolderDataset(folder.root, "train"))
    folder.mask(3).write_bytes(folder.mask(3).read_bytes()[:60])
    after, _ = class_pixels(FolderDataset(folder.root, "train"))
    assert after.sum() == before.sum() - 48 * 64


def test_near_duplicates(folder):
    """A copy that is smaller, brighter and compressed is found; other images are not."""
    assert not of(inspect_folder(folder.root, workers=0), "near_duplicates")
    copy = ImageEnhance.Brightness(Image.open(folder.image(3))).enhance(0.8).resize((60, 46))
    folder.image(5, "val").unlink()
    copy.save(folder.image(5, "val", ".jpg"), quality=70)
    folder.write(5, folder.stripes(size=(46, 60)), split="val")
    (finding,) = of(inspect_folder(folder.root, workers=0), "near_duplicates")
    assert finding.severity == "warning"
    expected = f"{folder.image(3)} ~ {folder.image(5, 'val', '.jpg')}"
    assert [place.file for place in finding.places] == [expected]


def test_plain_images_are_no_duplicates(folder):
    for split in ("train", "val"):
        Image.new("RGB", (64, 48), "black").save(folder.image(0, split))
    assert not of(inspect_folder(folder.root, workers=0), "near_duplicates")


def test_exact_duplicates(folder):
    folder.image(4).write_bytes(folder.image(2).read_bytes())
    (finding,) = of(inspect_folder(folder.root, workers=0), "exact_duplicates")
    assert finding.severity == "note"
    assert finding.places[0].file == f"{folder.image(2)} = {folder.image(4)}"
    folder.write(4, folder.stripes(3, 2, 1, 0, 1))
    (finding,) = of(inspect_folder(folder.root, workers=0), "exact_duplicates")
    assert finding.severity == "warning"
    assert "another mask" in finding.what


def test_tiny_split(folder):
    assert not of(inspect_folder(folder.root, workers=0), "tiny_split")
    for path in (folder.image(9, "val"), folder.mask(9, "val")):
        path.unlink()
    (finding,) = of(inspect_folder(folder.root, workers=0), "tiny_split")
    assert (finding.severity, finding.what) == ("warning", "val has 9 pairs")
    for path in folder.root.glob("val/*/*"):
        path.unlink()
    (finding,) = of(inspect_folder(folder.root, workers=0), "tiny_split")
    assert (finding.severity, finding.what) == ("error", "val has 0 pairs")


def test_ten_planted_faults_are_ten_findings(folder, tmp_path):
    folder.image(0).write_bytes(folder.image(0).read_bytes()[:200])
    folder.mask(1).unlink()
    folder.image(2).unlink()
    folder.write(3, folder.stripes(size=(24, 32)))
    folder.write(4, folder.stripes(0, 255))
    folder.write(5, folder.stripes(0, 1, 2, 9))
    folder.write(6, folder.stripes(1, 2, 3, 4))
    folder.write(7, np.repeat(folder.stripes()[..., None] * 60, 3, axis=2))
    folder.mask(8).unlink()
    Image.fromarray(folder.stripes()).save(folder.mask(8, suffix=".jpg"))
    folder.image(0, "val").write_bytes(folder.image(9).read_bytes())
    findings = [f for f in inspect_folder(folder.root, workers=0) if f.severity != "note"]
    assert [(f.severity, f.check, f.count, f.places[0].file) for f in findings] == [
        ("error", "unreadable_or_truncated", 1, str(folder.image(0))),
        ("error", "image_without_mask", 1, str(folder.image(1))),
        ("error", "mask_without_image", 1, str(folder.mask(2))),
        ("error", "size_mismatch", 1, str(folder.mask(3))),
        ("error", "lossy_masks", 1, str(folder.mask(8, suffix=".jpg"))),
        ("error", "colour_masks", 1, str(folder.mask(7))),
        ("error", "zero_and_255_masks", 1, str(folder.mask(4))),
        ("error", "off_by_one", 1, str(folder.mask(6))),
        ("error", "values_out_of_range", 1, str(folder.mask(5))),
        ("warning", "near_duplicates", 1, f"{folder.image(9)} ~ {folder.image(0, 'val')}"),
    ]


def test_the_synthetic_streets_are_good():
    sets = {
        "train": SyntheticStreets("train", length=60),
        "val": SyntheticStreets("val", length=20),
    }
    findings = inspect(scan_data(sets, workers=0))
    assert [(f.severity, f.check) for f in findings] == [("note", "class_frequencies")]


def test_data_sets_are_judged_by_what_they_give(folder):
    """A data set's files are looked at where it refuses a pair, and the finding says why."""
    folder.write(2, folder.stripes(0, 1, 2, 8))
    folder.write(3, folder.stripes(0, 1, 2, 7))
    folder.image(4).write_bytes(b"")
    sets = {split: FolderDataset(folder.root, split, ignore=7) for split in ("train", "val")}
    findings = [f for f in inspect(scan_data(sets, workers=0)) if f.severity == "error"]
    assert [f.check for f in findings] == ["unreadable_or_truncated", "values_out_of_range"]
    assert findings[0].places[0].file == str(folder.image(4))
    assert findings[1].places[0][:2] == (str(folder.mask(2)), 48 * 16)
    assert findings[1].places[0].marked.sum() == 48 * 16


def test_a_data_set_that_maps_ids_is_judged_by_its_classes(tmp_path, folder):
    for kind in ("images", "annotations"):
        (tmp_path / "ade" / kind / "training").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(10):
        folder.scene(index).save(tmp_path / "ade/images/training" / f"{index}.jpg")
        values = folder.stripes(*generator.permutation(151)[:8])
        Image.fromarray(values).save(tmp_path / "ade/annotations/training" / f"{index}.png")
    with pytest.warns(UserWarning, match="the papers use"):
        data = ADE20K(tmp_path / "ade", "train")
    checks = [f.check for f in inspect(scan_data({"train": data}, workers=0))]
    assert checks == ["classes_never_present", "class_frequencies"]  # and no 0, no 150
    Image.fromarray(folder.stripes(200)).save(tmp_path / "ade/annotations/training/3.png")
    (finding,) = of(inspect(scan_data({"train": data}, workers=0)), "values_out_of_range")
    assert finding.places[0].file.endswith("training/3.png")
    assert finding.places[0].pixels == 48 * 64


def test_sets_must_share_their_classes(folder):
    with pytest.raises(ValueError, match="'val' has 2 classes and 'train' 4"):
        scan_data(
            {
                "train": FolderDataset(folder.root, "train"),
                "val": FolderDataset(folder.root, "val", classes=("a", "b")),
            }
        )
    with pytest.raises(ValueError, match="sets is empty"):
        scan_data({})


def test_processes_find_the_same_and_progress_is_told(folder):
    folder.write(2, folder.stripes(0, 1, 2, 8))
    told = []
    state = torch.get_rng_state()
    here = scan_folder(folder.root, classes=tuple("abcd"), workers=0)
    there = scan_folder(
        folder.root, classes=tuple("abcd"), workers=2, progress=lambda *done: told.append(done)
    )
    assert here.records == there.records
    assert told == [(number, 22) for number in range(1, 23)]
    assert torch.equal(state, torch.get_rng_state())
    assert [str(f) for f in inspect(here)] == [str(f) for f in inspect(there)]


def test_every_check_has_its_name_and_a_sentence():
    assert len({check.__name__ for check in CHECKS}) == len(CHECKS)
    assert all(check.__doc__ for check in CHECKS)


@pytest.mark.data
@pytest.mark.slow
def test_what_it_says_of_the_real_camvid(camvid_root):
    """Two frames of one video, a second apart, lie on both sides of the border of two splits."""
    sets = {split: CamVid(camvid_root, split, cache=False) for split in ("train", "val", "test")}
    findings = inspect(scan_data(sets))
    assert [(f.severity, f.check) for f in findings] == [
        ("warning", "near_duplicates"),
        ("note", "class_frequencies"),
    ]
    (place,) = findings[0].places
    assert "0001TP_008520" in place.file
    assert "0001TP_008550" in place.file


def test_of_a_pair_that_looks_alike_both_pictures_are_shown(folder):
    figures = pytest.importorskip("segbook.figures", reason="the notebooks extra is not installed")
    folder.image(5, "val").write_bytes(folder.image(3).read_bytes())
    (finding,) = of(inspect_folder(folder.root, workers=0), "near_duplicates")
    figure = figures.findings([finding])
    assert sum(len(axes.images) for axes in figure.axes) == 2
