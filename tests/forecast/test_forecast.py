"""Forecasts: the arithmetic of a run's cost, what a run says of itself, and `segbook forecast`."""

from __future__ import annotations

import contextlib
import json

import pytest
import torch
from click.testing import CliRunner

from segbook import recipes
from segbook.forecast import command as commands
from segbook.forecast.accuracy import accuracies
from segbook.forecast.measure import measure
from segbook.runs.folder import RunFolder
from segbook.training import costs
from segbook.training import forecast as forecasting
from segbook.training.costs import Costs
from segbook.training.forecast import Forecast, format_forecast
from segbook.training.loop import fit, train
from segbook.training.state import build
from segkit import data
from segkit.data.subset import Subset
from segkit.engine import load_checkpoint

TINY = {
    "model": "fast_scnn",
    "image_size": (64, 64),
    "length": 8,
    "crop": (64, 64),
    "batch_size": 2,
    "steps": 24,
    "warmup": 1,
    "evaluate_every": 10,
    "save_every": 12,
    "precision": "float32",
    "ema": 0.9,
}


def tiny(**changes):
    return recipes.override(recipes.get("pp_liteseg_t_synthetic"), {**TINY, **changes})


def silent(text):
    pass


@pytest.fixture(autouse=True)
def _few_streets(monkeypatch):
    whole = data.SyntheticStreets

    def short(split, *, size, length):
        return whole(split, size=size, length=length or 6)

    monkeypatch.setattr(data, "SyntheticStreets", short)


def some_costs(**changes):
    numbers = {"steps": (1.0, 2.0), "reading": 5.0, "first_validation": 10.0, "validation": 7.0}
    numbers |= {"save": 0.5, "save_best": 0.25, "fast": 0.9, "slow": 1.3}
    return Costs(**{**numbers, "checkpoint_bytes": 1000, "best_bytes": 300, **changes})


def test_what_remains_of_a_run():
    recipe = tiny(
        steps=100, evaluate_every=40, save_every=50,
        phases="[(0.5, (64, 64), (0.5, 1.0)), (1.0, (96, 96), (0.5, 1.0))]",
    )  # fmt: skip
    parts = some_costs().remaining(recipe, 0)
    assert parts == {
        "training": 50 * 1.0 + 50 * 2.0,
        "reading the data": 5.0,
        "validation": 10.25 + 2 * 7.25,  # after 40, 80 and 100 steps
        "checkpoints": 2 * 0.5,
    }
    late = some_costs().remaining(recipe, 60)
    assert late["training"] == 40 * 2.0
    assert late["validation"] == 10.25 + 7.25
    assert late["checkpoints"] == 0.5
    assert sum(some_costs().remaining(recipe, 100).values()) == 0


@pytest.mark.slow
def test_a_run_foresees_itself(tmp_path):
    folder = RunFolder.create("tiny", root=tmp_path, kind="train")
    told = []
    fit(tiny(), folder, show=told.append, progress=False)
    said = folder.read()["forecast"]
    assert 0 < said["low"] <= said["seconds"] <= said["high"]
    assert said["actual"] > 0
    assert said["error"] == pytest.approx(said["seconds"] / said["actual"] - 1, abs=0.2)
    assert said["from_step"] == 0
    assert said["memory"] > 10e6
    files = [path.stat().st_size for path in folder.checkpoints.glob("*.safetensors")]
    assert said["disk"] == pytest.approx(sum(files), rel=0.05)
    lines = [line for line in told if line.startswith("forecast: about ")]
    assert len(lines) == 1
    assert "of checkpoints" in lines[0]
    (accuracy,) = accuracies(tmp_path)
    assert (accuracy.name, accuracy.seconds) == (folder.name, said["seconds"])


@pytest.mark.slow
def test_a_short_run_says_nothing(tmp_path):
    folder = RunFolder.create("tiny", root=tmp_path, kind="train")
    told = []
    fit(tiny(steps=19), folder, show=told.append, progress=False)
    assert folder.read()["forecast"] is None
    assert not any(line.startswith("forecast: about ") for line in told)
    assert accuracies(tmp_path) == []


@pytest.mark.slow
def test_a_resumed_run_forgets_what_was_before(tmp_path):
    folder = RunFolder.create("tiny", root=tmp_path, kind="train")
    state = build(tiny(steps=50), folder)
    with contextlib.closing(train(state, folder, show=silent)) as steps:
        for step in steps:
            if step.index == 20:
                state.seconds = state.cpu_seconds = 1e6  # on another machine, for days
                break
    before = folder.read()["forecast"]
    assert before["from_step"] == 0
    assert "actual" not in before
    for _ in train(build(tiny(steps=50), folder), folder, show=silent):
        pass
    said = folder.read()["forecast"]
    assert said["from_step"] == 20
    assert said["seconds"] < 1e5
    assert said["actual"] < 1e5
    for _ in train(build(tiny(steps=50), folder), folder, show=silent):  # it is finished
        pass
    assert folder.read()["forecast"] == said


@pytest.mark.slow
def test_a_forecast_changes_no_bit(tmp_path, monkeypatch):
    def trained(name):
        folder = RunFolder.create(name, root=tmp_path, kind="train")
        fit(tiny(steps=22), folder, show=silent, progress=False)
        state = load_checkpoint(folder.checkpoints, restore_rng=True)
        return folder.read().get("forecast"), state, torch.get_rng_state()

    said, state, rng = trained("with")
    assert said
    monkeypatch.setattr(Forecast, "add", lambda self, step: None)
    said, plain, plain_rng = trained("without")
    assert not said
    assert torch.equal(rng, plain_rng)
    for key in ("model", "ema"):
        different = [k for k, v in plain[key].items() if not torch.equal(v, state[key][k])]
        assert different == []


