"""Training without a notebook, with a stand-in for the training itself."""

import errno
import os
import signal
import sys

import pytest

from segbook.runs.folder import RunFolder
from segbook.training import headless


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Sets what the training does: a function of (recipe, folder)."""
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path))

    def use(function):
        monkeypatch.setattr(headless, "fit", lambda recipe, folder, **_: function(recipe, folder))

    return use


@pytest.fixture
def run(train):
    return headless.create("pp_liteseg_t_synthetic", {"steps": "20", "warmup": "0", "lr": "1e-3"})


def test_a_training_gets_its_recipe_and_leaves_its_result(train, run):
    seen = []
    train(lambda recipe, folder: seen.append(recipe) or {"miou": 0.5})
    described = headless.execute(run)
    assert (seen[0].steps, seen[0].lr) == (20, 0.001)
    assert described["status"] == "finished"
    assert described["result"] == {"miou": 0.5}
    assert described["overrides"]["lr"] == "1e-3"
    assert described["versions"]["python"] == sys.version.split()[0]
    assert described["attempts"] == 1


def test_it_owns_the_folder_while_it_trains_and_the_training_may_own_it_too(train, run):
    def training(recipe, folder):
        assert folder.is_locked()
        assert folder.read()["status"] == "running"
        with folder.own():
            folder.update(step=3)
        return {}

    train(training)
    assert headless.execute(run)["step"] == 3
    assert not run.is_locked()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_it_goes_on(train, run, number):
    def interrupted(recipe, folder):
        (folder.checkpoints / "last").write_text("saved")
        os.kill(os.getpid(), number)

    train(interrupted)
    described = headless.execute(run)
    assert described["status"] == "stopped"
    assert "stopped by" in described["reason"]
    train(lambda recipe, folder: {"text": (folder.checkpoints / "last").read_text()})
    described = headless.execute(RunFolder(run.path))
    assert (described["status"], described["reason"]) == ("finished", None)
    assert described["result"] == {"text": "saved"}
    assert described["attempts"] == 2


def test_its_time_limit_stops_it(train, tmp_path):
    run = headless.create("unet_synthetic", {}, time_limit=0.05)
    train(lambda recipe, folder: signal.pause())
    described = headless.execute(run)
    assert described["status"] == "stopped"
    assert "time limit" in described["reason"]


def test_a_description_without_its_recipe_is_refused(train, run):
    run.update(recipe=None)
    with pytest.raises(ValueError, match="not a whole recipe"):
        headless.execute(run)


def test_an_exception_is_recorded(train, run):
    def broken(recipe, folder):
        raise KeyError("logits")

    train(broken)
    described = headless.execute(run)
    assert described["status"] == "failed"
    assert described["error"]["name"] == "KeyError"
    assert any("broken" in line for line in described["error"]["traceback"])
    assert "KeyError" in (run.path / "log.txt").read_text()


def test_a_full_disk_is_said(train, run):
    def full(recipe, folder):
        raise OSError(errno.ENOSPC, "No space left on device", "last.pt")

    train(full)
    assert headless.execute(run)["error"]["message"].startswith("the disk is full")


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [("pp_litseg_t_synthetic", {}, "pp_liteseg_t_synthetic"),
     ("unet_synthetic", {"stps": "1"}, "steps"), ("unet_synthetic", {"steps": "2.5"}, "steps"),
     ("unet_synthetic", {"policy": "datset"}, "dataset_absent_0"),
     ("unet_synthetic", {"loss": "entropy"}, "cross_entropy"),
     ("unet_synthetic", {"model": "unett"}, "closest names are unet"),
     ("unet_synthetic", {"model_options": "{'depth': 1}"}, "depth, but unet.* takes in_channels"),
     ("unet_synthetic", {"model_options": "{'num_classes': 1}"}, "num_classes, but"),
     ("unet_synthetic", {"scale": "(2, 1)"}, "lowest"),
     ("unet_synthetic", {"crop": "(0, 64)"}, "crop"),
     ("unet_synthetic", {"image_size": "(8, 8)"}, "16 or more"),
     ("unet_synthetic", {"weights": "no.safetensors"}, "weights='no.safetensors'.*no such file"),
     ("unet_synthetic", {"weights": __file__}, "not a whole safetensors file"),
     ("unet_synthetic", {"data": "folder"}, "needs data_root"),
     ("unet_synthetic", {"data": "folder", "data_root": "no/data"}, "data_root='no/data'"),
     ("unet_camvid", {"data_root": "no/data"}, r"data_scripts/camvid\.py")],
)  # fmt: skip
def test_a_wrong_recipe_or_field_makes_no_folder(train, tmp_path, recipe, changes, message):
    with pytest.raises(ValueError, match=message):
        headless.create(recipe, changes)
    assert list(tmp_path.iterdir()) == []
