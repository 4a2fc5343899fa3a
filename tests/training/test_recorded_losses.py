"""The losses of three recipes, recorded before the workbench was re-cut: a move changes no bit.

Another processor or release of torch adds in another order, so that there only the first digits
agree. After a change that is meant to change numbers, record anew, on one thread:

    OMP_NUM_THREADS=1 python tests/training/test_recorded_losses.py
"""

import contextlib
import hashlib
import json
import os
import platform
import tempfile
from pathlib import Path

import pytest
import torch

from segbook import recipes
from segbook.runs.folder import RunFolder
from segbook.training import headless
from segbook.training.loop import train
from segbook.training.state import build
from segkit import data
from segkit.engine import load_checkpoint

RECORD = Path(__file__).with_name("recorded_losses.json")
SMALL = {"image_size": (64, 96), "crop": (64, 64), "length": 16, "doctor": "off", "warmup": 2}
CASES = {
    "one go": (  # recorded when its STDC still pooled as STDC's authors do
        "pp_liteseg_t_synthetic",
        {**SMALL, "batch_size": 4, "steps": 5, "model_options": {"count_include_pad": True}},
    ),
    "resumed": (
        "unet_synthetic",
        {**SMALL, "batch_size": 2, "accumulate": 2, "steps": 6, "precision": "float32"},
    ),
    "two processes": (
        "fcn8s_synthetic",
        {**SMALL, "batch_size": 4, "steps": 4, "precision": "float32", "evaluate_every": 0},
    ),
}
STOPPED_AFTER = 3
"""Steps of the resumed run's first attempt."""


def machine():
    """What the order of additions hangs on."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "torch": torch.__version__,
        "processor": names[0] if names else platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def digest(folder):
    state = load_checkpoint(folder.checkpoints, restore_rng=False)
    content = hashlib.sha256()
    for name, tensor in sorted(state["model"].items()):
        content.update(name.encode())
        content.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()


def run(case, root):
    """The losses of a case and a digest of its last weights."""
    name, changes = CASES[case]
    if case == "two processes":
        typed = {field: str(value) for field, value in changes.items()}
        folder = headless.create(name, typed, processes=2)
        outcome = headless.execute(folder, show=lambda line: None)
        assert outcome["status"] == "finished", outcome
        losses = [record["loss"] for record in folder.metrics() if "loss" in record]
        return {"losses": losses, "weights": digest(folder)}
    recipe = recipes.override(recipes.get(name), changes)
    folder = RunFolder.create(name, root=root, kind="train")
    losses = []
    attempts = (STOPPED_AFTER, recipe.steps) if case == "resumed" else (recipe.steps,)
    for last in attempts:
        state = build(recipe, folder)
        with contextlib.closing(train(state, folder, show=lambda line: None)) as steps:
            for step in steps:
                losses.append(step.loss)
                if step.index == last:
                    break
    return {"losses": [loss.hex() for loss in losses], "weights": digest(folder)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.full] * (c == "two processes")) for c in CASES]
)
def test_a_move_changes_no_bit(case, tmp_path, monkeypatch):
    whole = data.SyntheticStreets  # what is validated changes no weight

    def short(split, *, size, length):
        return whole(split, size=size, length=length or 4)

    monkeypatch.setattr(data, "SyntheticStreets", short)
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    found = run(case, tmp_path)
    if recorded["machine"] == machine():
        assert found == recorded[case]
        return
    ours, theirs = (
        [float.fromhex(x) if isinstance(x, str) else x for x in losses["losses"]]
        for losses in (found, recorded[case])
    )
    assert ours[0] == pytest.approx(theirs[0], rel=1e-2)  # bfloat16 in one case
    assert len(ours) == len(theirs)


if __name__ == "__main__":
    torch.set_num_threads(1)
    record = {"machine": machine()}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["SEGBOOK_RUNS"] = scratch
        record |= {case: run(case, scratch) for case in CASES}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
