"""The mask explorer's Python side: what it sends, refuses and leaves behind."""

from __future__ import annotations

import base64
import io
import re
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

anywidget = pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from segbook.widgets import MaskExplorer  # noqa: E402

CLASSES = ("Sky", "Road", "Car")
PALETTE = ((128, 128, 128), (128, 64, 128), (64, 0, 128))


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    truth = rng.integers(0, 3, (20, 30), dtype=np.uint8)
    truth[:3] = 255
    return image, truth, (truth.astype(int) % 3).astype(np.uint8)


def explorer(*args, **options) -> MaskExplorer:
    return MaskExplorer(*args, classes=CLASSES, palette=PALETTE, **options)


def ids(sample: dict, what: str) -> np.ndarray:
    sent = np.frombuffer(zlib.decompress(sample[what]), np.uint8)
    return sent.reshape(sample["height"], sample["width"])


def test_pixels_and_ids_are_sent_exactly(scene):
    image, truth, prediction = scene
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    first = torch.from_numpy(image).permute(2, 0, 1) / 255
    normalised = (first - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    labels = torch.from_numpy(truth).long()
    (sample,) = explorer(normalised, labels, prediction, mean=mean, std=std).samples
    assert (np.asarray(Image.open(io.BytesIO(sample["image"]))) == image).all()
    assert (ids(sample, "truth") == truth).all()
    assert (ids(sample, "prediction") == prediction).all()


def test_many_images_as_a_list_or_a_batch(scene):
    image, truth, prediction = scene
    batch = explorer(np.stack([image, 255 - image]), np.stack([truth, prediction]))
    assert [sample["name"] for sample in batch.samples] == ["", ""]
    assert (ids(batch.samples[1], "truth") == prediction).all()
    assert batch.layers == ["truth"]
    listed = explorer([image, image[:9]], [truth, truth[:9]], names=("a", "b"))
    assert {sample["name"]: sample["height"] for sample in listed.samples} == {"a": 20, "b": 9}
    seen = listed.snapshot()  # both pairs, whichever is shown
    listed.index = 1
    assert listed.snapshot() == seen
    alone = explorer(image, truth)
    assert Image.open(io.BytesIO(seen)).width > Image.open(io.BytesIO(alone.snapshot())).width


def test_settings_are_checked(scene):
    image, truth, prediction = scene
    both = explorer(image, truth, prediction, opacity=0.25)
    assert (both.opacity, both.layer, both.hidden, both.index) == (0.25, "truth", [], 0)
    both.layer = "error"
    alone = explorer(image, truth)
    with pytest.raises(ValueError, match="no layer 'error' without a prediction"):
        alone.layer = "error"
    with pytest.raises(ValueError, match="no image 1; allowed are 0..0"):
        alone.index = 1
    with pytest.raises(anywidget.widget.t.TraitError):
        alone.opacity = 1.5


def test_what_cannot_be_shown_is_refused(scene):
    image, truth, prediction = scene
    with pytest.raises(ValueError, match="truth have shape"):
        explorer(image, truth[:4])
    with pytest.raises(ValueError, match="prediction hold the id 3"):
        explorer(image, truth, np.full_like(truth, 3))
    with pytest.raises(ValueError, match="2 images but 1 in truth"):
        explorer([image, image], [truth])
    with pytest.raises(ValueError, match="1 images but 2 in names"):
        explorer(image, truth, names=("a", "b"))
    with pytest.raises(ValueError, match="no image"):
        explorer([], [])
    with pytest.raises(ValueError, match="3 classes and 1 colours"):
        MaskExplorer(image, truth, classes=CLASSES, palette=PALETTE[:1])
    with pytest.raises(ValueError, match="mean and std"):
        explorer(image / 100 - 2, truth)


def test_the_bundle_leaves_a_picture_and_a_stable_text(scene):
    text = "MaskExplorer(1 image of 20x30 pixels, 3 classes, truth, prediction, error)"
    data, metadata = explorer(*scene)._repr_mimebundle_()
    assert set(data) == {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"}
    assert data["text/plain"] == text
    assert metadata["image/png"]["alt"].startswith("image; truth; prediction; ")
    shown = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert shown.width > 600
    assert len(np.unique(np.asarray(shown.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    assert len(data["image/png"]) < 300_000


def test_the_picture_shows_the_prediction(scene):
    image, truth, prediction = scene
    right = explorer(image, truth, prediction).snapshot()
    assert right == explorer(image, truth, prediction).snapshot()
    assert right != explorer(image, truth, (prediction + 1) % 3).snapshot()


def test_a_page_of_its_own_asks_for_nothing(scene, tmp_path):
    image, truth, _ = scene
    names = ("</script><script>alert(1)", *CLASSES[1:])
    one = MaskExplorer(image, truth, classes=names, palette=PALETTE)
    text = one.save_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 1
    assert not re.search(r"https?://|src=|@import", text)


def test_the_likeliest_classes_are_sent(scene):
    image, truth, _ = scene
    rng = np.random.default_rng(1)
    probs = torch.from_numpy(rng.normal(size=(3, 20, 30))).softmax(0)
    one = explorer(image, truth, probs=probs)
    assert one.layers == ["truth", "prediction", "error"]
    (sample,) = one.samples
    assert (ids(sample, "prediction") == probs.argmax(0).numpy()).all()
    sent = np.frombuffer(zlib.decompress(sample["probs"]), np.uint8).reshape(2, 3, 20, 30)
    assert (sent[0, 0] == probs.argmax(0).numpy()).all()
    told = np.take_along_axis(probs.numpy(), sent[0].astype(int), 0)
    assert np.abs(sent[1] / 255 - told).max() <= 0.5 / 255 + 1e-9
    for wrong, message in (
        (probs[:2], r"shape \(2, 20, 30\); it must be \(3, 20, 30\)"),
        (probs * 2, "floats in 0..1"),
        (probs.round().long(), "floats in 0..1"),
        ([probs, probs], "1 images but 2 in probs"),
    ):
        with pytest.raises(ValueError, match=message):
            explorer(image, truth, probs=wrong)


def test_the_state_stays_small():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(19), (360, 480)).transpose(2, 0, 1).astype(np.float32)
    truth = np.repeat(np.repeat(rng.integers(0, 19, (36, 48)), 10, 0), 10, 1)
    image = np.zeros((3, 360, 480), np.uint8)
    one = MaskExplorer(image, truth, probs=probs, classes=[f"class {k}" for k in range(19)])
    size = sum(len(value) for value in one.samples[0].values() if isinstance(value, bytes))
    assert size < 2_000_000, "noise is the worst case"


def test_pins_and_colours(scene):
    one = explorer(*scene, pins=[[0, 29, 19]])
    assert one.palette == [list(colour) for colour in PALETTE] != one.distinct
    given = one.snapshot()
    one.colours = "distinct"
    assert one.snapshot() != given
    one.grey = True
    grey = Image.open(io.BytesIO(one.snapshot())).convert("RGB")
    assert (np.ptp(np.asarray(grey).astype(int), axis=2) == 0).all()
    assert one.alt().startswith("image; truth")  # its words stay
    one.pins = []
    with pytest.raises(ValueError, match="no pixel x 30, y 0 in image 0"):
        one.pins = [[0, 30, 0]]
    with pytest.raises(ValueError, match="no pixel x 0, y 0 in image 1"):
        one.pins = [[1, 0, 0]]
    with pytest.raises(anywidget.widget.t.TraitError):
        one.colours = "loud"


@pytest.mark.parametrize("shape", [(1, 1), (400, 4), (5, 400)])
def test_any_shape_and_any_script(shape):
    names = ("\u0633\u0645\u0627\u0621", "\u9053\u8def", "\U0001f697 car")
    image = np.full((*shape, 4), 128, np.uint8)
    one = MaskExplorer(image, np.ones(shape, bool), np.zeros(shape, bool), classes=names)
    assert one.palette == one.distinct
    assert one.classes == list(names)
    assert max(Image.open(io.BytesIO(one.snapshot())).size) < 2000
