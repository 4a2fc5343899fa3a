"""2N steps are N steps, SIGKILL and N more, bit for bit; and a resume that is not is caught."""

from __future__ import annotations

import os
import shutil

import pytest

from segbook import recipes
from segbook.runs.folder import RunFolder
from segbook.training.prove_resume import compare, prove, shortened, train, train_and_kill

TINY = {
    "model": "fast_scnn",  # has dropout
    "image_size": (64, 64),
    "length": 8,
    "crop": (64, 64),
    "batch_size": 2,
    "steps": 10,
    "warmup": 2,
    "ema": 0.9,
    "precision": "float32",
}
EVERYTHING = {
    "workers": 2,
    "accumulate": 2,
    "precision": "bfloat16",
    "optimizer": "adamw",
    "lr": 1e-3,
    "clip": 1.0,
    "jitter": 0.4,
    "class_weights": "median",
    "phases": "[(0.7, (64, 64), (0.5, 1.5)), (1.0, (64, 96), (0.5, 1.5))]",
}
FAULTS = {
    "random numbers": (
        "import segkit.engine.checkpoint as checkpoint, types\n"
        "checkpoint.random_state = types.SimpleNamespace(restore=lambda state: None,"
        " state=checkpoint.random_state.state)\n"
    ),
    "optimizer": (
        "import torch\ntorch.optim.Optimizer.load_state_dict = lambda self, state: None\n"
    ),
    "order": (
        "import functools\nfrom segkit import data\nwhole = data.batches\n"
        "def from_the_start(*arguments, **options):\n"
        "    return whole(*arguments, **{**options, 'start': 0})\n"
        "data.batches = from_the_start\n"
    ),
}
"""Ways to break a resume, as code that runs first in the process that resumes."""


def tiny(**changes):
    return recipes.override(recipes.get("pp_liteseg_t_synthetic"), {**TINY, **changes})


def different(rows):
    return {row.what for row in rows if row.difference}


@pytest.fixture(autouse=True)
def _one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.full
def test_workers_accumulation_bf16_phases_and_dropout():
    proof = prove(tiny(**EVERYTHING), steps=10)
    assert proof.holds, proof.rows
    assert 5 <= proof.killed_at < 10
    assert 4 <= proof.resumed_at <= proof.killed_at
    assert "bfloat16" in proof.machine
    assert "2 workers" in proof.machine
    what = {row.what for row in proof.rows}
    assert {"losses", "optimizer", "moving average of the weights"} <= what


@pytest.mark.full
def test_a_sound_resume_is_exact_and_a_broken_one_is_caught(tmp_path, monkeypatch):
    recipe = shortened(tiny(), steps=10, kill_at=5)
    whole, killed = (
        RunFolder.create(name, root=tmp_path, kind="train", recipe=recipe.to_dict())
        for name in ("whole", "killed")
    )
    assert [line["step"] for line in train(whole)] == [*range(1, 11)]
    train_and_kill(killed, 5)
    assert killed.read()["status"] == "interrupted"

    def resumed(fault):
        path = tmp_path / fault.replace(" ", "_")
        shutil.copytree(killed.path, path)
        code = path / "first"
        code.mkdir()
        (code / "sitecustomize.py").write_text(FAULTS.get(fault, ""))
        folder = RunFolder(path)
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", str(code), prepend=os.pathsep)
            assert [line["step"] for line in train(folder)][-1] == 10
        return different(compare(whole, folder))

    assert resumed("nothing") == set()
    # Without its random numbers the network drops out other units: all that follows differs.
    assert {"random number generators", "losses", "optimizer"} <= resumed("random numbers")
    found = resumed("optimizer")
    assert {"losses", "optimizer", "weights and running statistics"} <= found
    assert "samples: images, in their order" not in found
    assert "learning rates" not in found
    assert {"samples: images, in their order", "losses"} <= resumed("order")
