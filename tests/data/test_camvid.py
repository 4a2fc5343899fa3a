"""CamVid: the layout, the void id, and the published counts where the real images are."""

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data import CamVid
from segkit.data.camvid import PAIRS
from segkit.outputs import IGNORE


def fill(root, split="train", suffix=".png"):
    for part in ("images", "masks"):
        (root / split / part).mkdir(parents=True)
    ids = np.arange(12, dtype=np.uint8).repeat(4).reshape(6, 8)
    Image.new("RGB", (8, 6)).save(root / split / "images" / f"0001TP_006690{suffix}")
    Image.fromarray(ids).save(root / split / "masks" / "0001TP_006690.png")
    return root


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_void_is_ignore_and_a_short_split_is_told(tmp_path, suffix):
    with pytest.warns(UserWarning, match=r"holds 1 pairs, the papers use 367"):
        data = CamVid(fill(tmp_path, suffix=suffix), "train")
    _, mask = data[0]
    assert mask.unique().tolist() == [*range(11), IGNORE]
    assert data.stem(0) == "0001TP_006690"
    assert data.num_classes == 11
    assert data.classes[3] == "Road"
    assert data.palette[3] == (128, 64, 128)


def test_missing_data_says_how_to_get_it(tmp_path):
    with pytest.raises(ValueError, match=r"python data_scripts/camvid\.py --out data/camvid"):
        CamVid(tmp_path / "camvid", "train")
    with pytest.raises(ValueError, match=r"split='trainval': CamVid has 'train', 'val', 'test'"):
        CamVid(tmp_path, "trainval")
    (tmp_path / "val" / "images").mkdir(parents=True)
    (tmp_path / "val" / "masks").mkdir()
    with pytest.raises(ValueError, match="no pairs"):
        CamVid(tmp_path, "val")


@pytest.mark.data
def test_the_real_images(camvid_root, recwarn):
    for split, pairs in PAIRS.items():
        assert len(CamVid(camvid_root, split)) == pairs
    assert not recwarn.list
    data = CamVid(camvid_root, "val")
    counts = torch.zeros(256)
    for index in range(0, len(data), 10):
        image, mask = data[index]
        assert image.shape == (3, 360, 480)
        counts += torch.bincount(mask.flatten(), minlength=256)
    shares = counts / counts.sum()
    assert counts[11:255].sum() == 0
    assert 0.25 < shares[3] < 0.33  # road: 28.95 % of all validation pixels
    assert 0.01 < shares[IGNORE] < 0.03  # void: 1.7 %
