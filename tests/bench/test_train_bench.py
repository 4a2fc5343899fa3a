"""Training steps are timed in turn, and only where both networks are the same one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from segbook.bench import train, train_cases, train_data
from segbook.bench.clock import Apart, Sample, Spread, ratio, take_turns
from segbook.bench.command import bench_train as command
from segbook.bench.train import compare_case, format_row, steppers_of
from segbook.bench.train_cases import CASES, Case, copy_weights, require_smp
from segkit.outputs import SegOutput

pytestmark = pytest.mark.slow


class Ours(nn.Sequential):
    aux_losses = {}

    def __init__(self, dropout=0.5):
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Dropout(dropout),
            nn.Conv2d(4, 11, 1),
        )

    def forward(self, images):
        return SegOutput(super().forward(images), {})


class Theirs(Ours):
    def forward(self, images):
        return super().forward(images).logits


needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)
TINY = Case("Tiny", Ours, Theirs, (16, 24), 2, 1.5)


class Watch:
    """Times steps of which each takes its own seconds; a step is the next of an iterator."""

    def __init__(self):
        self.calls = []

    def steps(self, name, *seconds):
        """After two warm-ups, so long that there are no more of them."""
        return name, iter([50.0, 50.0, *seconds])

    def __call__(self, step):
        name, seconds = step
        self.calls.append(name)
        return Sample(1.0, next(seconds))


def cpu(samples):
    return {name: [sample.cpu for sample in found] for name, found in samples.items()}


def test_steps_take_turns_and_warm_up_before():
    watch = Watch()
    works = {"a": watch.steps("a", 1, 2, 1), "b": watch.steps("b", 2, 6, 3)}
    samples = take_turns(works, 3, timer=watch)
    assert "".join(watch.calls) == "aabb" + "ab" + "ba" + "ab"  # nobody is always second
    assert cpu(samples) == {"a": [1, 2, 1], "b": [2, 6, 3]}


def test_warm_up_takes_half_a_second():
    calls = []
    take_turns({"a": 0}, 1, timer=lambda work: calls.append(work) or Sample(0.125, 0.0))
    assert len(calls) == 4 + 1


def samples(*seconds):
    return [Sample(9.0, each) for each in seconds]


def test_ratios_are_taken_within_a_round():
    spread = ratio(samples(2, 6, 4, 50), samples(1, 2, 1, 10), "cpu")
    assert spread == Spread(median=3.5, low=2.75, high=4.25)
    assert ratio(samples(3), samples(2), "cpu") == Spread(1.5, 1.5, 1.5)
    assert ratio(samples(3), samples(2), "wall") == Spread(1, 1, 1)
    assert ratio([Sample(3, None)], [Sample(1, None)], "cpu").median == 3  # a GPU


def fake_case(monkeypatch, **seconds):
    watch = Watch()
    steppers = {name: watch.steps(name, *times) for name, times in seconds.items()}
    monkeypatch.setattr(train, "steppers_of", lambda case, **_: contextlib.nullcontext(steppers))
    return {"rounds": len(seconds["float32"]), "timer": watch, "clock": "cpu"}


def test_promises(monkeypatch):
    how = fake_case(monkeypatch, theirs=[4, 4, 4], float32=[4, 4, 5], default=[3, 3, 3])
    equal, default = compare_case(TINY, **how)
    assert equal["promised"] == 1.0
    assert equal["kept"]  # the upper quartile reaches it: that is noise
    assert (default["ours"], default["base"], default["ratio"]["median"]) == (3, 4, 4 / 3)
    assert not default["kept"]  # 1.5 were promised
    assert format_row(equal).endswith(">= 1.0x  ok")
    assert format_row(default).endswith(">= 1.5x  MISSED")
    how = fake_case(monkeypatch, theirs=[4] * 4, float32=[4, 4, 5, 5], default=[3] * 4)
    assert format_row(compare_case(TINY, **how)[0]).endswith(">= 1.0x  within the noise")


def test_without_another_implementation_ours_is_the_base(monkeypatch):
    how = fake_case(monkeypatch, float32=[4, 4, 4], default=[2, 2, 2])
    [row] = compare_case(dataclasses.replace(TINY, theirs=None, promised=None), **how)
    assert row["ratio"]["median"] == 2
    assert row["kept"]
    assert "our float32" in row["what"]
    assert ">=" not in format_row(row)


def test_steps_are_those_of_the_same_network():
    with steppers_of(TINY, apart=False) as steppers:
        assert list(steppers) == ["theirs", "float32", "default"]
        for _ in range(3):  # they learn alike, dropout included
            losses = []
            for name in ("theirs", "float32"):
                torch.manual_seed(3)
                losses.append(steppers[name]())
            assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        assert steppers["default"]() > 0


@needs_fork
def test_each_way_has_a_process_of_its_own():
    steady = dataclasses.replace(TINY, ours=lambda: Ours(0.0), theirs=lambda: Theirs(0.0))
    with steppers_of(steady, apart=False) as here, steppers_of(steady, apart=True) as apart:
        assert all(isinstance(stepper, Apart) for stepper in apart.values())
        for name in ("theirs", "float32"):
            assert [apart[name]() for _ in range(3)] == [here[name]() for _ in range(3)]
        for found in take_turns(apart, 2).values():
            assert len(found) == 2
            assert all(sample.wall > 0 and sample.cpu > 0 for sample in found)


@needs_fork
def test_what_fails_in_another_process_is_said():
    def fail():
        raise RuntimeError("no room")

    with contextlib.closing(Apart(fail)) as stepper:
        with pytest.raises(ValueError, match="cannot be timed: RuntimeError: no room"):
            stepper()
    with contextlib.closing(Apart(lambda: lambda: os._exit(9))) as stepper:
        with pytest.raises(ValueError, match="has ended with exit code 9"):
            stepper()
    with contextlib.closing(Apart(lambda: os.getpid)) as stepper:
        assert stepper() != os.getpid()


@needs_fork
def test_no_process_outlives_the_one_that_started_it(tmp_path):
    """Killed, it closes nothing: each of its processes must notice."""
    with contextlib.closing(Apart(lambda: lambda: 0.0)) as sibling:  # holds a pipe's other ends
        sibling()
        if not (parent := os.fork()):
            ways = [Apart(lambda: os.getpid) for _ in range(2)]
            (tmp_path / "pids").write_text(" ".join(str(int(way())) for way in ways))
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(parent, 0)
        for pid in map(int, (tmp_path / "pids").read_text().split()):
            for _ in range(1000):
                state = Path(f"/proc/{pid}/stat")
                if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
                    break
                time.sleep(0.01)
            else:
                pytest.fail("a process is still there after ten seconds")


@pytest.mark.parametrize("apart", [False, pytest.param(True, marks=needs_fork)])
def test_another_network_is_refused(apart):
    other = dataclasses.replace(TINY, theirs=lambda: Theirs(dropout=0.0))
    with (
        pytest.raises(ValueError, match="Tiny: not the same network"),
        steppers_of(other, apart=apart),
    ):
        pass
    with pytest.raises(ValueError, match=r"0\.weight .* is not their 0\.weight"):
        copy_weights(Ours(), nn.Sequential(nn.Conv2d(3, 4, 5), *list(Ours())[1:]))


def test_without_smp_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ValueError, match=r"pip install 'segbook\[parity\]'"):
        require_smp()
    result = CliRunner().invoke(command, ["unet_resnet18"])
    assert "segbook[parity]" in str(result.exception)


def test_an_unknown_name_is_refused():
    result = CliRunner().invoke(command, ["unet"])
    assert isinstance(result.exception, ValueError)
    assert "no comparison 'unet'; choose from unet_resnet18" in str(result.exception)


@pytest.fixture
def tiny(monkeypatch):
    """Small networks, images and data in place of the real ones."""
    known = {"tiny": dataclasses.replace(TINY, promised=1e-9), "pp_liteseg_t": TINY}
    monkeypatch.setattr(train_cases, "CASES", known)
    monkeypatch.setattr(train_cases, "require_smp", lambda: None)
    monkeypatch.setattr(train_data, "SIZE", (32, 48))
    monkeypatch.setattr(train_data, "IMAGES", 4)
    monkeypatch.setattr(train_data, "BATCH", 2)


def test_the_command_for_programs(tiny):
    result = CliRunner().invoke(command, ["tiny", "--rounds", "2", "--json"])
    found = json.loads(result.stdout)
    assert found["rounds"] == 2
    assert "CPU time" in found["machine"]
    assert [row["promised"] for row in found["rows"]] == [1.0, 1e-9]
    assert result.exit_code == (0 if found["rows"][0]["kept"] else 1)


def test_a_broken_promise_is_exit_code_1(tiny, monkeypatch):
    row = {"what": "x", "ours": 1.0, "ratio": Spread(1, 1, 1)._asdict(), "promised": 2.0}
    monkeypatch.setattr(train, "compare_case", lambda *_, **__: [{**row, "kept": False}])
    result = CliRunner().invoke(command, ["tiny"])
    assert result.exit_code == 1
    assert "MISSED" in result.output


@pytest.mark.slow
def test_data_with_and_without_workers(tiny):
    result = CliRunner().invoke(command, ["data", "--rounds", "1"])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    lines = result.output.splitlines()
    for kind in ("cached as uint8", "decoded each time"):
        for workers in ("0 workers", "1 worker ", "2 workers"):
            assert any(f"{kind}, {workers}" in line and "waits" in line for line in lines)
    assert any("< 5%" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet_resnet18", "deeplab_v3_resnet50", "pp_liteseg_t",
                                  "deeplab_v3_plus_resnet18"])  # fmt: skip
def test_the_real_networks_are_the_same(name):
    case = CASES[name]
    if case.theirs:
        pytest.importorskip("segmentation_models_pytorch", reason="pip install 'segbook[parity]'")
    with steppers_of(dataclasses.replace(case, size=(64, 64)), apart=False):
        pass
