"""Cityscapes: the layout of its archives, and which of its ids are classes."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from segkit.data import Cityscapes
from segkit.data.cityscapes import EVALUATED
from segkit.outputs import IGNORE

pytestmark = pytest.mark.filterwarnings("ignore:.*the papers use:UserWarning")

SCENES = {
    "train": [("aachen", "aachen_000000_000019"), ("zurich", "zurich_000001_000019")],
    "val": [("frankfurt", "frankfurt_000000_000294")],
    "test": [("berlin", "berlin_000000_000019")],
}


def fill(root):
    """Images of 60x40 pixels (width x height); the first row holds every id of the files."""
    for split, scenes in SCENES.items():
        for number, (city, stem) in enumerate(scenes):
            images, labels = root / "leftImg8bit" / split / city, root / "gtFine" / split / city
            for folder in (images, labels):
                folder.mkdir(parents=True)
            Image.new("RGB", (60, 40), (number, 0, 0)).save(images / f"{stem}_leftImg8bit.png")
            ids = np.full((40, 60), 7 + number, np.uint8)
            ids[0, :34] = range(34)
            ids[0, 34] = 255  # a number plate, -1 in the table of labels
            Image.fromarray(ids).save(labels / f"{stem}_gtFine_labelIds.png")
            Image.fromarray(ids * 0).save(labels / f"{stem}_gtFine_instanceIds.png")
    return root


def test_the_ids_are_those_of_the_benchmark(tmp_path):
    _, mask = Cityscapes(fill(tmp_path), "train")[0]
    expected = [
        *[IGNORE] * 7,  # unlabeled, ego vehicle, rectification border, out of roi, static, ...
        *[0, 1],  # road, sidewalk
        *[IGNORE] * 2,  # parking, rail track
        *[2, 3, 4],  # building, wall, fence
        *[IGNORE] * 3,  # guard rail, bridge, tunnel
        *[5, IGNORE, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],  # pole, polegroup, lights ... bus
        *[IGNORE] * 2,  # caravan, trailer
        *[16, 17, 18],  # train, motorcycle, bicycle
        IGNORE,  # license plate
    ]
    assert mask[0, :35].tolist() == expected
    assert mask[1:].unique().tolist() == [0]
    table = {label.id: label.train_id for label in datasets.Cityscapes.classes}
    assert [table[value] for value in EVALUATED] == list(range(19))
    assert sum(0 <= train_id < 19 for train_id in table.values()) == 19


def test_names_and_colours_are_torchvisions(tmp_path):
    data = Cityscapes(fill(tmp_path), "val")
    labels = {label.train_id: label for label in datasets.Cityscapes.classes}
    assert data.classes == tuple(labels[k].name for k in range(19))
    assert data.palette == tuple(labels[k].color for k in range(19))
    assert data.num_classes == 19


def test_the_pairs_are_torchvisions(tmp_path):
    ours = Cityscapes(fill(tmp_path), "train")
    theirs = datasets.Cityscapes(tmp_path, "train", target_type="semantic")
    found = {path: labels[0] for path, labels in zip(theirs.images, theirs.targets, strict=True)}
    assert {str(image): str(mask) for image, mask in ours._pairs} == found
    assert [ours.stem(i) for i in range(2)] == [stem for _, stem in SCENES["train"]]


def test_the_test_split_is_void(tmp_path):
    data = Cityscapes(fill(tmp_path), "test")
    image, mask = data[0]
    assert image.shape == (3, 40, 60)
    assert mask.shape == (40, 60)
    assert mask.unique().tolist() == [IGNORE]
    assert len(data.manifest()) == 64


def test_the_papers_numbers_are_compared(tmp_path):
    fill(tmp_path)
    for split, count in {"train": 2975, "val": 500, "test": 1525}.items():
        with pytest.warns(UserWarning, match=f"the papers use {count}"):
            Cityscapes(tmp_path, split)


def test_nothing_is_kept_unless_asked_for(tmp_path):
    data = Cityscapes(fill(tmp_path), "train")
    assert torch.equal(data[0][1], data.raw(0)[1])
    assert not data._decoded


def test_missing_data_says_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match="split='trainval': Cityscapes has 'train', 'val', 'test'"):
        Cityscapes(tmp_path, "trainval")
    with pytest.raises(ValueError, match=r"expected .*leftImg8bit/val with .*leftImg8bit_train"):
        Cityscapes(tmp_path, "val")
    (tmp_path / "leftImg8bit" / "val" / "frankfurt").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"expected .*gtFine/val with .*gtFine_trainvaltest\.zip"):
        Cityscapes(tmp_path, "val")
    (tmp_path / "gtFine" / "val").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"val has no file \*/\*_leftImg8bit\.png"):
        Cityscapes(tmp_path, "val")
    picture = tmp_path / "leftImg8bit" / "val" / "frankfurt" / "frankfurt_0_1_leftImg8bit.png"
    Image.new("RGB", (60, 40)).save(picture)
    with pytest.raises(ValueError, match=r"frankfurt_0_1_gtFine_labelIds\.png is missing"):
        Cityscapes(tmp_path, "val")


def test_another_kind_of_labels_is_refused(tmp_path):
    fill(tmp_path)
    path = tmp_path / "gtFine" / "val" / "frankfurt" / "frankfurt_000000_000294_gtFine_labelIds.png"
    Image.fromarray(np.full((40, 60), 34, np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"holds 34 \(2400 pixels\), which no class of Cityscapes"):
        Cityscapes(tmp_path, "val")[0]


def test_hidden_files_are_no_scenes(tmp_path):
    images = fill(tmp_path) / "leftImg8bit" / "val"
    (images / "frankfurt" / "._frankfurt_000000_000294_leftImg8bit.png").write_bytes(b"a resource")
    (images / ".trash").mkdir()
    (images / ".trash" / "frankfurt_000000_000295_leftImg8bit.png").write_bytes(b"")
    assert len(Cityscapes(tmp_path, "val")) == 1


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_image_that_links_to_nothing_is_named(tmp_path, split):
    city, stem = SCENES[split][0]
    image = fill(tmp_path) / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png"
    image.unlink()
    image.symlink_to(tmp_path / "gone.png")
    with pytest.raises(ValueError, match=rf"{image.name} is a link to .*gone\.png.*leftImg8bit_t"):
        Cityscapes(tmp_path, split)


def test_a_mask_that_links_to_nothing_is_named(tmp_path):
    city, stem = SCENES["val"][0]
    mask = fill(tmp_path) / "gtFine" / "val" / city / f"{stem}_gtFine_labelIds.png"
    mask.unlink()
    mask.symlink_to(tmp_path / "gone.png")
    with pytest.raises(ValueError, match=rf"{mask.name} is a link to .*gone\.png.*gtFine_t"):
        Cityscapes(tmp_path, "val")
