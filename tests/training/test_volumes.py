"""Recipes of volumes: what they take, an exact resume, and what is for images only."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from segbook import cli, recipes
from segbook.builders.check import check
from segbook.preflight.checks import examine
from segbook.runs.folder import RunFolder
from segbook.training.loop import train
from segbook.training.state import build
from segkit import engine

NET = """
from torch import nn
from segkit import SegOutput

class Net(nn.Module):
    aux_losses = {}

    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.first = nn.Conv3d(in_channels, 8, 3, padding=1)
        self.norm = nn.InstanceNorm3d(8, affine=True)
        self.head = nn.Conv3d(8, num_classes, 1)

    def forward(self, images):
        return SegOutput(self.head(self.norm(self.first(images)).relu()), {})

def build(*, num_classes, in_channels=3):
    return Net(num_classes, in_channels)
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    root = tmp_path / "brains"
    root.mkdir()
    (root / "classes.txt").write_text("background\nball\n")
    random = np.random.default_rng(0)
    for case in range(5):
        label = np.zeros((10, 12, 9), np.uint8)
        label[2:6, 3:8, 2:7] = 1
        image = (random.normal(100, 9, label.shape) + 80 * label).astype(np.float32)
        np.savez(root / f"case_{case}.npz", image=image, label=label, spacing=[1, 1, 2])
    (root / "train.txt").write_text("case_0\ncase_1\ncase_2\n")
    (root / "val.txt").write_text("case_3\ncase_4\n")
    return recipes.override(
        recipes.get("no_new_net_hippocampus"),
        {
            "name": "balls", "model": "net.py:build", "data": "volumes", "data_root": str(root),
            "crop": (8, 8, 8), "window": (), "steps": 6, "warmup": 0, "evaluate_every": 3,
            "save_every": 1, "doctor": "off", "precision": "float32",
        },
    )  # fmt: skip


def run(recipe, folder, until):
    state = build(recipe, folder)
    for step in train(state, folder, show=lambda line: None):
        if step.index == until:
            break
    return state


def test_a_resume_is_exact(recipe):
    whole = run(recipe, RunFolder.create("whole", kind="train", recipe=recipe.to_dict()), 6)
    folder = RunFolder.create("parts", kind="train", recipe=recipe.to_dict())
    for until in (2, 4, 6):
        parts = run(recipe, folder, until)
    assert parts.step == 6
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, parts.model.state_dict()[name]), name
    header = whole.header()
    assert header["normalisation"] == {"per_volume": True}
    assert header["window"] == [8, 8, 8]
    assert header["arguments"] == {"num_classes": 2, "in_channels": 1}


def test_it_is_evaluated_by_windows(recipe, monkeypatch):
    state = build(recipe)
    seen = []
    state.model.register_forward_hook(lambda _, given, made: seen.append(given[0].shape))
    from segbook.training.evaluation import evaluate, evaluate_cases

    counts = evaluate(state.model, recipe, state.sets["val"], state.settings)
    assert {tuple(shape[2:]) for shape in seen} == {(8, 8, 8)}
    assert counts.matrix.sum() == 2 * 10 * 12 * 9
    cases = evaluate_cases(state.model, recipe, state.sets["val"], state.settings)
    assert torch.equal(cases.counts.matrix, counts.matrix)
    assert cases.cases["case_3"]["spacing"] == [1, 1, 2]


