"""The stride explorer's Python side: the oracles it sends, and their scores."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from segbook.widgets import StrideExplorer  # noqa: E402
from segkit.metrics import oracle_labels, oracle_matrix  # noqa: E402

CLASSES = ("Sky", "Road", "Kerb")
PALETTE = ((128, 128, 128), (128, 64, 128), (64, 0, 128))


def masks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    made = [rng.integers(0, 2, shape).astype(np.uint8) for shape in ((20, 30), (16, 16))]
    made[0][:3] = 255
    return made


def explorer(*args, **options) -> StrideExplorer:
    return StrideExplorer(*args, classes=CLASSES, palette=PALETTE, **options)


def test_each_oracle_and_its_scores_are_sent():
    first, second = masks()
    one = explorer([first.tolist(), torch.from_numpy(second)], strides=(1, 4, 7), names=("a", "b"))
    assert [sample["name"] for sample in one.samples] == ["a", "b"]
    for ids, sample in zip((first, second), one.samples, strict=True):
        truth = torch.from_numpy(ids)
        for i, stride in enumerate(one.strides):
            sent = np.frombuffer(zlib.decompress(sample["oracles"][i]), np.uint8)
            found = oracle_labels(truth, stride, 3).numpy()
            assert (sent.reshape(ids.shape) == np.where(ids == 255, 255, found)).all()
            matrix = oracle_matrix([truth], stride, 3)
            assert sample["scores"][i]["miou"] == matrix.miou()
            assert sample["scores"][i]["iou"] == [*matrix.iou()[:2].tolist(), None]
    every = oracle_matrix(map(torch.from_numpy, (first, second)), 7, 3)
    assert one.overall[2]["miou"] == every.miou()
    assert one.samples[0]["scores"][0]["miou"] == 1


def test_one_map_or_a_batch():
    ids = masks()[1]
    assert len(explorer(ids).samples) == len(explorer(ids.tolist()).samples) == 1
    assert len(explorer(np.stack([ids, ids])).samples) == 2
    assert explorer(ids).stride == 8
    assert repr(explorer(ids, strides=(2,))) == (
        "StrideExplorer(1 mask of 16x16 pixels, 3 classes, stride 2)"
    )


def test_the_picture_shows_the_strides():
    ids = masks()[0]
    few, many = explorer(ids, strides=(2,)), explorer(ids, strides=range(2, 40))
    assert Image.open(io.BytesIO(few.snapshot())).width > 500
    assert Image.open(io.BytesIO(many.snapshot())).width > 1000


def test_what_cannot_be_shown_is_refused():
    ids = masks()[1]
    for strides in ((), (4, 2), (2, 2)):
        with pytest.raises(ValueError, match="ascending from 1"):
            explorer(ids, strides=strides)
    with pytest.raises(ValueError, match="whole number of pixels"):
        explorer(ids, strides=(0, 2))
    with pytest.raises(ValueError, match="1 masks but 2 names"):
        explorer(ids, names=("a", "b"))
    for nothing in ([], np.zeros((0, 4), np.uint8), np.zeros((0, 4, 4), np.uint8)):
        with pytest.raises(ValueError, match="no mask"):
            explorer(nothing)
    with pytest.raises(ValueError, match="no stride 3; allowed are"):
        explorer(ids).stride = 3
    with pytest.raises(ValueError, match="no mask 1"):
        explorer(ids, index=1)
