"""A run's choice of precision, memory format and optimizer kernels."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from segbook.builders.build import build_model
from segbook.recipes.recipe import Recipe
from segbook.runs.folder import RunFolder
from segbook.training import tune
from segbook.training.run import Run
from segbook.training.tune import Choice, candidates, choose, settle
from segkit import losses
from segkit.engine.probe import Probe, Setting
from segkit.outputs import SegOutput


class Tiny(nn.Module):
    aux_losses = {}

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, images):
        return SegOutput(self.bn(self.conv(images)), {})


def recipe(**changes):
    given = {"name": "tiny", "model": "espnet", "steps": 400, "lr": 0.1, "optimizer": "adamw"}
    return Recipe(**given | changes)


def sample():
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return images, images.argmax(1)


def never():
    raise AssertionError("nothing is to be measured")


def chosen(recipe, sample=sample):
    return choose(recipe, Tiny(), sample, losses.combine(losses.cross_entropy, {}))


def test_a_long_run_measures():
    choice = chosen(recipe())
    assert choice.precision in ("float32", "bfloat16")
    assert "measured over 20 steps" in str(choice)
    assert str(Setting(choice.precision, choice.channels_last, choice.fused)) in choice.measured
    assert "float32, planes" in choice.measured
    assert all(milliseconds > 0 for milliseconds in choice.measured.values())


def test_what_was_fastest_is_taken_and_told(monkeypatch):
    asked = {}

    def fake(model, batch, *, settings, **options):
        asked.update(options, settings=settings, size=tuple(batch[0].shape))
        seconds = dict.fromkeys(settings, 0.4) | {settings[0]: 0.1}
        return Probe(settings[0], seconds, 20, 3.6, {})

    monkeypatch.setattr(tune, "probe", fake)
    monkeypatch.setattr(tune, "choose_precision", lambda wanted: "bfloat16")
    choice = chosen(recipe(accumulate=2))
    assert choice.setting == Setting("bfloat16", channels_last=True, fused=True)
    assert str(choice) == (
        "bfloat16, channels_last, fused: 4.0x float32, planes; measured over 20 steps in 4 s"
    )
    assert choice.measured["float32, planes"] == 400.0
    assert asked["run"] == 800
    assert asked["limit"] == tune.SECONDS
    assert asked["size"] == (2, 3, 16, 16)
    assert asked["settings"][0] == choice.setting


def test_steps_too_slow_to_measure_take_the_rule(monkeypatch):
    monkeypatch.setattr(tune, "SECONDS", 0.0)
    choice = chosen(recipe())
    assert choice.setting == candidates(recipe(), Tiny())[0]
    assert "the rule for this machine; steps are too slow to measure, 1 took 0 s" in str(choice)
    assert choice.measured == {}


def test_a_short_run_takes_the_rule():
    choice = chosen(recipe(steps=399), never)
    assert "399 batches are too few to measure" in choice.reason
    assert choice.setting == candidates(recipe(steps=399), Tiny())[0]
    assert choice.channels_last
    assert choice.measured == {}
    assert "measured over" in chosen(recipe(steps=200, accumulate=2)).reason


def test_what_the_recipe_says_is_not_measured():
    choice = chosen(recipe(precision="float32", channels_last=False, optimizer="sgd"), never)
    assert choice.setting == Setting("float32")
    assert choice.reason == "as the recipe says"
    assert chosen(recipe(precision="float32", channels_last=False), never).fused  # AdamW


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"precision": "float32"}, {("float32", True), ("float32", False)}),
        ({"precision": "bfloat16"}, {("bfloat16", True), ("bfloat16", False)}),
        ({"channels_last": True, "precision": "float16"}, {("float16", True)}),
    ],
)
def test_what_the_recipe_says_is_respected(given, left):
    settings = candidates(recipe(**given), Tiny())
    assert {(s.precision, s.channels_last) for s in settings} == left


def test_auto_always_knows_float32(monkeypatch):
    monkeypatch.setattr(tune, "choose_precision", lambda wanted: "bfloat16")
    settings = candidates(recipe(channels_last=False), Tiny())
    assert [s.precision for s in settings] == ["bfloat16", "bfloat16", "float32", "float32"]
    assert not any(s.compiled for s in candidates(recipe(steps=100_000), Tiny()))  # on a CPU


def test_no_memory_is_said():
    def full():
        raise torch.OutOfMemoryError("CUDA out of memory")

    choice = chosen(recipe(), full)
    assert choice.setting == candidates(recipe(), Tiny())[0]
    assert "no memory to measure" in choice.reason


def test_what_does_not_run_is_said(monkeypatch):
    def fake(model, batch, *, settings, **options):
        broken = settings[0]._replace(compiled=True)
        seconds = dict.fromkeys(settings, 0.1) | {broken: float("inf")}
        return Probe(settings[0], seconds, 20, 3.6, {broken: "RuntimeError: no compiler"})

    monkeypatch.setattr(tune, "probe", fake)
    choice = chosen(recipe())
    assert "compiled does not run here (RuntimeError: no compiler)" in choice.reason
    json.dumps(choice.to_dict(), allow_nan=False)


def test_through_json_and_back():
    choice = Choice("bfloat16", True, False, False, "because", {"float32, planes": 12.5})
    assert Choice.from_dict(json.loads(json.dumps(choice.to_dict()))) == choice
    with pytest.raises(ValueError, match="not a choice"):
        Choice.from_dict({"precision": "float32"})
    with pytest.raises(ValueError, match="not a choice"):
        Choice.from_dict({**choice.to_dict(), "speed": 3})


@pytest.mark.parametrize(
    "damage",
    [
        {"channels_last": "yes"},
        {"fused": 1},
        {"compiled": None},
        {"precision": "float8"},
        {"precision": ["float32"]},
    ],
)
def test_a_damaged_choice_is_refused(damage):
    run = small_run()
    sound = Choice("float32", True, False, False, "because", {}).to_dict()
    run.folder.update(choice=sound | damage)
    with run.folder.own(), pytest.raises(ValueError, match="is not a choice") as caught:
        settle(run, None)
    assert str(run.folder.path) in str(caught.value)
    assert repr(*damage.values()) in str(caught.value)


def test_with_a_real_recipe():
    small = dataclasses.replace(recipe(optimizer="sgd"), model="espnet")
    model = build_model(small, 3)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    choose(
        small,
        model,
        lambda: (images, images.argmax(1)),
        losses.combine(losses.cross_entropy, model.aux_losses),
    )
    assert all(torch.equal(t, weights[name]) for name, t in model.state_dict().items())


def small_run(folder=None, lines=None, **changes):
    small = recipe(batch_size=2, length=2, crop=(32, 32), image_size=(32, 32), ema=0.9, **changes)
    folder = folder or RunFolder.create("tiny", kind="train")
    return Run(small, folder, show=(lines if lines is not None else []).append)


def test_a_run_settles_once_and_keeps_it(monkeypatch):
    lines = []
    first = small_run(lines=lines)
    before = torch.get_rng_state()
    with first.folder.own():
        settle(first, None)
    assert torch.equal(torch.get_rng_state(), before)
    assert lines == [str(first.choice)]
    assert "measured over" in lines[0]
    stored = first.folder.read()
    assert stored["choice"] == first.choice.to_dict()
    assert stored["precision"] == first.precision == first.choice.precision

    monkeypatch.setattr(tune, "choose", never)
    again = small_run(first.folder, lines)
    with again.folder.own():
        settle(again, None)
    assert again.choice == first.choice
    assert len(lines) == 1


def test_the_checkpoint_knows_better_than_run_json():
    run = small_run()
    kept = Choice("float16", False, True, False, "because", {})
    with run.folder.own():
        settle(run, {"choice": kept.to_dict()})
    assert run.choice == kept
    assert (run.precision, run.channels_last) == ("float16", False)
    assert run.scaler.is_enabled()
    assert all(group["fused"] for group in run.optimizer.param_groups)
    for network in (run.model, run.ema):
        assert all(weight.is_contiguous() for weight in network.parameters())


def test_a_recipe_that_was_edited_contradicts_what_the_run_keeps():
    run = small_run(precision="float32")
    kept = Choice("bfloat16", True, False, False, "because", {}).to_dict()
    with run.folder.own(), pytest.raises(ValueError, match="its recipe says precision='float32'"):
        settle(run, {"choice": kept})


def test_an_older_checkpoint_goes_on_as_it_was(monkeypatch):
    monkeypatch.setattr(tune, "choose", never)
    run = small_run()
    before = run.precision, run.channels_last
    with run.folder.own():
        settle(run, {"precision": "float32"})
    assert (run.precision, run.channels_last) == before
    assert "choice" not in run.folder.read()


@pytest.mark.parametrize(
    ("own", "said"), [("float32", 1), ("bfloat16", 0)], ids=["imitated", "in hardware"]
)
def test_a_choice_that_is_slow_here_is_kept_and_said(monkeypatch, own, said):
    monkeypatch.setattr(tune, "best_precision", lambda device: own)
    lines = []
    run = small_run(lines=lines)
    before = torch.get_rng_state()
    with run.folder.own():
        settle(run, {"choice": Choice("bfloat16", True, False, False, "because", {}).to_dict()})
    assert run.precision == "bfloat16"
    assert torch.equal(torch.get_rng_state(), before)
    assert lines == said * [
        "goes on in bfloat16, though this machine is faster in float32: a run keeps what it began "
        "with; a new one with --set precision=auto chooses for this machine"
    ]


@pytest.mark.parametrize(
    ("setting", "device", "own", "said"),
    [
        (Setting("float16"), "cpu", "bfloat16", "in float16, though"),
        (Setting("float16"), "cuda", "bfloat16", ""),
        (Setting("bfloat16"), "cuda", "float16", "in bfloat16, though"),
        (Setting("float32"), "cuda", "bfloat16", ""),
        (Setting("float32", compiled=True), "cuda", "bfloat16", ""),
        (Setting("float32", compiled=True), "cpu", "float32", "goes on compiled, which"),
        (Setting("float16", compiled=True), "cpu", "float32", "float32 and compiled, which"),
    ],
)
def test_what_is_slow_where(monkeypatch, setting, device, own, said):
    monkeypatch.setattr(tune, "best_precision", lambda device: own)
    words = tune.spell_drawbacks(setting, torch.device(device))
    assert said in words
    assert bool(words) == bool(said)


def test_a_choice_that_does_not_run_here_is_refused(monkeypatch):
    def broken(function):
        raise RuntimeError("no compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", broken)
    run = small_run()
    compiled = Choice("float32", True, False, True, "because", {}).to_dict()
    with run.folder.own(), pytest.raises(ValueError, match="begin a new run") as caught:
        settle(run, {"choice": compiled})
    assert "compiled, which does not run on this machine (RuntimeError: no compiler);" in str(
        caught.value
    )
    for precision in ("float32", "bfloat16", "float16"):
        tune.try_out(Setting(precision), torch.device("cpu"))
    with pytest.raises(ValueError, match="bfloat16, planes, which does not run"):
        tune.try_out(Setting("bfloat16"), torch.device("meta"))
