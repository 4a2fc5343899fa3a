"""A network, a loss and a recipe from files: trained, killed, resumed, looked at elsewhere."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from segbook import cli
from segbook.runs import code
from segbook.runs.folder import RunFolder

NET = """
from torch import nn
from blocks import Block
from segkit import SegOutput
from segkit.losses import AuxLoss

class Net(nn.Module):
    aux_losses = {"first": AuxLoss(0.4)}

    def __init__(self, num_classes, in_channels, width):
        super().__init__()
        self.first, self.second = Block(in_channels, width), Block(width, width)
        self.aux, self.head = nn.Conv2d(width, num_classes, 1), nn.Conv2d(width, num_classes, 1)

    def forward(self, images):
        x = self.first(images)
        aux = {"first": self.aux(x)} if self.training else {}
        return SegOutput(self.head(self.second(x)), aux)

def build(*, num_classes, in_channels=3, width=4):
    return Net(num_classes, in_channels, width)
"""
BLOCKS = """
from torch import nn

class Block(nn.Sequential):
    def __init__(self, inside, out):
        super().__init__(nn.Conv2d(inside, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU())
"""
LOSS = """
from torch.nn.functional import cross_entropy

def softened(logits, labels, *, smoothing=0.1):
    return cross_entropy(logits, labels, ignore_index=255, label_smoothing=smoothing)
"""
RECIPE = """
from segbook.recipes import get, override

def mine():
    return override(get("unet_synthetic"), {
        "name": "mine", "model": "my_net.py:build", "loss": "my_loss.py:softened",
        "class_weights": "none", "doctor": "off", "warmup": 0, "steps": 2000, "save_every": 2,
        "length": 8, "image_size": (64, 96), "crop": (64, 64), "precision": "float32",
    })
"""


def segbook(*words, exit_code=0):
    done = CliRunner().invoke(cli.main, [*map(str, words)])
    assert done.exit_code == exit_code, done.output
    return done.output


@pytest.mark.slow
def test_a_life_of_a_run_with_code_of_its_own(tmp_path, monkeypatch):
    lab, elsewhere = tmp_path / "lab", tmp_path / "elsewhere"
    lab.mkdir()
    elsewhere.mkdir()
    Image.new("RGB", (96, 64), (90, 120, 30)).save(elsewhere / "one.png")
    for name, text in {
        "my_net": NET, "blocks": BLOCKS, "my_loss": LOSS, "my_recipe": RECIPE
    }.items():  # fmt: skip
        (lab / f"{name}.py").write_text(text)

    # Killed after some steps, in the middle of one.
    process = subprocess.Popen(
        [sys.executable, "-m", "segbook", "train", "lab/my_recipe.py"],
        cwd=tmp_path, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not list((tmp_path / "runs").glob("*/checkpoints/previous.safetensors")):
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    [path] = (tmp_path / "runs").iterdir()
    folder = RunFolder(path)
    kept = folder.read()["code"]
    assert {field: entry["name"] for field, entry in kept.items()} == {
        "model": "my_net.py:build", "loss": "my_loss.py:softened", "recipe": "my_recipe.py"
    }  # fmt: skip
    copies = {file.name: file.read_text() for file in (path / "code").glob("*/*.py")}
    assert copies == {
        "my_net.py": NET, "blocks.py": BLOCKS, "my_loss.py": LOSS, "my_recipe.py": RECIPE
    }  # fmt: skip

    # Resumed from another folder, with code that has changed.
    monkeypatch.chdir(elsewhere)
    (lab / "blocks.py").write_text(BLOCKS + "# and more\n")
    steps = f"steps={folder.read()['step'] + 4}"
    said = segbook("resume", path, "--set", steps)
    assert "the code of my_net.py:build has changed since step" in said
    assert "the code of my_net.py:build has changed" in (path / "log.txt").read_text()
    [before] = folder.read()["code_before"]
    assert before["sha256"] == kept["model"]["sha256"]
    assert before["field"] == "model"
    assert folder.read()["status"] == "finished"

    # Predicted and reported by the run's own copy, whatever has become of the files.
    for file in lab.glob("*.py"):
        file.write_text("raise SystemExit('not this one')\n")
    segbook("predict", path, "one.png", "--out", "first")
    command = [sys.executable, "-P", "-m", "segbook", "predict", path, "one.png", "--out", "new"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert "boundary IoU" in segbook("evaluate", path)
    segbook("compare", path, "--out", "page")
    page = (elsewhere / "page/README.md").read_text()
    assert f"my_net.py:build {folder.read()['code']['model']['sha256'][:7]}" in page
    assert str(lab) not in page

    # For somebody else all of that executes nothing, until he says so.
    best = path / "checkpoints/best.safetensors"
    monkeypatch.setenv("XDG_STATE_HOME", str(elsewhere / "s"))
    monkeypatch.setattr(code, "_trusted", set())
    for words in (
        ("predict", path, "one.png", "--out", "x"),
        ("predict", best, "one.png", "--out", "x"),
        ("evaluate", path),
        ("compare", path),
        ("resume", path, "--set", "steps=3000"),
    ):
        said = segbook(*words, exit_code=2)
        assert "would execute my_net.py:build" in said
    assert str(lab).encode() not in best.read_bytes()
    Path(elsewhere / "w.safetensors").write_bytes(best.read_bytes())
    said = segbook("predict", "w.safetensors", "one.png", "--out", "x", exit_code=2)
    assert "executes no code: give yours, --model FILE.py:NAME" in " ".join(said.split())
    (lab / "my_net.py").write_text(NET)
    (lab / "blocks.py").write_text(BLOCKS)
    given = ("--model", "../lab/my_net.py:build")
    segbook("predict", best, "one.png", "--out", "fourth", "--trust", *given)
    segbook("predict", best, "one.png", "--out", "second")  # trusted from here on
    segbook("predict", "w.safetensors", "one.png", "--out", "third", *given)
    labels = {(elsewhere / out / "labels/one.png").read_bytes() for out in
              ("first", "new", "second", "third", "fourth")}  # fmt: skip
    assert len(labels) == 1
