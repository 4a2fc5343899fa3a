"""A loop of one's own is a run; and a training of a notebook goes on without the notebook."""

import contextlib

import pytest
import torch
from click.testing import CliRunner
from torch.nn.functional import cross_entropy

from segbook import cli, recipes, training
from segbook.prediction.network import open_network
from segbook.runs import listing
from segbook.runs.folder import FAILED, FINISHED, STOPPED, RunFolder
from segkit import engine
from segkit.engine.checkpoint import load_checkpoint

RECIPE = recipes.override(
    recipes.get("unet_synthetic"),
    {
        "model": "net.py:build", "image_size": (64, 96), "crop": (64, 64), "length": 8, "steps": 6,
        "warmup": 0, "batch_size": 2, "evaluate_every": 3, "save_every": 2, "doctor": "off",
        "precision": "float32",
    },
)  # fmt: skip
NET = """
from torch import nn
from segkit import SegOutput

class Net(nn.Module):
    aux_losses = {}

    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.head = nn.Conv2d(in_channels, num_classes, 3, padding=1)

    def forward(self, images):
        return SegOutput(self.head(images), {})

def build(*, num_classes, in_channels=3):
    return Net(num_classes, in_channels)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)


def own(state, folder, *, fails_at=None):
    for step, images, labels in training.own_loop(state, folder, show=lambda line: None):
        loss = cross_entropy(state.model(images).logits, labels, ignore_index=255)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        folder.append_metrics(step=step, loss=loss.item())
        if step == fails_at:
            raise RuntimeError("mine")


def test_the_moving_average_follows_a_loop_of_ones_own():
    state, folder = begin()
    updates, first = [], [one.clone() for one in state.model.parameters()]
    for step, images, labels in training.own_loop(state, folder, show=lambda line: None):
        cross_entropy(state.model(images).logits, labels, ignore_index=255).backward()
        state.optimizer.step()
        if step == 2:  # as one who does it alone
            state.ema.update_parameters(state.model)
        updates.append(int(state.ema.n_averaged))
    assert updates == [0, 2, 2, 3, 4, 5]
    assert int(state.ema.n_averaged) == 6
    best = dict(open_network(folder.path).model.named_parameters())
    assert not any(torch.equal(a, b) for a, b in zip(first, best.values(), strict=True))


def test_weights_that_are_not_finite_end_a_loop_of_ones_own_without_a_score():
    state, folder = begin()
    loop = training.own_loop(state, folder, show=lambda line: None)
    assert [next(loop)[0], next(loop)[0]] == [1, 2]
    torch.nn.init.constant_(state.model.head.bias, float("nan"))
    with pytest.raises(engine.NonFiniteLossError, match="NaN or infinite after step 2"):
        next(loop)
    described = folder.read()
    assert (described["status"], described["result"]) == (FAILED, None)
    assert not list(folder.checkpoints.glob("last*"))


def losses(folder):
    return {record["step"]: record["loss"] for record in folder.metrics() if "loss" in record}


def begin():
    folder = RunFolder.for_notebook("mine")
    return training.build(RECIPE, folder), folder


def invoke(*words):
    return CliRunner().invoke(cli.main, words)


def test_a_loop_of_ones_own_is_listed_shown_and_predicted_from():
    state, folder = begin()
    own(state, folder)
    described, row = folder.read(), listing.row(folder)
    assert (row.status, row.step, row.steps) == (FINISHED, 6, 6)
    assert row.miou == described["result"]["miou"] == state.best["miou"] > 0
    assert [r["step"] for r in folder.metrics() if "val_miou" in r] == [3, 6]
    assert described["code"]["model"]["name"] == "net.py:build"
    assert open_network(folder.path).header["step"] == state.best["step"]
    assert "net.py:build" in invoke("compare", folder.name).output
    assert "finished" in invoke("show", folder.name).output


def test_a_step_that_was_not_finished_is_done_again_with_the_same_numbers():
    state, whole = begin()
    own(state, whole)
    state, folder = begin()
    with pytest.raises(RuntimeError, match="mine"):
        own(state, folder, fails_at=5)
    del state
    assert folder.read()["status"] == STOPPED
    assert load_checkpoint(folder.checkpoints)["step"] == 4
    refused = invoke("resume", folder.name)
    assert refused.exit_code == 2
    assert "training.own_loop(training.build(recipe, folder), folder)" in refused.output
    again = RunFolder(folder.path)
    own(training.build(RECIPE, again), again)
    assert losses(again) == losses(whole)
    assert again.read()["result"] == whole.read()["result"]


def test_a_training_of_jupyter_goes_on_by_segbook_resume():
    state, whole = begin()
    list(training.train(state, whole, show=lambda line: None))
    state, folder = begin()
    with contextlib.closing(training.train(state, folder, show=lambda line: None)) as steps:
        for step in steps:
            if step.index == 4:
                break
    assert (
        f"segbook resume {folder.name}   (from step 4 of 6)" in invoke("show", folder.name).output
    )
    done = invoke("resume", folder.name, "--set", "save_every=3")
    assert done.exit_code == 0, done.output
    described = folder.read()
    assert (described["status"], described["kind"], described["step"]) == (FINISHED, "notebook", 6)
    assert described["result"].pop("test")
    assert described["result"] == whole.read()["result"]
