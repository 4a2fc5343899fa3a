"""`segbook train` under abuse: killed, interrupted, two at once, on bad disks, with bad clocks."""

import datetime
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import traceback
import warnings

import numpy as np
import pytest
from PIL import Image

from segbook import cli
from segbook.runs import lock
from segbook.runs.folder import all_runs
from segkit import engine
from segkit.engine.checkpoint import LAST, PREVIOUS

pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path):
    """Six pairs to train on and two to validate by."""
    root = tmp_path / "data"
    for split, count in (("train", 6), ("val", 2)):
        for kind, shape in (("images", (64, 64, 3)), ("masks", (64, 64))):
            (root / split / kind).mkdir(parents=True)
            for index in range(count):
                noise = np.random.default_rng(index).integers(0, 2, shape, np.uint8)
                Image.fromarray(noise).save(root / split / kind / f"street_{index}.png")
    (root / "classes.txt").write_text("road\ncar\n")
    return root


class Command:
    """``segbook`` in a process of its own, in a group of its own as a terminal gives it."""

    def __init__(self, log, runs, arguments, prepare):
        self.log = log
        log.touch()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads
            self.pid = os.fork()
        if self.pid:
            return
        code = 99
        try:
            os.setpgid(0, 0)
            file = os.open(log, os.O_WRONLY | os.O_APPEND)
            sys.stdout, sys.stderr = (open(os.dup(file), "w") for _ in range(2))  # noqa: SIM115
            os.environ["SEGBOOK_RUNS"] = str(runs)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            # As it is without pytest, which keeps warnings to itself.
            warnings.showwarning = lambda message, *_, **__: print(message, file=sys.stderr)
            prepare()
            cli.main(arguments, prog_name="segbook")
        except SystemExit as error:
            code = error.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait(self):
        """Its exit code, or minus the signal that ended it."""
        if self.pid:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self.pid = 0
        return self.code

    @property
    def text(self):
        return self.log.read_text()


@pytest.fixture
def start(tmp_path, data):
    """Starts ``segbook train``, or another command where one is given."""
    started = []

    def run(*arguments, runs=tmp_path / "runs", prepare=lambda: None, **changes):
        if not arguments:
            fields = {
                "model": "espnet_c",  # whose checkpoints are small: each step saves one
                "data": "folder", "data_root": data, "crop": "(64, 64)", "batch_size": 2,
                "steps": 10_000, "save_every": 1, "warmup": 0, "precision": "float32",
                "doctor": "off", "channels_last": False, "class_weights": "none", **changes,
            }  # fmt: skip
            settings = [["--set", f"{field}={value}"] for field, value in fields.items()]
            arguments = ("train", "pp_liteseg_t_synthetic", *itertools.chain(*settings))
        log = tmp_path / f"log{len(started)}"
        started.append(Command(log, runs, list(arguments), prepare))
        return started[-1]

    yield run
    for command in started:
        if command.pid:
            os.kill(command.pid, signal.SIGKILL)
            command.wait()


def the_run(runs):
    [run] = all_runs(root=runs)
    return run


def wait_for_step(command, runs, step):
    """Wait until the run has saved so many steps."""
    deadline = time.monotonic() + 120
    while True:
        found = all_runs(root=runs) if runs.is_dir() else []
        if found and (found[0].read().get("step") or 0) >= step:
            return found[0]
        if os.waitpid(command.pid, os.WNOHANG)[0] or time.monotonic() > deadline:
            command.pid = 0
            pytest.fail(f"it did not come to step {step}:\n{command.text}")
        time.sleep(0.05)


def test_kill_9_at_a_random_step_then_busy_then_a_damaged_checkpoint(start, tmp_path):
    runs = tmp_path / "runs"
    first = start()
    run = wait_for_step(first, runs, 3)
    second = start("resume", run.name)
    assert second.wait() == 4
    assert f"is being written by process {first.pid}" in second.text
    time.sleep(random.random())
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    described = run.read()
    assert described["status"] == "interrupted"

    file = run.checkpoints / LAST
    if (run.checkpoints / PREVIOUS).exists() and file.exists():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    json_file = run.path / "run.json"
    changed = json.loads(json_file.read_text())
    changed["recipe"]["steps"] = described["step"] + 5
    json_file.write_text(json.dumps(changed))
    third = start("resume", run.name)
    assert third.wait() == 0, third.text
    assert f"{LAST} is" in third.text
    assert f"going on from {PREVIOUS}" in third.text
    [resumed] = re.findall(r"resumed at step (\d+)", third.text)
    assert described["step"] - 1 <= int(resumed) <= described["step"] + 1
    assert run.read()["status"] == "finished"
    steps = [record["step"] for record in run.metrics() if "loss" in record]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("pause", [0.0, 0.05, 0.3])