def test_windows_cover_a_thin_volume():
    model = torch.nn.Module()
    model.forward = lambda images: __import__("segkit").SegOutput(images[:, :2] * 1.0, {})
    volume = torch.randn(1, 2, 5, 12, 9)
    probs = engine.predict_probs(model, volume, window=(4, 8, 16))
    torch.testing.assert_close(probs, volume.softmax(1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crop": "8,8", "flip": "0.5"}, r"crop=\(8, 8\): data='volumes' are volumes"),
        ({"model": "unet_padded", "model_options": "{}"}, "is a network of images, and"),
        ({"watch": "('case_3',)"}, "what is watched are images"),
        ({"jitter": "1.5"}, "below 1"),
        ({"loss": "no_loss"}, "loss takes one of"),
    ],
)
def test_what_cannot_be_trained(recipe, changes, said):
    with pytest.raises(ValueError, match=said):
        check(recipes.override(recipe, changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crop": "8,8,8,8"}, "crop takes"),
        ({"flip": "0.5,0.5"}, "flip takes one probability, or of volumes three"),
        ({"window": "8,8"}, "window takes"),
    ],
)
def test_fields_that_cannot_be(recipe, changes, said):
    with pytest.raises(ValueError, match=said):
        recipes.override(recipe, changes)
    with pytest.raises(ValueError, match="flip takes one probability"):
        recipes.override(recipes.get("unet_synthetic"), {"flip": "0.5,0,0"})


def test_images_are_no_volumes():
    with pytest.raises(ValueError, match="data='synthetic' are images"):
        check(recipes.override(recipes.get("unet_synthetic"), {"crop": "32,32,32"}))


def test_the_doctor_looks_at_volumes(recipe):
    root = Path(recipe.data_root)
    recipe = recipes.override(recipe, {"crop": "16,16,16"})
    assert not {one.check for one in examine(recipe) if one.severity == "error"}
    made = dict(np.load(root / "case_0.npz"))
    np.savez(root / "case_3.npz", **made)  # of the training, too
    np.savez(root / "case_1.npz", **made | {"spacing": np.array([1, 1, 3.0])})
    np.savez(root / "case_2.npz", image=np.full((10, 12, 9), np.nan), label=made["label"])
    np.savez(root / "case_4.npz", image=np.ones((10, 12, 9)), label=0 * made["label"])
    found = {one.check: one for one in examine(recipe)}
    assert {
        "exact_duplicates", "spacings_differ", "unreadable_volume", "flat_volume",
        "volume_without_foreground", "crop_larger_than_volumes",
    } <= found.keys()  # fmt: skip
    assert "1 to 3 mm long along width" in found["spacings_differ"].what
    assert "case_2.npz" in found["unreadable_volume"].what
    assert found["crop_larger_than_volumes"].fix == "--set crop='(10, 12, 9)'"


def test_another_number_of_channels_is_an_error(recipe):
    recipe = recipes.override(recipe, {"model_options": "{'in_channels': 2}"})
    assert "in_channels" in {one.check for one in examine(recipe) if one.severity == "error"}


def test_commands_for_images_say_so(recipe):
    folder = RunFolder.create("balls", kind="train", recipe=recipe.to_dict())
    run(recipe, folder, 6)
    folder.update(status="finished")

    def call(*words):
        done = CliRunner().invoke(cli.main, words)
        return done.exit_code, done.output

    best = str(folder.checkpoints / "best.safetensors")
    common = ("predict", best, "brains", "--out", "out", "--model", "net.py:build")
    code, said = call(*common, "--masks", "brains")
    assert code
    assert "segbook evaluate" in said
    code, said = call(*common)
    assert code == 0
    assert "5 predicted" in said
    code, said = call(*common)
    assert code
    assert "is there already" in said
    Path("brains/case_1.npz").write_bytes(b"broken")
    code, said = call(*common, "--overwrite", "--probs", "--window", "8,8,8")
    assert code == 1
    assert "left out: brains/case_1.npz" in said
    assert "4 predicted, 1 left out" in said
    with np.load("out/probs/case_0.npz") as written:
        assert written["probs"].shape == (2, 10, 12, 9)
    code, said = call("export", best, "--to", "pt2", "--model", "net.py:build")
    assert code
    assert "is of a network of volumes" in said
    code, said = call("doctor", "brains")
    assert code == 1
    assert "case_1.npz cannot be read as npz" in said
    code, said = call("predict", best, "net.py", "--out", "out2", "--model", "net.py:build")
    assert code
    assert "is no volume" in said
