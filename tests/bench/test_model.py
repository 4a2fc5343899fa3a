"""`segbook bench model`: the protocol on a clock of its own, and what it returns."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from segbook.bench.clock import Sample, in_turn, paired_ratio, summarise, warm_up
from segbook.bench.command import bench
from segbook.bench.model import FORMS, SCOPES, bench_models
from segbook.bench.table import table
from segkit.catalog import create_model
from segkit.weights import save_weights


def told(*seconds: float):
    """A clock that tells the given seconds in turn, whatever is run; the last one for ever."""
    left = list(seconds)

    def sample(work) -> Sample:
        work()
        now = left.pop(0) if len(left) > 1 else left[0]
        return Sample(now, now)

    return sample


def test_warm_up_goes_on_while_it_gets_faster():
    assert warm_up(lambda: None, told(0.5, 0.4, 0.3, 0.2, 0.199, 0.1)) == 5


def test_warm_up_takes_half_a_second_and_three_calls():
    assert warm_up(lambda: None, told(0.125)) == 4
    assert warm_up(lambda: None, told(4.0)) == 3


def test_warm_up_ends():
    assert warm_up(lambda: None, told(*(8 * 0.9**i for i in range(99)))) == 2


def test_calls_are_made_in_turn():
    calls: list[str] = []
    steps: list[None] = []
    works = {name: lambda name=name: calls.append(name) for name in "abc"}
    samples = in_turn(works, runs=2, sample=told(1.0), progress=lambda: steps.append(None))
    assert "".join(calls) == "aaabbbccc" + "abcabc"
    assert {name: len(found) for name, found in samples.items()} == {"a": 2, "b": 2, "c": 2}
    assert len(steps) == 9


def test_median_and_spread():
    samples = [Sample(wall, 2 * wall) for wall in range(1, 22)]
    timing = summarise(samples, threads=2)
    assert (timing.wall, timing.p5, timing.p95, timing.cpu, timing.runs) == (11, 2, 20, 22, 21)
    assert not timing.busy


def test_a_busy_machine_is_seen():
    assert summarise([Sample(1.0, 1.79)], threads=2).busy
    assert not summarise([Sample(1.0, 1.81)], threads=2).busy
    assert not summarise([Sample(1.0, None)], threads=2).busy  # a GPU


def test_ratios_are_taken_of_neighbours():
    slow = [Sample(2, 4), Sample(20, 40), Sample(6, 12)]
    fast = [Sample(1, 1), Sample(10, 10), Sample(2, 2)]
    assert paired_ratio(slow, fast) == (2, 4)
    assert paired_ratio([Sample(3, None)], [Sample(1, None)]) == (3, None)


@pytest.fixture(scope="module")
def result():
    return bench_models(
        ["espnet_c", "pp_liteseg_t"], size=(64, 96), num_classes=3, runs=2, sample=told(0.25)
    )


@pytest.mark.slow
def test_the_result_has_every_field(result):
    assert json.loads(json.dumps(result)) == result
    assert result["machine"].keys() == {"device", "threads", "torch", "peak_gflops"}
    assert result["protocol"]["size"] == [64, 96]
    for model in result["models"]:
        assert model["flops"] == 2 * model["macs"] > 0
        for scope in SCOPES:
            for form in FORMS:
                timing = model["scopes"][scope][form]
                assert (timing["wall"], timing["cpu"], timing["runs"]) == (0.25, 0.25, 2)
            assert model["scopes"][scope]["ratio"] == {"wall": 1, "cpu": 1}
        assert model["scopes"]["network"]["fast"]["share_of_peak"] > 0
        assert all(0 <= share <= 0.1 for share in model["labels_changed"].values())
    [ratio] = result["ratios"]
    assert ratio["model"] == "pp_liteseg_t"
    assert ratio["end_to_end"]["fast"] == {"wall": 1, "cpu": 1}


def test_parameters_are_counted_before_anything_is_fused(result):
    expected = sum(p.numel() for p in create_model("espnet_c", num_classes=3).parameters())
    assert result["models"][0]["parameters"] == expected


def test_the_table_says_what_is_needed(result):
    text = table(result)
    for part in (
        *SCOPES.values(), "espnet_c", "64x96", "GFLOP", "GMAC", "p95", " thread", "times faster",
        "espnet_c against pp_liteseg_t", "labels that the fast form changes", "near-ties",
    ):  # fmt: skip
        assert part in text
    assert ("busy" in text) == (result["machine"]["threads"] > 1)


def test_a_busy_machine_is_said(result):
    timing = result["models"][0]["scopes"]["labels"]["plain"]
    before = timing["busy"]
    timing["busy"] = True
    assert "The machine is busy" in table(result)
    timing["busy"] = before


def test_trained_weights_and_a_picture(tmp_path):
    from PIL import Image

    path, picture = tmp_path / "best.safetensors", tmp_path / "a.png"
    Image.new("RGB", (50, 40), (200, 30, 90)).save(picture)
    model = create_model("espnet_c", num_classes=3)
    header = {"builder": "espnet_c", "arguments": {"num_classes": 3}}
    save_weights(model, path, header=header)
    found = bench_models([str(path)], size=(64, 64), image=picture, runs=1, sample=told(1.0))
    assert found["models"][0]["weights"] == "trained"
    assert "near-ties" not in table(found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pp_litseg_t"], "pp_liteseg_t"),
        (["pp_liteseg_t", "--against", "unett"], "unet"),
        (["pp_liteseg_t", "--size", "16x64"], "at least 32x32"),
        (["pp_liteseg_t", "--size", "512"], "512x1024"),
        (["pp_liteseg_t", "--runs", "0"], "at least 1"),
        (["no_new_net"], "volumes"),
    ],
)
def test_what_cannot_be_measured_is_told(arguments, words):
    found = CliRunner().invoke(bench, ["model", *arguments, "--device", "cpu"])
    assert found.exit_code != 0
    assert words in found.output + str(found.exception)


@pytest.mark.slow
def test_the_command_prints_one_line_of_json():
    arguments = ["model", "espnet_c", "--size", "32x32", "--runs", "1", "--classes", "2"]
    found = CliRunner().invoke(bench, [*arguments, "--json", "--device", "cpu"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["models"][0]["name"] == "espnet_c"


def test_bench_alone_measures_the_promises(monkeypatch):
    monkeypatch.setattr("segbook.bench.main", lambda show, quick: bool(show(f"quick={quick}")))
    found = CliRunner().invoke(bench, ["--quick"])
    assert (found.exit_code, found.output) == (1, "quick=True\n")
