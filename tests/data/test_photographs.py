"""The photographs in the box."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segkit import data
from segkit.data import photographs
from segkit.data.camvid import CLASSES

FOLDER = Path(photographs.__file__).parent


@pytest.mark.parametrize("name", data.PHOTOGRAPHS)
def test_a_photograph_and_its_labels(name):
    image, labels = data.photograph(name)
    assert image.dtype == labels.dtype == torch.uint8
    assert image.shape == (3, 360, 480)
    assert labels.shape == (360, 480)
    assert set(labels.unique().tolist()) == {*range(len(CLASSES)), 255}  # as all of CamVid's val
    assert (FOLDER / f"{name}.webp").stat().st_size <= 45 << 10


def test_another_name_lists_them():
    with pytest.raises(ValueError, match="did you mean 'street_1'.*street_1, street_2, street_3"):
        data.photograph("stret_1")


def test_they_are_credited():
    text = (FOLDER / "README.md").read_text()
    assert "Brostow" in text
    assert "research and teaching" in text
    assert all(name in text and stem in text for name, stem in data.PHOTOGRAPHS.items())


@pytest.mark.data
def test_they_are_camvids(camvid_root):
    val = data.CamVid(camvid_root, "val", cache=False)
    places = {val.stem(i): i for i in range(len(val))}
    for name, stem in data.PHOTOGRAPHS.items():
        image, labels = data.photograph(name)
        original, mask = val.raw(places[stem])
        assert torch.equal(labels, mask)
        assert (image.float() - original.float()).abs().mean() < 4  # of 255: WebP of quality 88
