"""The wipe: what it sends and refuses, and the numbers of its script."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from segbook.widgets import Wipe  # noqa: E402
from segkit.metrics import ConfusionMatrix  # noqa: E402

CLASSES = ("Sky", "Road", "Car")
PALETTE = ((128, 128, 128), (128, 64, 128), (64, 0, 128))
KNOWN = {"classes": CLASSES, "palette": PALETTE}


@pytest.fixture
def maps() -> list[np.ndarray]:
    """Left, right and truth with void, each (20, 30)."""
    rng = np.random.default_rng(0)
    found = [rng.integers(0, 3, (20, 30), dtype=np.uint8) for _ in range(3)]
    found[2][:3] = 255
    return found


def test_ids_and_pictures_are_sent_exactly(maps):
    left, right, truth = maps
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    one = Wipe(torch.tensor(left).long(), right.tolist(), image, truth, **KNOWN)
    (pair,) = one.pairs
    for name, sent in (("left", left), ("right", right), ("truth", truth)):
        assert zlib.decompress(pair[name]) == sent.tobytes()
    assert (np.asarray(Image.open(io.BytesIO(pair["image"]))) == image).all()
    (pair,) = Wipe(image, 255 - image, names=("a", "b")).pairs
    assert (np.asarray(Image.open(io.BytesIO(pair["right"]))) == 255 - image).all()


def test_pairs_as_a_list_or_a_batch(maps):
    left, right, _ = maps
    both = Wipe(torch.tensor(np.stack([left, right])), [right, left], **KNOWN, titles=("a", "b"))
    assert [pair["name"] for pair in both.pairs] == ["a", "b"]
    both.index = 1
    assert zlib.decompress(both.pairs[1]["left"]) == right.tobytes()
    assert repr(both) == "Wipe(2 pairs of 20x30 pixels, FCN-32s and FCN-8s, 3 classes)"


def test_what_cannot_be_compared_is_refused(maps):
    left, right, truth = maps
    for message, given, more in (
        ("1 left but 2 in right", (left, [right, right]), KNOWN),
        ("1 left but 2 in truth", (left, right, None, [truth, truth]), KNOWN),
        ("right have shape", (left, right[:4]), KNOWN),
        ("right hold the id 7", (left, np.full_like(left, 7)), KNOWN),
        ("the image has", (left, right, np.zeros((3, 4, 4), np.uint8)), KNOWN),
        ("give classes and palette", (left, right, None, truth), {}),
        ("right \\(4, 30\\)", (left, right[:4]), {}),
        ("3 classes and 1 colours", (left, right), {"classes": CLASSES, "palette": PALETTE[:1]}),
        ("nothing to compare", ([], []), KNOWN),
        ("no pixel", (left[:0], right[:0]), KNOWN),
        ("give two", (left, right), {**KNOWN, "names": ("one",)}),
    ):
        with pytest.raises(ValueError, match=message):
            Wipe(*given, **more)
    one = Wipe(left, right, **KNOWN)
    with pytest.raises(ValueError, match="no layer 'error' without a truth"):
        one.layer = "error"
    with pytest.raises(ValueError, match=r"no pair 1; allowed are 0\.\.0"):
        one.index = 1


def test_the_picture_shows_both_sides(maps):
    left, right, truth = maps
    one = Wipe(left, right, None, truth, **KNOWN)
    assert one.snapshot() == one.snapshot()
    assert one.snapshot() != Wipe(left, truth, None, truth, **KNOWN).snapshot()
    assert Image.open(io.BytesIO(one.snapshot())).width > 600
    assert one.alt().startswith("truth; FCN-32s; FCN-8s; ")


def test_the_script_scores_as_the_library_does(maps, computed):
    left, right, truth = maps
    left[left == 2] = 0  # the third class is in neither, so it is left out of the mean
    truth[truth == 2] = 1
    found = computed(
        Wipe,
        f"""await (async () => {{
        const [left, right, truth] = [{left.ravel().tolist()}, {right.ravel().tolist()},
          {truth.ravel().tolist()}];
        return [scoreLabels(left, truth, 3, 255), countDifferent(left, right), hundredth(NaN)];
        }})()""",
    )
    counts = ConfusionMatrix(3)
    counts.update(torch.tensor(left)[None].long(), torch.tensor(truth)[None].long())
    assert found[0]["iou"][2] is None
    assert found[0]["iou"][:2] == pytest.approx(counts.iou()[:2].tolist())
    assert found[0]["miou"] == pytest.approx(counts.miou("dataset"))
    assert found[0]["accuracy"] == pytest.approx(counts.pixel_accuracy())
    assert found[1] == (left != right).sum()
    assert found[2] == "–"
