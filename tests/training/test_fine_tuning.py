"""Fine-tuning as a run: from the weights of one run to other classes, frozen or slower."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from segbook import recipes
from segbook.builders.check import check
from segbook.runs.folder import RunFolder
from segbook.training.loop import fit, train
from segbook.training.state import build
from segkit.weights import read_header

pytestmark = pytest.mark.slow

TINY = {
    "image_size": (64, 64),
    "length": 8,
    "crop": (64, 64),
    "batch_size": 2,
    "steps": 3,
    "warmup": 0,
    "evaluate_every": 1,
    "save_every": 3,
    "precision": "float32",
    "doctor": "off",
}


def tiny(**changes):
    return recipes.override(recipes.get("pp_liteseg_t_synthetic"), {**TINY, **changes})


@pytest.fixture(autouse=True)
def _few_streets(monkeypatch):
    from segkit import data

    whole = data.SyntheticStreets
    monkeypatch.setattr(
        data,
        "SyntheticStreets",
        lambda split, *, size, length: whole(split, size=size, length=length or 2),
    )


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """The folder of a run on the streets, with its best weights and its checkpoint."""
    from segkit import data

    whole = data.SyntheticStreets
    folder = RunFolder.create("streets", root=tmp_path_factory.mktemp("runs"), kind="train")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            data,
            "SyntheticStreets",
            lambda split, *, size, length: whole(split, size=size, length=length or 2),
        )
        fit(tiny(steps=1), folder, show=lambda text: None, progress=False)
    return folder


@pytest.fixture
def halves(tmp_path):
    """A data set of three classes, two of which the streets have too."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / "halves" / split / kind).mkdir(parents=True)
        for index in range(4):
            image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            mask = (np.arange(64 * 64).reshape(64, 64) // 64 * 3 // 64).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / f"halves/{split}/images/{index}.png")
            Image.fromarray(mask).save(tmp_path / f"halves/{split}/masks/{index}.png")
    (tmp_path / "halves" / "classes.txt").write_text("Sky\nGravel\nRoad\n")
    return str(tmp_path / "halves")


@pytest.mark.slow
def test_a_run_on_other_classes_says_what_starts_anew(streets, halves, tmp_path):
    best = streets.checkpoints / "best.safetensors"
    folder = RunFolder.create("tuned", root=tmp_path, kind="train")
    told = []
    recipe = tiny(data="folder", data_root=halves, weights=str(best), ema=None)
    fit(recipe, folder, show=told.append, progress=False)
    (line,) = [line for line in told if line.startswith("weights from")]
    assert line == (
        f"weights from {best}, made for 11 classes, now 3: aux_head4.1, aux_head5.1, head.1 start "
        "from random weights, but for the rows of Sky, Road"
    )
    assert line in (folder.path / "log.txt").read_text()
    header = read_header(folder.checkpoints / "best.safetensors")
    assert header["arguments"] == {"num_classes": 3}
    assert header["classes"] == ["Sky", "Gravel", "Road"]


def test_a_resumed_run_goes_on_from_its_checkpoint(streets, tmp_path):
    """Not from the weights it once began with: their file is read no second time."""
    best = streets.checkpoints / "best.safetensors"
    folder = RunFolder.create("tuned", root=tmp_path, kind="train")
    stream = train(build(tiny(weights=str(best))), folder, show=lambda line: None)
    next(stream)
    stream.close()
    told = []
    state = build(tiny(weights=str(best)), folder)
    next(train(state, folder, show=told.append))
    assert state.step == 2
    assert not [line for line in told if line.startswith("weights from")]


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["backbone", "backbone_norms"])
def test_a_frozen_backbone_stays_through_a_run_with_validations(streets, tmp_path, freeze):
    best = streets.checkpoints / "best.safetensors"
    folder = RunFolder.create("tuned", root=tmp_path, kind="train")
    recipe = tiny(weights=str(best), freeze=freeze, ema=None, head_lr=2.0, stage_lr=0.5)
    told: list[str] = []
    run = build(recipe)
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    assert len(list(train(run, folder, show=told.append))) == 3
    assert told[1].startswith("frozen: the backbone")
    changed = {k for k, v in run.model.state_dict().items() if not torch.equal(v, before[k])}
    norms = {f"backbone.{n}" for n, m in run.model.backbone.named_modules() if hasattr(m, "frozen")}
    assert norms
    assert not {k for k in changed if k.rpartition(".")[0] in norms}
    assert any(k.startswith("backbone.") for k in changed) is (freeze == "backbone_norms")
    assert "head.1.weight" in changed


def test_the_checkpoint_of_a_training_is_no_weights_file(streets):
    last = streets.checkpoints / "last.safetensors"
    with pytest.raises(ValueError, match=r"last\.safetensors is the checkpoint.*best\.safetensors"):
        check(tiny(weights=str(last)))
