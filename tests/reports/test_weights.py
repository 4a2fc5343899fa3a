"""A finished run's weights in float16: what their file says, and that they predict the same."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

import segkit
from segbook import recipes
from segbook.cli import main
from segbook.reports import weights
from segbook.runs.folder import RunFolder
from segbook.training.loop import fit
from segkit import data, engine, transforms
from segkit.metrics import ConfusionMatrix
from segkit.weights import bundled, read_header

LICENCE = "CamVid's: research and teaching"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two steps, and the file that `segbook report` made of it."""
    root = tmp_path_factory.mktemp("runs")
    recipe = recipes.override(
        recipes.get("one_protocol_segformer_b0"),
        {"data": "synthetic", "data_root": "", "image_size": (64, 64), "crop": (64, 64),
         "length": 6, "steps": 2, "batch_size": 2, "warmup": 0, "evaluate_every": 0,
         "precision": "float32", "class_weights": "none", "watch": ("val_0_00001",)},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        whole = data.SyntheticStreets
        patch.setattr(
            data,
            "SyntheticStreets",
            lambda split, *, size, length: whole(split, size=size, length=length or 3),
        )
        folder = RunFolder.create(
            "tiny", root=root, kind="train", recipe_name=recipe.name, overrides={"steps": "2"}
        )
        fit(recipe, folder, show=lambda text: None, progress=False)
        path = root / "tiny.safetensors"
        result = CliRunner().invoke(
            main,
            ["report", str(folder.path), "--weights", str(path), "--licence", LICENCE],
            catch_exceptions=False,
        )
        assert result.output == f"wrote {path}\n"
    return folder, path


@pytest.mark.slow
def test_the_file_is_half_as_large_and_says_what_it_is(finished):
    folder, path = finished
    best = folder.checkpoints / "best.safetensors"
    assert path.stat().st_size < 0.55 * best.stat().st_size
    header, result = read_header(path), folder.read()["result"]
    assert read_header(best).items() <= header.items()
    assert header["result"]["test"] == {
        "miou": result["test"]["miou"], "policy": "dataset", "iou": result["test"]["iou"],
    }  # fmt: skip
    assert header["licence"] == LICENCE
    assert header["data"]["name"] == "synthetic"
    assert header["command"].startswith("segbook train one_protocol_segformer_b0 --set steps=2")
    assert header["seed"] == 0
    assert 0.999 <= header["agreement"] <= 1


@pytest.mark.slow
def test_it_predicts_what_its_header_records(finished):
    _, path = finished
    model, header = segkit.load_model(path)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    val = data.SyntheticStreets("val", size=(64, 64), length=3)
    assert header["example"]["image"] == val.stem(1)
    image, labels = val.with_transform(transforms.evaluate(**header["normalisation"]))[1]
    counts = ConfusionMatrix(11)
    counts.update(engine.predict(model, image[None]), labels[None])
    found = [None if iou != iou else round(iou, 5) for iou in counts.iou().tolist()]
    assert found == header["example"]["iou"]


@pytest.mark.slow
def test_weights_that_float16_changes_too_much_are_not_written(finished, tmp_path, monkeypatch):
    folder, _ = finished
    monkeypatch.setattr(
        bundled, "half", lambda state: {name: torch.zeros_like(w) for name, w in state.items()}
    )
    with pytest.raises(ValueError, match=r"float16 changes .* % of the labels"):
        weights.write_weights(folder, tmp_path / "a.safetensors", licence=LICENCE)
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize("words", [[], ["--weights", "a.safetensors"], ["--licence", "mine"]])
def test_what_report_needs(words, tmp_path):
    folder = RunFolder.create("a", root=tmp_path)
    result = CliRunner().invoke(main, ["report", str(folder.path), *words])
    assert result.exit_code == 2
    assert "--weights" in result.output
