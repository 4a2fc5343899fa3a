"""The IoU painter: its script's scores are segkit's, and what is painted comes back."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from segbook.widgets import IoUPainter  # noqa: E402
from segkit.metrics import POLICIES, ConfusionMatrix  # noqa: E402

CLASSES = ("Sky", "Road", "Pole", "Car")
PALETTE = ((128, 128, 128), (128, 64, 128), (192, 192, 128), (64, 0, 128))


def painter(truth, *args, **options) -> IoUPainter:
    return IoUPainter(truth, *args, classes=CLASSES, palette=PALETTE, **options)


def none_for_nan(found):
    if isinstance(found, dict):
        return {key: none_for_nan(value) for key, value in found.items()}
    if isinstance(found, list):
        return [none_for_nan(value) for value in found]
    return None if math.isnan(found) else pytest.approx(found, rel=1e-9, abs=1e-12)


def cases() -> list[tuple[np.ndarray, np.ndarray]]:
    """Random label maps: with and without void, classes absent from either side, void alone."""
    rng = np.random.default_rng(0)
    some = [rng.choice(ids, (2, 9, 7)) for ids in ([0, 1, 2, 3], [1, 3], [2], [0, 2, 3], [0])]
    pairs = [(a[0], b[1]) for a in some for b in some]
    for truth, _ in pairs[::2]:
        truth[rng.random(truth.shape) < 0.3] = 255
    return [*pairs, (np.full((9, 7), 255), pairs[0][1])]


def test_the_scores_are_those_of_segkit(computed):
    asked, wanted = [], []
    for k, (truth, prediction) in enumerate(cases()):
        one = painter(truth, prediction=prediction, confidence=(0.5, 0.9, 0.99)[k % 3])
        wanted.append(none_for_nan(one.scores()))
        maps = (json.dumps(ids.reshape(-1).tolist()) for ids in (truth, prediction))
        asked.append(f"scoresOf(countPairs({', '.join(maps)}, 4, 255), {one.confidence})")
    found = computed(IoUPainter, f"[{', '.join(asked)}]")
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine == theirs


def test_of_one_image_the_policies_left_out_say_nothing_new():
    shown = {name for name, _ in painter(np.zeros((2, 2), int)).policies}
    assert {f"per_image{name.removeprefix('dataset')}" for name in shown if "dataset" in name} == (
        set(POLICIES) - shown
    )
    for truth, prediction in cases():
        matrix = ConfusionMatrix(4)
        matrix.update(torch.from_numpy(prediction)[None], torch.from_numpy(truth)[None])
        for policy in set(POLICIES) - shown:
            alone = matrix.miou(policy.replace("per_image", "dataset"))
            assert matrix.miou(policy) == pytest.approx(alone, nan_ok=True)


def test_what_one_begins_with(computed):
    truth = [0, 0, 255, 1, 0, 0, 0, 0, 0]
    found = computed(
        IoUPainter,
        f"""(() => {{
            const filled = withoutVoid({truth}, 2, 255);
            const free = new Array(9).fill(0);
            stamp(free, 3, 3, [2, 0], 3, () => 1);
            return [filled, moved(filled, 3, 3, 1), thickened(filled, 3, 3, 2, 1), free];
        }})()""",
    )
    assert found[0] == [0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert found[1] == [0, 0, 0, 1, 1, 0, 0, 0, 0]
    assert found[2] == [1, 1, 0, 1, 1, 0, 1, 1, 0]
    assert found[3] == [0, 1, 1, 0, 1, 1, 0, 0, 0]


def test_what_is_painted_is_read_in_python():
    truth = np.array([[1, 1, 255], [2, 1, 0]])
    one = painter(truth)
    assert (one.prediction == 1).all()  # the most frequent class
    one.set_state({"painted": memoryview(bytes([0, 1, 2, 3, 0, 0]))})  # as a browser sends it
    assert one.prediction.tolist() == [[0, 1, 2], [3, 0, 0]]
    one.prediction = torch.ones(2, 3, dtype=torch.int64)
    assert one.painted == bytes([1] * 6)
    assert one.scores()["pixel_accuracy"] == 0.6
    assert repr(one) == "IoUPainter(2x3 pixels, 4 classes)"
    with pytest.raises(ValueError, match="no void"):
        one.prediction = np.full((2, 3), 255)
    with pytest.raises(ValueError, match="at each of the 6 pixels"):
        one.painted = b"12345"


def test_the_class_to_begin_with():
    truth = np.array([[1, 3], [3, 3]])
    one = painter(truth, brush=3)
    assert one.brush == 3
    other = painter(truth, brush=1)
    assert one.snapshot() != other.snapshot()  # another class's IoU is told
    with pytest.raises(ValueError, match="there is no class 4"):
        painter(truth, brush=4)


def test_the_picture_moves_with_the_prediction():
    truth = np.random.default_rng(0).integers(0, 4, (20, 30))
    image = np.zeros((20, 30, 3), np.uint8)
    one = painter(truth.tolist(), image)
    before = one.snapshot()
    assert Image.open(io.BytesIO(before)).width > 700
    one.prediction = truth
    assert one.snapshot() != before


def test_what_cannot_be_painted_is_refused():
    truth = np.zeros((4, 6), int)
    with pytest.raises(ValueError, match="the image has"):
        painter(truth, np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="at least two"):
        IoUPainter(truth, classes=CLASSES[:1], palette=PALETTE[:1])
    with pytest.raises(ValueError, match="no pixel to paint"):
        painter(truth[:0])
    with pytest.raises(ValueError, match="hold the id 4"):
        painter(truth + 4)
