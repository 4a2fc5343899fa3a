"""`segbook bench model`: the protocol on a clock of its own, and what it returns."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from segbook.bench.clock import Sample
from segbook.bench.command import bench
from segbook.bench.model import FORMS, SCOPES, bench_models, ratios, summarise, table
from segkit.catalog import create_model
from segkit.weights import save_weights

pytestmark = pytest.mark.slow


def timer(work) -> Sample:
    """Says a quarter of a second, whatever is run."""
    work()
    return Sample(0.25, 0.25)


def test_median_and_spread():
    samples = [Sample(wall, 2 * wall) for wall in range(1, 22)]
    timing = summarise(samples, 2)
    assert timing == {"wall": 11, "p5": 2, "p95": 20, "cpu": 22, "runs": 21, "busy": False}


def test_a_busy_machine_is_seen():
    assert summarise([Sample(1.0, 1.79)], 2)["busy"]
    assert not summarise([Sample(1.0, 1.81)], 2)["busy"]
    assert not summarise([Sample(1.0, None)], 2)["busy"]  # a GPU


def test_ratios_are_taken_of_neighbours():
    slow = [Sample(2, 4), Sample(20, 40), Sample(6, 12)]
    fast = [Sample(1, 1), Sample(10, 10), Sample(2, 2)]
    assert ratios(slow, fast) == {"wall": 2, "cpu": 4}
    assert ratios([Sample(3, None)], [Sample(1, None)]) == {"wall": 3, "cpu": None}


@pytest.fixture(scope="module")
def result():
    return bench_models(
        ["espnet_c", "pp_liteseg_t"], size=(64, 96), num_classes=3, runs=2, timer=timer
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
        assert all(0 <= share <= 0.1 for share in model["labels_changed"].values())
        assert model["scopes"]["network"]["fast"]["share_of_peak"] > 0
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
    found = bench_models([str(path)], size=(64, 64), image=picture, runs=1, timer=timer)
    assert found["models"][0]["weights"] == "trained"
    assert "near-ties" not in table(found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pp_litseg_t"], "pp_liteseg_t"),
        (["pp_liteseg_t", "--against", "unett"], "unet"),
        (["pp_liteseg_t", "--size", "16x64"], "at least 32x32"),
        (["pp_liteseg_t", "--size", "512"], "512x1024"),
        (["pp_liteseg_t", "--runs", "0"], "x>=1"),
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
    monkeypatch.setattr(
        "segbook.bench.promises.main", lambda show, quick: bool(show(f"quick={quick}"))
    )
    found = CliRunner().invoke(bench, ["--quick"])
    assert (found.exit_code, found.output) == (1, "quick=True\n")
