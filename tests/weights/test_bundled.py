"""Weights in the box: found by name, in float16, of a known origin."""

from __future__ import annotations

import pytest
import torch

import segkit
from segbook.recipes import get, override
from segbook.recipes.file import absolute
from segkit import data, engine, transforms
from segkit.data.camvid import CLASSES
from segkit.metrics import ConfusionMatrix
from segkit.weights import bundled, load_weights, read_header, save_weights

NAME = "tiny_segformer"


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A box with a small network of random weights in it, beside those that are there."""
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    model = segkit.create_model("segformer_b0", num_classes=11).eval()
    save_weights(
        bundled.half(model.state_dict()),
        tmp_path / f"{NAME}.safetensors",
        header={"builder": "segformer_b0", "arguments": {"num_classes": 11}},
    )
    return model


def test_by_name(box):
    assert bundled.names() == [NAME]
    model, header = segkit.load_model(NAME)
    assert header["builder"] == "segformer_b0"
    assert not model.training
    for weight, other in zip(model.parameters(), box.parameters(), strict=True):
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, other, rtol=1e-3, atol=1e-4)
    image, _ = transforms.evaluate()(*data.photograph("street_1"))
    now, before = (engine.predict(each, image[None]) for each in (model, box))
    assert (now == before).float().mean() > 0.98  # random weights: most scores are nearly equal
    again = segkit.create_model("segformer_b0", num_classes=11, weights=NAME)
    assert torch.equal(next(again.parameters()), next(model.parameters()))


def test_another_name_lists_those_that_are_there(box):
    with pytest.raises(ValueError, match=f"'tiny' is no file, and no weights in the box.*{NAME}"):
        segkit.load_model("tiny")


def test_a_file_of_that_name_comes_first(box, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_weights({"weight": torch.ones(1)}, tmp_path / "a.safetensors", header={})
    (tmp_path / "a.safetensors").rename(tmp_path / NAME)
    assert load_weights(torch.nn.PReLU(), NAME) == {}


def test_a_recipe_starts_from_them(box, tmp_path, monkeypatch):
    recipe = override(get("one_protocol_segformer_b0"), {"weights": NAME})
    assert absolute(recipe).weights == NAME
    (tmp_path / NAME).touch()
    monkeypatch.chdir(tmp_path)
    assert absolute(recipe).weights == str(tmp_path / NAME)


def test_half():
    state = {"weight": torch.ones(2, 2), "running_var": torch.full((2,), 1e-12)}
    state["count"] = torch.tensor(3)
    kinds = {name: tensor.dtype for name, tensor in bundled.half(state).items()}
    assert kinds == {"weight": torch.float16, "running_var": torch.float32, "count": torch.int64}
    with pytest.raises(ValueError, match="weight has numbers that float16 has not"):
        bundled.half({"weight": torch.full((2, 2), 1e5)})


def test_the_box_is_small():
    assert sum(path.stat().st_size for path in bundled.FOLDER.glob("*.safetensors")) <= 25_000_000


@pytest.mark.parametrize("name", bundled.names())
def test_each_says_what_it_is(name):
    header = read_header(bundled.FOLDER / f"{name}.safetensors")
    wanted = "builder classes palette normalisation result example agreement data licence command"
    assert all(header[field] for field in wanted.split())
    assert header["agreement"] >= 0.999
    assert header["seed"] >= 0


@pytest.mark.parametrize("name", [name for name in bundled.names() if name.endswith("camvid")])
def test_on_the_photographs_in_the_box(name):
    """What every reader can do first; CamVid's validation, so optimistic."""
    model, header = segkit.load_model(name)
    assert tuple(header["classes"]) == CLASSES
    counts = ConfusionMatrix(len(CLASSES))
    normalise = transforms.evaluate(**header["normalisation"])
    for photograph in data.PHOTOGRAPHS:
        image, labels = normalise(*data.photograph(photograph))
        counts.update(engine.predict(model, image[None]), labels[None])
    assert counts.miou() == pytest.approx(header["result"]["val"]["miou"], abs=0.15)


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name in bundled.names() if name.endswith("camvid")])
def test_an_image_of_camvid_is_predicted_as_it_was_recorded(name, camvid_root):
    model, header = segkit.load_model(name)
    val = data.CamVid(camvid_root, "val", cache=False)
    index = next(i for i in range(len(val)) if val.stem(i) == header["example"]["image"])
    image, labels = val.with_transform(transforms.evaluate(**header["normalisation"]))[index]
    counts = ConfusionMatrix(len(CLASSES))
    counts.update(engine.predict(model, image[None]), labels[None])
    found = torch.tensor([float(v) for v in counts.iou()])
    recorded = torch.tensor([float("nan") if v is None else v for v in header["example"]["iou"]])
    torch.testing.assert_close(found, recorded, rtol=0, atol=2e-3, equal_nan=True)