def test_ctrl_c_twice_stops_it_with_its_state_whole(start, tmp_path, pause):
    command = start()
    run = wait_for_step(command, tmp_path / "runs", 2)
    for _ in range(2):
        os.killpg(command.pid, signal.SIGINT)
        time.sleep(pause)
    assert command.wait() == 3, command.text
    assert "stopped by Ctrl-C" in command.text
    assert f"segbook resume {run.name}" in command.text
    assert "Traceback" not in command.text
    assert run.read()["status"] == "stopped"
    assert engine.load_checkpoint(run.checkpoints, restore_rng=False)["step"] >= 2


def test_ctrl_c_with_loader_processes_leaves_none(start, tmp_path):
    command = start(workers=2)
    wait_for_step(command, tmp_path / "runs", 2)
    listing = ["ps", "--no-headers", "-o", "pid", "--ppid", str(command.pid)]
    children = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
    assert len(children) >= 2
    os.killpg(command.pid, signal.SIGINT)
    assert command.wait() == 3, command.text
    assert not any(os.path.exists(f"/proc/{pid}") for pid in children)
    assert "Traceback" not in command.text


@pytest.fixture
def disk(make_disk):
    """Room for three checkpoints of 4 MB and the best weights."""
    return make_disk("24m")


def fill(path, left):
    """Leave so many bytes of a disk."""
    free = os.statvfs(path)
    with open(path / "other", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - left)


def test_a_full_disk_then_a_read_only_one(start, disk):
    command = start(runs=disk)
    run = wait_for_step(command, disk, 2)
    os.kill(command.pid, signal.SIGSTOP)
    fill(disk, 40_000)
    os.kill(command.pid, signal.SIGCONT)
    assert command.wait() == 1
    assert "the disk is full" in command.text
    described = run.read()
    assert described["status"] == "failed"
    assert engine.load_checkpoint(run.checkpoints, restore_rng=False)["step"] >= 2
    (disk / "other").unlink()

    remount = ["mount", "-o", "remount,ro", str(disk)]
    if subprocess.run(remount, capture_output=True, check=False).returncode:
        pytest.skip("making a file system read-only needs more rights")
    command = start("resume", run.name, runs=disk)
    assert command.wait() == 1
    assert f"Read-only file system: '{run.path}" in command.text
    assert "Traceback" not in command.text
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    again = start("resume", run.name, "--time-limit", "3s", runs=disk)
    assert again.wait() in (0, 3), again.text
    assert "resumed at step" in again.text


def test_a_clock_that_goes_back(start, tmp_path):
    def backwards():
        ticks = itertools.count()
        begin = time.time()
        time.time = lambda: begin - 3600 * next(ticks)

        class Backwards(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls.fromtimestamp(time.time(), tz)

        datetime.datetime = lock.datetime.datetime = Backwards

    command = start(prepare=backwards, steps=12)
    assert command.wait() == 0, command.text
    run = the_run(tmp_path / "runs")
    described = run.read()
    assert described["status"] == "finished"
    assert described["updated"] < described["created"]  # it did go back
    assert described["seconds"] > 0
    assert described["seconds_total"] > 0
    losses = [record for record in run.metrics() if "loss" in record]
    assert losses[0]["time"] > losses[-1]["time"]
    assert all(record["images_per_second"] > 0 for record in losses)
    assert all(0 <= record["waited"] <= 1 for record in losses)
    listed = start("list", "--json")
    assert listed.wait() == 0
    assert run.name in listed.text


def test_a_loss_that_is_no_number_ends_it_with_what_to_do(start, tmp_path):
    command = start(lr=1e30, steps=50)
    assert command.wait() == 1
    assert re.search(r"the loss is (nan|inf) at step \d+: .*Lower the learning rate", command.text)
    assert "Traceback" not in command.text
    run = the_run(tmp_path / "runs")
    assert run.read()["error"]["name"] == "NonFiniteLossError"
    assert engine.load_checkpoint(run.checkpoints, restore_rng=False)["step"] >= 1


def test_truncated_files_are_left_out_and_logged_within_the_budget(start, data, tmp_path):
    for stem in ("street_1", "street_4"):
        file = data / "train" / "images" / f"{stem}.png"
        os.truncate(file, file.stat().st_size // 2)
    command = start(steps=8)
    assert command.wait() == 0, command.text
    run = the_run(tmp_path / "runs")
    log = (run.path / "log.txt").read_text()
    for stem in ("street_1", "street_4"):
        assert len(re.findall(rf"sample \d \({stem}\) cannot be read, another takes", log)) == 1
    command = start(steps=8, bad_samples=1)
    assert command.wait() == 1
    assert re.search(r"2 samples cannot be read \(street_\d, street_\d\)", command.text)
    file = data / "val" / "images" / "street_0.png"
    os.truncate(file, file.stat().st_size // 2)
    command = start(steps=1)
    assert command.wait() == 1
    assert re.search(r"street_0\.png cannot be read as a picture", command.text)
