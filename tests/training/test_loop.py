"""The run of a recipe: what it leaves in its folder, and that a kill changes nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open

from segbook import recipes
from segbook.builders.batches import train_batches
from segbook.builders.data import build_data, count_classes
from segbook.builders.loss import LOSSES, build_loss
from segbook.builders.model import build_model
from segbook.builders.optimizer import build_settings
from segbook.runs.folder import RunBusyError, RunFolder
from segbook.training import evaluation, headless, loop
from segbook.training.loop import fit, train
from segbook.training.state import build
from segkit.metrics import ConfusionMatrix

TINY = {
    "model": "fast_scnn",  # whose checkpoints are small
    "image_size": (64, 64),
    "length": 16,
    "crop": (64, 64),
    "batch_size": 2,
    "steps": 6,
    "warmup": 1,
    "evaluate_every": 3,
    "save_every": 2,
    "precision": "float32",
    "ema": 0.9,
}


def tiny(**changes):
    return recipes.override(recipes.get("pp_liteseg_t_synthetic"), {**TINY, **changes})


def silent(line):
    pass


@pytest.fixture(autouse=True)
def _few_streets(monkeypatch):
    """Validation and test of eight streets each: the loop is what is tested here."""
    from segkit import data

    whole = data.SyntheticStreets

    def short(split, *, size, length):
        return whole(split, size=size, length=length or 8)

    monkeypatch.setattr(data, "SyntheticStreets", short)


def test_what_a_run_leaves(tmp_path):
    folder = RunFolder.create("tiny", root=tmp_path, kind="train")
    told = []
    result = fit(tiny(), folder, show=told.append, progress=False)
    described = folder.read()
    assert described["status"] == "finished"
    assert (described["step"], described["steps"]) == (6, 6)
    assert described["recipe"]["lr"] == tiny().lr
    assert described["seed"] == 0
    assert described["versions"]["torch"] == torch.__version__.split("+")[0]
    assert set(described["data_manifest"]) == {"train", "val", "test"}
    assert result == described["result"]
    assert result["policy"] == "dataset"
    assert 0 <= result["miou"] <= 1
    assert 0 <= result["test"]["miou"] <= 1
    assert len(result["iou"]) == 11
    records = folder.metrics()
    assert [r["step"] for r in records if "val_miou" in r] == [3, 6]
    assert {"loss", "lr", "parts", "images_per_second"} <= set(records[-2] | records[-1])
    assert any("val mIoU" in line for line in told)
    assert "val mIoU" in (folder.path / "log.txt").read_text()


def test_the_best_weights_can_be_used_alone(tmp_path):
    import segkit

    folder = RunFolder.create("tiny", root=tmp_path, kind="train")
    fit(tiny(), folder, show=silent, progress=False)
    path = folder.checkpoints / "best.safetensors"
    with safe_open(path, "pt") as file:
        stored = [json.loads(v) for v in file.metadata().values() if v.startswith("{")]
    header = next(h for h in stored if "builder" in h)
    assert header["builder"] == "fast_scnn"
    assert header["classes"][3] == "Road"
    assert header["metric"]["policy"] == "dataset"
    model = segkit.create_model(header["builder"], **header["arguments"], weights=path).eval()
    assert model(torch.zeros(1, 3, 64, 64)).logits.shape == (1, 11, 64, 64)


@pytest.mark.slow
def test_a_run_that_ends_before_its_test_is_not_finished(tmp_path, monkeypatch):
    folder = RunFolder.create("tiny", root=tmp_path, kind="train")

    def dies(*_):
        raise MemoryError("killed while testing")

    monkeypatch.setattr(loop, "evaluate_best", dies)
    with pytest.raises(MemoryError):
        fit(tiny(), folder, show=silent, progress=False)
    assert folder.read()["status"] == "interrupted"


def test_validation_without_a_labelled_pixel_is_refused(tmp_path, monkeypatch):
    folder = RunFolder.create("tiny", root=tmp_path, kind="train")
    monkeypatch.setattr(evaluation, "evaluate", lambda *_: ConfusionMatrix(11))
    with pytest.raises(ValueError, match="no pixel of the val split is labelled"):
        evaluation.validate(build(tiny()), folder, silent)


def test_leaving_the_loop_stops_the_run(tmp_path):
    folder = RunFolder.create("tiny", root=tmp_path, kind="notebook")
    stream = train(build(tiny()), folder, show=silent)
    next(stream)
    assert folder.read()["status"] == "running"
    stream.close()
    assert folder.read()["status"] == "stopped"
    assert folder.read()["step"] == 1, "between two steps the state is whole: it is saved"
    assert (folder.checkpoints / "last.safetensors").exists()
    assert not folder.is_locked()


def test_a_resume_that_fails_at_once_forgets_no_step(tmp_path, monkeypatch):
    folder = RunFolder.create("tiny", root=tmp_path, kind="train")
    stream = train(build(tiny()), folder, show=silent)
    next(stream)
    stream.close()

    def fails(*_):
        raise ValueError("a file broke")

    monkeypatch.setattr("segbook.training.loop.preflight", fails)
    with pytest.raises(ValueError, match="a file broke"):
        next(train(build(tiny(), folder), folder, show=silent))
    described = folder.read()
    assert (described["status"], described["step"]) == ("failed", 1)


@pytest.mark.slow
def test_a_resumed_run_keeps_its_class_weights(tmp_path, monkeypatch):
    folder = RunFolder.create("tiny", root=tmp_path, kind="train")
    first = build(tiny(class_weights="median"))
    stream = train(first, folder, show=silent)
    next(stream)
    stream.close()
    assert len(first.counts) == 2

    def counted_again(*_):
        raise AssertionError("a mask that broke meanwhile would change the loss")

    monkeypatch.setattr("segbook.training.state.count_classes", counted_again)
    again = build(tiny(class_weights="median"), folder)
    next(train(again, folder, show=silent))
    assert again.step == 2
    for ours, theirs in zip(first.counts, again.counts, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_weights_of_the_backbone_are_taken_once(tmp_path, monkeypatch):
    asked = []

    def counted(recipe, num_classes, *, pretrained=True):
        asked.append(pretrained)
        return build_model(recipe, num_classes, pretrained=False)

    for module in ("state", "evaluation"):
        monkeypatch.setattr(f"segbook.training.{module}.build_model", counted)
    folder = RunFolder.create("tiny", root=tmp_path, kind="train")
    build(tiny(), folder)
    assert asked == [True]
    fit(tiny(), folder, show=silent, progress=False)
    assert asked == [True, True, False], "no checkpoint yet; then the best weights are tested"
    build(tiny(), folder)
    assert asked[3:] == [False]


@pytest.mark.parametrize(("eval_batch_size", "used"), [(0, 2), (1, 1)])
def test_whole_images_have_a_batch_size_of_their_own(monkeypatch, eval_batch_size, used):
    from segkit import data

    asked = []

    def sequential(dataset, batch_size, *, workers, **_):
        asked.append((batch_size, workers))
        return whole(dataset, batch_size)

    whole = data.sequential
    monkeypatch.setattr(data, "sequential", sequential)
    state = build(tiny(eval_batch_size=eval_batch_size, workers=3))
    evaluation.evaluate(state.model, state.recipe, state.sets["val"], state.settings)
    assert asked == [(used, 3)]


def test_a_second_writer_is_refused_by_name(tmp_path):
    folder = RunFolder.create("tiny", root=tmp_path, kind="notebook")
    hold = (
        "import sys, time; from segbook.runs.folder import RunFolder\n"
        "with RunFolder(sys.argv[1]).own(): print('held', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", hold, str(folder.path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(RunBusyError, match=f"process {owner.pid}"):
            next(train(build(tiny()), folder, show=silent))
    finally:
        owner.kill()
        owner.wait()


def test_a_diverging_run_fails_with_its_reason(tmp_path):
    folder = RunFolder.create("tiny", root=tmp_path, kind="train")
    with pytest.raises(ArithmeticError, match="the loss is|norm is"):
        fit(tiny(lr=1e30, clip=None), folder, show=silent, progress=False)
    described = folder.read()
    assert described["status"] == "failed"
    assert described["error"]["name"] == "NonFiniteLossError"


def test_phases_change_the_resolution():
    phases = "[(0.5, (64, 64), (0.5, 1.0)), (1.0, (96, 64), (0.5, 1.0))]"
    recipe = tiny(phases=phases)
    train_set = build_data(recipe)["train"]
    stream = train_batches(recipe, train_set)
    shapes = [tuple(images.shape[-2:]) for images, _ in zip_first(stream, 6)]
    assert shapes == [(64, 64)] * 3 + [(96, 64)] * 3
    inside = train_batches(recipe, train_set, start=4)  # a resumed run begins inside its phase
    assert tuple(next(inside)[0].shape[-2:]) == (96, 64)


def zip_first(stream, count):
    taken = [next(stream) for _ in range(count)]
    stream.close()
    return taken


def test_missing_data_says_what_to_do():
    with pytest.raises(ValueError, match="needs data_root"):
        build(recipes.override(tiny(), {"data": "camvid"}))
    with pytest.raises(ValueError, match=r"data_scripts/camvid\.py"):
        build(recipes.override(tiny(), {"data": "camvid", "data_root": "nowhere"}))


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_takes_class_weights(loss):
    recipe = tiny(loss=loss, length=4)
    train_set = build_data(recipe)["train"]
    model = build_model(recipe, train_set.num_classes)
    images, labels = torch.randn(2, 3, 64, 64), torch.randint(0, 11, (2, 64, 64))
    total, _ = build_loss(recipe, model, count_classes(recipe, train_set))(model(images), labels)
    assert total.isfinite()
    assert total > 0


CODE = """
import json, sys
import torch
torch.set_num_threads(1)
from segbook import recipes
from segbook.runs.folder import RunFolder
from segbook.training import evaluation, headless, loop
from segbook.training.loop import fit, train
from segbook.training.state import build
from segkit import data
whole = data.SyntheticStreets
data.SyntheticStreets = lambda split, *, size, length: whole(split, size=size, length=length or 8)
recipe = recipes.override(recipes.get("pp_liteseg_t_synthetic"), json.loads(sys.argv[1]))
fit(recipe, RunFolder(sys.argv[2]), progress=False)
"""


def start(folder, recipe_changes):
    return subprocess.Popen(
        [sys.executable, "-c", CODE, json.dumps(recipe_changes), str(folder.path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def final_tensors(folder):
    from segkit.engine import load_checkpoint

    state = load_checkpoint(folder.checkpoints, restore_rng=False)
    tensors = {f"model.{k}": v for k, v in state["model"].items()}
    tensors |= {f"ema.{k}": v for k, v in state["ema"].items()}
    for index, slot in state["optimizer"]["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in slot.items()}
    return tensors


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.full)])
def test_a_killed_run_goes_on_with_the_same_bits(tmp_path, precision):
    changes = {
        **TINY,
        "steps": 12,
        "precision": precision,
        "phases": "[(0.5, (64, 64), (0.5, 1.5)), (1.0, (64, 96), (0.5, 1.5))]",
    }
    whole = RunFolder.create("whole", root=tmp_path, kind="train")
    fit(tiny(**changes), whole, show=silent, progress=False)

    killed = RunFolder.create("killed", root=tmp_path, kind="train")
    process = start(killed, changes)
    while killed.read().get("step", 0) < 4:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert killed.read()["status"] == "interrupted"
    assert killed.read()["step"] < 12

    fit(tiny(**changes), killed, show=silent, progress=False)
    assert "resumed at step" in (killed.path / "log.txt").read_text()

    a, b = final_tensors(whole), final_tensors(killed)
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k], b[k])] == []
    records = [
        [{k: r.get(k) for k in ("step", "val_miou", "val_accuracy", "lr")} for r in f.metrics()
         if "val_miou" in r]
        for f in (whole, killed)
    ]  # fmt: skip
    assert records[0] == records[1]
    assert whole.read()["result"]["iou"] == killed.read()["result"]["iou"]


@pytest.mark.slow
@pytest.mark.parametrize("at", [3, 6])
def test_a_run_that_is_stopped_in_a_validation_loses_no_step(tmp_path, monkeypatch, at):
    recipe = tiny(save_every=100)
    whole, stopped = (RunFolder.create(n, root=tmp_path, kind="train") for n in ("a", "b"))
    fit(recipe, whole, show=silent, progress=False)

    def interrupted(state, *_):
        if state.step == at:
            raise KeyboardInterrupt
        validate(state, stopped, silent)

    validate = evaluation.validate
    with monkeypatch.context() as patch:
        patch.setattr(loop, "validate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, stopped, show=silent, progress=False)
    assert (stopped.read()["status"], stopped.read()["step"]) == ("stopped", at)
    fit(recipe, stopped, show=silent, progress=False)
    ours, theirs = (
        [(r["step"], r["val_miou"]) for r in f.metrics() if "val_miou" in r]
        for f in (whole, stopped)
    )
    assert ours == theirs
    assert whole.read()["result"] == stopped.read()["result"]


def test_a_checkpoint_of_another_recipe_is_refused_by_field(tmp_path):
    folder = RunFolder.create("tiny", root=tmp_path, kind="train")
    stream = train(build(tiny()), folder, show=silent)
    next(stream)
    stream.close()
    with pytest.raises(ValueError, match=r"a training with lr 0\.002 \(now 0\.5\), ema 0\.9 \(now"):
        next(train(build(tiny(lr=0.5, ema=None), folder), folder, show=silent))
    longer = build(tiny(steps=8, workers=1), folder)
    next(train(longer, folder, show=silent))
    assert longer.step == 2


def test_a_training_outlives_its_reader(tmp_path, monkeypatch):
    def closed(line):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path))
    folder = RunFolder.create("tiny", kind="train", recipe=tiny(steps=2).to_dict())
    assert headless.execute(folder, show=closed)["status"] == "finished"


def test_sgd_is_not_fused_in_float16():
    cpu = torch.device("cpu")
    assert build_settings(tiny(precision="float16", optimizer="adamw"), cpu).fused
    assert not build_settings(tiny(precision="float16", optimizer="sgd"), cpu).fused
    with pytest.raises(ValueError, match=r"fused=True: .*wrong in float16"):
        build_settings(tiny(precision="float16", optimizer="sgd", fused=True), cpu)