def test_time_spent_elsewhere_is_not_the_trainings(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(forecasting.time, "perf_counter", lambda: now[0])
    folder = RunFolder.create("tiny", root=tmp_path)
    forecast = Forecast(build(tiny()), folder, silent)
    now[0] = 3.0
    with forecast.elsewhere():
        now[0] = 100.0
    now[0] = 104.0
    assert forecast.seconds == 7.0
    forecast.forecast = {"seconds": 8.4, "low": 7.0, "high": 9.0}
    forecast.finish()
    assert folder.read()["forecast"]["actual"] == 7.0
    assert folder.read()["forecast"]["error"] == 0.2


@pytest.mark.slow
def test_measuring_a_recipe_leaves_nothing_behind(tmp_path, monkeypatch):
    root = tmp_path / "runs"
    root.mkdir()
    monkeypatch.setenv("SEGBOOK_RUNS", str(root))
    recipe = tiny(accumulate=2, phases="[(0.5, (64, 64), (0.5, 1.0)), (1.0, (96, 64), (0.5, 1.0))]")
    found = measure(recipe)
    assert list(root.iterdir()) == []
    assert [*found["parts"]] == ["training", "reading the data", "validation", "checkpoints"]
    assert 0 < found["low"] <= found["seconds"] <= found["high"]
    assert 0 <= found["waiting"] < found["step"]
    assert sum(found["parts"].values()) < found["seconds"]
    with pytest.raises(ValueError, match="steps=19: a forecast takes 20 steps or more"):
        measure(tiny(steps=19))


def test_a_larger_crop_costs_more():
    state = build(tiny())
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    state.model.train()
    small, large = costs.measure_crops(state, [(32, 32), (256, 256)])
    assert 0 < small < large
    assert state.model.training
    assert all(torch.equal(value, before[k]) for k, value in state.model.state_dict().items())


@pytest.mark.slow
def test_loader_processes_are_measured_too():
    parts = measure(tiny(workers=1))["parts"]
    assert parts["reading the data"] == 0, "they read while it trains"
    assert parts["validation"] > 0


def test_the_command():
    arguments = ["pp_liteseg_t_synthetic"]
    for field, value in TINY.items():
        arguments += ["--set", f"{field}={value}"]
    result = CliRunner().invoke(commands.forecast, arguments)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "pp_liteseg_t_synthetic: 24 steps of 2 images"
    assert "without the loader" in lines[1]
    assert [line.split("  ")[0] for line in lines[2:6]] == [
        "training", "reading the data", "validation", "checkpoints",
    ]  # fmt: skip
    assert lines[6].startswith("about ")
    result = CliRunner().invoke(commands.forecast, [*arguments, "--json"])
    assert json.loads(result.stdout)["seconds"] > 0
    for wrong in ([], ["pp_liteseg_t_synthetic", "--check"]):
        assert CliRunner().invoke(commands.forecast, wrong).exit_code == 2


def test_forecast_against_truth():
    for actual, status in ((100.0, "finished"), (125.0, "finished"), (90.0, "failed")):
        said = {"seconds": 100.0, "low": 90.0, "high": 110.0, "actual": actual}
        said["error"] = 100 / actual - 1
        RunFolder.create("tiny").update(status=status, forecast=said)
    RunFolder.create("without").update(status="finished", forecast=None)
    (RunFolder.create("damaged").path / "run.json").write_text("{")
    for wrong in (5, {"actual": 1}, said | {"actual": "soon"}, said | {"low": None}):
        content = {"status": "finished", "forecast": wrong}
        (RunFolder.create("strange").path / "run.json").write_text(json.dumps(content))
    result = CliRunner().invoke(commands.forecast, ["--check"])
    assert result.exit_code == 0, result.output
    assert result.output.count("tiny-") == 2
    assert "held" in result.output
    assert "missed" in result.output
    assert "median error 10.0 %: below the 15 % wanted" in result.output
    result = CliRunner().invoke(commands.forecast, ["--check", "--json"])
    assert [row["actual"] for row in json.loads(result.stdout)] == [100.0, 125.0]


def test_no_forecast_to_check_is_said():
    result = CliRunner().invoke(commands.forecast, ["--check"])
    assert "no finished run has made a forecast" in str(result.exception)


def test_what_is_said():
    said = {"seconds": 1450, "low": 1200, "high": 1740, "memory": 1.9e9, "disk": 130e6}
    assert format_forecast(said) == (
        "about 24 min 10 s (20 min 00 s to 29 min 00 s), 1.9 GB of memory, 130 MB of checkpoints"
    )


def test_a_busy_machine_gets_a_word():
    state = build(tiny())
    assert costs.busy_remark(state, 9.5, 10.0) == ""
    assert "computed for 50 % of their time" in costs.busy_remark(state, 5.0, 10.0)


def test_a_pair_that_cannot_be_read_is_passed_over():
    whole = data.SyntheticStreets("train", size=(32, 32), length=3)

    class Damaged(Subset):
        def raw(self, index):
            if index == 0:
                raise ValueError("a truncated file")
            return super().raw(index)

    state = build(tiny())
    state.sets = {"train": Damaged(whole, 3)}
    assert costs.peak_memory(state, 1) >= 2 * 32 * 32 * 4
