"""`segbook prove-resume`: what it compares, what it says, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from segbook import recipes
from segbook.runs.folder import RunFolder
from segbook.training import command as commands
from segbook.training import prove_resume as proving
from segbook.training.prove_resume import Compared, Proof, compare, prove, shortened
from segbook.training.step_digests import DIGESTS, digest_of, read_digests, record
from segkit.engine import save_checkpoint

RECIPE = recipes.get("pp_liteseg_t_synthetic")


def folder_with(tmp_path, name, *, lines=None, state=None):
    folder = RunFolder.create(name, root=tmp_path)
    if lines is None:
        lines = [line(step) for step in (1, 2, 3)]
    (folder.path / DIGESTS).write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    save_checkpoint(folder.checkpoints, {**a_state(), **(state or {})})
    return folder


def line(step, **changes):
    numbers = {"loss": (0.1 * step).hex(), "lr": (0.01).hex(), "images": ["a"], "labels": ["b"]}
    return {"step": step, **numbers, "rng": f"r{step}", **changes}


def a_state():
    return {
        "model": {"weight": torch.tensor([0.0, float("nan")])},
        "ema": None,
        "optimizer": {"state": {0: {"momentum": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
        "scaler": {},
        "best": {"miou": 0.5},
    }


def found(whole, broken):
    return {row.what: row.difference for row in compare(whole, broken) if row.difference}


def test_equal_runs_differ_in_nothing(tmp_path):
    whole, same = folder_with(tmp_path, "whole"), folder_with(tmp_path, "same")
    assert found(whole, same) == {}
    rows = {row.what: row.count for row in compare(whole, same)}
    assert rows["losses"] == "3 steps"
    assert rows["weights and running statistics"] == "1 tensors, 8e-06 MB"
    assert "moving average of the weights" not in rows, "there is none"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"loss": (0.2 + 1e-18).hex()}, None),  # rounds to the same number
        ({"loss": (0.20000000000000004).hex()}, "losses"),  # one bit more
        ({"lr": (0.02).hex()}, "learning rates"),
        ({"images": ["x"]}, "samples: images, in their order"),
        ({"labels": ["b", "b"]}, "samples: labels, in their order"),
        ({"rng": "x"}, "random number generators"),
    ],
)
def test_each_step_is_compared(tmp_path, changes, what):
    whole = folder_with(tmp_path, "whole")
    lines = [line(1), line(2), line(2, **changes), line(3)]  # the second was made twice
    broken = folder_with(tmp_path, "broken", lines=lines)
    wanted = {what: "first at step 2, 1 in all"} if what else {}
    assert found(whole, broken) == wanted


def test_a_step_that_is_missing_is_a_difference(tmp_path):
    whole = folder_with(tmp_path, "whole")
    broken = folder_with(tmp_path, "broken", lines=[line(1), line(3)])
    assert set(found(whole, broken).values()) == {"step 2 is missing"}


@pytest.mark.parametrize(
    ("state", "difference"),
    [
        ({"model": {"weight": torch.tensor([-0.0, float("nan")])}}, "weight, 1 of 1"),
        ({"model": {"weight": torch.zeros(2, dtype=torch.float64)}}, "weight, 1 of 1"),
        ({"model": {"weight": torch.zeros(2, 1)}}, "weight, 1 of 1"),
        ({"model": {"weight": a_state()["model"]["weight"], "b": 1}}, "b, 1 of 2"),
        ({"model": {}}, "weight, 1 of 1"),
        ({"optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}, "state.0.momentum, 1 of 2"),
        ({"best": {"miou": 0.5000000000000001}}, "miou, 1 of 1"),
        ({"ema": {"n": torch.ones(1)}}, "n, 1 of 1"),
    ],
)
def test_each_bit_of_the_state_is_compared(tmp_path, state, difference):
    broken = folder_with(tmp_path, "broken", state=state)
    assert [*found(folder_with(tmp_path, "whole"), broken).values()] == [difference]


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path):
    folder = folder_with(tmp_path, "killed")
    with open(folder.path / DIGESTS, "a") as file:
        file.write('{"step": 4, "lo\n\n' + json.dumps(line(4)) + "\n")
    assert [entry["step"] for entry in read_digests(folder)] == [1, 2, 3, 4]


def test_digests_see_bits():
    one = torch.tensor([1.0, 0.0], dtype=torch.bfloat16)
    assert digest_of(one) == digest_of(one.clone())
    assert digest_of(one) != digest_of(one * torch.tensor([1.0, -1.0], dtype=torch.bfloat16))
    transposed = torch.arange(6).reshape(2, 3).t()
    assert digest_of(transposed) == digest_of(transposed.contiguous())


def test_a_proof_leaves_a_checkpoint_before_the_kill():
    recipe = shortened(RECIPE, steps=12, kill_at=6)
    assert (recipe.steps, recipe.save_every, recipe.evaluate_every) == (12, 5, 0)
    assert recipe.warmup <= 6
    assert shortened(RECIPE, steps=4, kill_at=1).save_every == 1
    for kill_at in (0, 11, 12):
        with pytest.raises(ValueError, match=f"kill_at={kill_at} of steps=12"):
            shortened(RECIPE, steps=12, kill_at=kill_at)


def test_a_line_for_each_step_with_what_it_saw(tmp_path, capsys):
    changes = {"image_size": (32, 32), "crop": (32, 32), "length": 2, "batch_size": 2, "warmup": 0}
    recipe = recipes.override(RECIPE, {**changes, "model": "espnet", "accumulate": 2})
    folder = RunFolder.create("whole", root=tmp_path, recipe=shortened(recipe, 4, 2).to_dict())
    record(folder)
    for line in read_digests(folder):
        assert len(line["images"]) == len(line["labels"]) == 2
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.full
def test_a_training_that_fails_says_why():
    changes = {"image_size": (32, 32), "crop": (32, 32), "length": 2, "batch_size": 2, "lr": 1e30}
    with pytest.raises(ValueError, match=r"the training failed:[\s\S]*NonFiniteLossError"):
        prove(recipes.override(RECIPE, {**changes, "warmup": 0, "clip": None}), steps=6)


@pytest.mark.parametrize(("difference", "code"), [("", 0), ("first at step 7, 6 in all", 1)])
def test_the_command_says_what_it_compared(monkeypatch, difference, code):
    asked = {}

    def proof(recipe, **options):
        asked.update(options, batch_size=recipe.batch_size)
        rows = [Compared("losses", "12 steps", difference), Compared("optimizer", "4 tensors")]
        return Proof(rows, 6, 5, "torch 2, 1 thread, float32")

    monkeypatch.setattr(proving, "prove", proof)
    arguments = ["pp_liteseg_t_synthetic", "--set", "batch_size=3", "--kill-at", "6"]
    result = CliRunner().invoke(commands.prove_resume, arguments)
    assert result.exit_code == code, result.output
    assert (asked["batch_size"], asked["steps"], asked["kill_at"]) == (3, 12, 6)
    assert "SIGKILL after step 6, resumed at step 5" in result.output
    assert "float32" in result.output
    assert ("DIFFERS: first at step 7" in result.output) == bool(difference)
    assert ("every bit is the same" in result.output) == (not difference)


def test_a_change_without_a_value_is_refused():
    result = CliRunner().invoke(commands.prove_resume, ["pp_liteseg_t_synthetic", "--set", "lr"])
    assert isinstance(result.exception, ValueError)
    assert "FIELD=VALUE" in str(result.exception)
