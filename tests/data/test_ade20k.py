"""ADE20K: the layout of the benchmark's archive, and its labels that count from 1."""

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data import ADE20K
from segkit.data.ade20k import CLASSES, PALETTE
from segkit.outputs import IGNORE

pytestmark = pytest.mark.filterwarnings("ignore:.*the papers use:UserWarning")


def fill(root):
    """Images of 60x40 pixels (width x height); the labels count up along the rows."""
    folder = root / "ADEChallengeData2016"
    for part, stems in {
        "training": ["ADE_train_00000002", "ADE_train_00000001"],
        "validation": ["ADE_val_00000001"],
    }.items():
        (folder / "images" / part).mkdir(parents=True)
        (folder / "annotations" / part).mkdir(parents=True)
        for stem in stems:
            Image.new("RGB", (60, 40)).save(folder / "images" / part / f"{stem}.jpg")
            values = np.arange(2400, dtype=np.int64).reshape(40, 60) % 151
            picture = Image.fromarray(values.astype(np.uint8))
            picture.save(folder / "annotations" / part / f"{stem}.png")
    return folder


def test_zero_is_void_and_classes_count_from_it(tmp_path):
    fill(tmp_path)
    data = ADE20K(tmp_path, "train")
    assert [data.stem(i) for i in range(2)] == ["ADE_train_00000001", "ADE_train_00000002"]
    image, mask = data[0]
    assert image.shape == (3, 40, 60)
    assert mask.flatten()[:151].tolist() == [IGNORE, *range(150)]
    assert not data._decoded, "nothing is kept unless asked for"
    assert len(ADE20K(tmp_path, "val")) == 1


def test_names_and_colours(tmp_path):
    folder = fill(tmp_path)
    data = ADE20K(folder, "val")  # the inner folder will do
    assert data.num_classes == 150
    assert len(set(data.classes)) == len(data.palette) == 150
    assert data.classes[0] == "wall"
    assert data.classes[12] == "person"
    assert data.classes[149] == "flag"
    assert data.palette[:3] == ((120, 120, 120), (180, 120, 120), (6, 230, 230))
    twice = {k for k in range(150) if PALETTE.count(PALETTE[k]) > 1}
    assert twice == {6, 48}  # road and skyscraper, as in the benchmark's own file


def test_the_datas_own_names_are_taken(tmp_path):
    folder = fill(tmp_path)
    rows = [f"{k + 1}\t0.1\t9\t9\tname {k}, another" for k in range(150)]
    (folder / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]))
    data = ADE20K(tmp_path, "val")
    assert data.classes[:2] == ("name 0", "name 1")
    (folder / "objectInfo150.txt").write_text("\n".join(rows))
    with pytest.raises(ValueError, match=r"objectInfo150\.txt names 149 classes instead of 150"):
        ADE20K(tmp_path, "val")
    (folder / "objectInfo150.txt").unlink()
    assert ADE20K(tmp_path, "val").classes == CLASSES


def test_the_papers_numbers_are_compared(tmp_path):
    fill(tmp_path)
    with pytest.warns(UserWarning, match="holds 2 pairs, the papers use 20210"):
        ADE20K(tmp_path, "train")
    with pytest.warns(UserWarning, match="holds 1 pairs, the papers use 2000"):
        ADE20K(tmp_path, "val")


def test_missing_data_says_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match="split='test': ADE20K has 'train', 'val'"):
        ADE20K(tmp_path, "test")
    with pytest.raises(ValueError, match=r"expected .*images/training; unpack http.*2016\.zip"):
        ADE20K(tmp_path, "train")
    (tmp_path / "images" / "training").mkdir(parents=True)
    with pytest.raises(ValueError, match="expected .*annotations/training"):
        ADE20K(tmp_path, "train")
    (tmp_path / "annotations" / "training").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"images/training has no \.jpg file"):
        ADE20K(tmp_path, "train")
    Image.new("RGB", (60, 40)).save(tmp_path / "images" / "training" / "ADE_train_00000001.jpg")
    with pytest.raises(ValueError, match=r"ADE_train_00000001\.png is missing \(1 of 1 files\)"):
        ADE20K(tmp_path, "train")


def test_a_label_beyond_the_classes_is_refused(tmp_path):
    folder = fill(tmp_path)
    path = folder / "annotations" / "validation" / "ADE_val_00000001.png"
    Image.fromarray(np.full((40, 60), 151, np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"holds 151 \(2400 pixels\), which no class of ADE20K"):
        ADE20K(tmp_path, "val")[0]


def test_it_goes_to_a_worker_process(tmp_path):
    from segkit.data import sequential

    fill(tmp_path)
    batches = list(sequential(ADE20K(tmp_path, "train"), 2, workers=1))
    assert batches[0][0].shape == (2, 3, 40, 60)
    assert batches[0][1].dtype == torch.uint8


def test_hidden_files_are_no_images(tmp_path):
    folder = fill(tmp_path)
    (folder / "images" / "validation" / "._ADE_val_00000001.jpg").write_bytes(b"a resource")
    assert len(ADE20K(tmp_path, "val")) == 1


@pytest.mark.parametrize(
    "name",
    ["images/validation/ADE_val_00000001.jpg", "annotations/validation/ADE_val_00000001.png"],
)
def test_a_link_to_nothing_is_named(tmp_path, name):
    path = fill(tmp_path) / name
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match=rf"{path.name} is a link to .*gone, where no file is"):
        ADE20K(tmp_path, "val")
