"""The oracle: what a stride alone costs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segkit.data import SyntheticStreets
from segkit.metrics import oracle_labels, oracle_matrix

TABLE = {
    32: (38.8, {"Pole": 0, "SignSymbol": 10, "Pedestrian": 3, "Bicyclist": 0}),
    16: (54.2, {"Pole": 0, "SignSymbol": 25, "Pedestrian": 26, "Bicyclist": 14}),
    8: (68.5, {"Pole": 2, "SignSymbol": 61, "Pedestrian": 48, "Bicyclist": 37}),
    4: (79.5, {"Pole": 17, "SignSymbol": 82, "Pedestrian": 69, "Bicyclist": 55}),
}
"""mIoU (policy dataset) and IoU in % over the first 40 validation streets of 128x160 pixels."""


@pytest.fixture(scope="module")
def streets():
    return SyntheticStreets("val", length=40)


@pytest.mark.parametrize("stride", TABLE)
def test_the_table_that_the_book_begins_with(streets, stride):
    mean, by_class = TABLE[stride]
    matrix = oracle_matrix((labels for _, labels in streets), stride, streets.num_classes)
    assert round(100 * matrix.miou(), 1) == mean
    iou = dict(zip(streets.classes, (100 * matrix.iou()).tolist(), strict=True))
    assert {name: round(iou[name]) for name in by_class} == by_class


def test_it_is_pooling_resizing_and_argmax():
    labels = torch.randint(0, 5, (2, 24, 40), generator=torch.Generator().manual_seed(0))
    one_hot = F.one_hot(labels, 5).permute(0, 3, 1, 2).float()
    pooled = F.avg_pool2d(one_hot, 8)
    scores = F.interpolate(pooled, size=(24, 40), mode="bilinear", align_corners=False)
    assert (oracle_labels(labels, 8, 5) == scores.argmax(1)).all()
    assert (oracle_labels(labels[0], 8, 5) == scores.argmax(1)[0]).all()
    assert (oracle_labels(labels, 1, 5) == labels).all()


def test_void_counts_for_no_class():
    """By hand: shares 1/16 and 2/16 on the left, 4/16 on the right; column 3 is 3/8 right."""
    labels = torch.full((4, 8), 255)
    labels[0, :3] = torch.tensor([1, 0, 1])
    assert (oracle_labels(labels, 4, 3)[:, :6] == 1).all()  # the right cell, all void, adds nothing
    labels[0, 4:] = 2
    assert (oracle_labels(labels, 4, 3) == torch.tensor([1, 1, 1, 2, 2, 2, 2, 2])).all()
    assert (oracle_labels(torch.full((5, 5), 255), 4, 3) == 0).all()


def test_a_size_that_is_no_multiple_keeps_its_grid():
    labels = torch.randint(0, 3, (16, 24), generator=torch.Generator().manual_seed(1))
    labels[13:], labels[:, 19:] = 255, 255
    whole = oracle_labels(labels, 8, 3)
    assert (oracle_labels(labels[:13, :19], 8, 3) == whole[:13, :19]).all()
    assert oracle_labels(labels[:5, :3].to(torch.uint8), 64, 3).unique().numel() == 1


def test_a_batch_counts_as_its_maps():
    labels = torch.randint(0, 3, (3, 16, 16), generator=torch.Generator().manual_seed(2))
    batch, single = oracle_matrix([labels], 4, 3), oracle_matrix(labels, 4, 3)
    assert (batch.matrix == single.matrix).all()
    assert batch.images == single.images == 3


def test_what_has_no_oracle_is_refused():
    labels = torch.zeros(4, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"hold \[7\]; allowed are 0\.\.2, and 255"):
        oracle_labels(labels + 7, 2, 3)
    for stride in (0, 2.0, True):
        with pytest.raises(ValueError, match="whole number of pixels"):
            oracle_labels(labels, stride, 3)
    with pytest.raises(ValueError, match="use int64"):
        oracle_labels(labels.float(), 2, 3)
    with pytest.raises(ValueError, match="needed is"):
        oracle_labels(labels[0], 2, 3)
    assert oracle_labels(labels[:0], 2, 3).shape == (0, 4)
