"""A request to stop that reaches all processes of a training, and what they say at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from segbook import recipes
from segbook.runs.folder import RunFolder
from segbook.training import headless
from segbook.training.stop_request import StopRequest
from segkit import engine
from segkit.engine import distributed

CHANGES = {
    "data": "folder", "crop": "(64, 64)", "batch_size": "4", "eval_batch_size": "1",
    "steps": "3000", "warmup": "0", "evaluate_every": "0", "save_every": "3000",
    "precision": "float32", "channels_last": "False", "doctor": "off", "ema": "None",
}  # fmt: skip


@pytest.fixture
def root(tmp_path):
    """A data set of 4 + 1 small pictures."""
    for split, length in (("train", 4), ("val", 1)):
        for part in ("images", "masks"):
            (tmp_path / split / part).mkdir(parents=True)
        for index in range(length):
            pixels = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(tmp_path / split / "images" / f"{index}.png")
            labels = (pixels[..., 0] > 127).to(torch.uint8)
            Image.fromarray(labels.numpy()).save(tmp_path / split / "masks" / f"{index}.png")
    (tmp_path / "classes.txt").write_text("dark\nlight\n")
    return tmp_path


def create(root, processes, **changes):
    changes = {**CHANGES, "data_root": str(root), **changes}
    return headless.create("fast_scnn_cityscapes", changes, processes=processes)


def start(*command, **variables):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(
        [sys.executable, *command], env={**environment, **variables}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def wait_for(process, folder, done):
    deadline = time.monotonic() + 120
    while not done():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, folder.read()
        time.sleep(0.05)


@pytest.mark.full
def test_ctrl_c_saves_the_step_and_a_second_one_changes_no_exit_code(root):
    folder = create(root, 2)
    process = start("-m", "segbook", "resume", str(folder.path))
    wait_for(process, folder, folder.metrics)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("go on"):
            os.killpg(process.pid, signal.SIGINT)
            break
    lines += process.stdout
    process.stdout.close()
    assert process.wait() == 3, "".join(lines)
    assert "Traceback" not in "".join(lines)
    described = folder.read()
    assert (described["status"], described["reason"]) == ("stopped", "stopped by Ctrl-C")
    state = engine.load_checkpoint(folder.checkpoints, restore_rng=False)
    assert state["step"] == described["step"] > 0
    assert len(state["other_processes"]) == 1


@pytest.mark.slow
@pytest.mark.full
def test_ctrl_c_twice_kills_a_step_that_does_not_end(root):
    folder = create(root, 2)
    process = start("-m", "segbook", "resume", str(folder.path))
    wait_for(process, folder, folder.metrics)
    listing = ["ps", "--no-headers", "-o", "pid", "--ppid", str(process.pid)]
    children = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
    ranks = [int(pid) for pid in children if b"RANK=" in Path(f"/proc/{pid}/environ").read_bytes()]
    os.kill(ranks[1], signal.SIGSTOP)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.3)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 3, text
    assert folder.read()["reason"] == "stopped by Ctrl-C"
    assert not any(os.path.exists(f"/proc/{pid}") for pid in children)


FALTERING = """
import os, sys
from segbook import cli
from segkit.engine import distributed
if os.environ["RANK"] == "1":
    def falter(values):
        if sys.argv[3] == "dies":
            os._exit(3)
        raise ValueError("its own words")
    distributed.average = falter
cli.main(sys.argv[1:3])
"""


@pytest.mark.full
@pytest.mark.parametrize(
    ("how", "code", "why"),
    [("dies", 3, "its launcher says"), ("raises", 1, "process 2 of 2 on ")],
)
def test_what_a_lost_process_said_is_told_by_the_first_one(root, how, code, why):
    folder = create(root, 1)
    variables = {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    command = "-c", FALTERING, "resume", str(folder.path), how
    first, second = (
        start(*command, RANK=str(rank), LOCAL_RANK=str(rank), **variables) for rank in range(2)
    )
    texts = [process.communicate(timeout=120)[0] for process in (first, second)]
    described = folder.read()
    assert (first.returncode, second.returncode) == (1, code), texts
    assert described["status"] == "failed", texts
    assert described["error"]["name"] == "PeerLostError"
    message = described["error"]["message"]
    assert message.startswith("another process of this training ended")
    assert why in message
    assert ("ValueError: its own words" in message) == (how == "raises")
    assert ("ValueError: its own words" in texts[1]) == (how == "raises")
    assert "checkpoint" not in message  # there is none yet
    assert "traceback" not in described["error"]


@pytest.mark.parametrize("several", [True, False])
def test_a_launchers_signal_may_mean_that_another_process_ended(monkeypatch, tmp_path, several):
    monkeypatch.setattr(distributed, "world_size", lambda: 1 + several)
    folder = RunFolder.create(
        "run", root=tmp_path, recipe=recipes.get("unet_synthetic").to_dict(), processes=1
    )

    def fit(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(headless, "fit", fit)
    reason = headless.execute(folder)["reason"]
    assert reason.startswith("stopped by SIGTERM")
    assert ("another process ended" in reason) == several


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_all_stop_after_the_same_step_however_far_apart_they_are(tmp_path):
    parent, first, other = (
        StopRequest(tmp_path),
        StopRequest(tmp_path, first=True),
        StopRequest(tmp_path),
    )
    assert not parent.ask()  # no step yet: nobody would hear it
    assert not first.due()
    assert not other.due()
    assert parent.ask()
    assert not other.due()  # step 2, before the first process sees the request there
    assert not first.due()
    assert not parent.followed
    assert first.due()
    assert other.due()
    assert parent.followed


def test_a_process_behind_the_first_does_not_stop_a_step_early(tmp_path):
    parent, first, other = (
        StopRequest(tmp_path),
        StopRequest(tmp_path, first=True),
        StopRequest(tmp_path),
    )
    assert not any(process.due() for process in (first, other))
    parent.ask()
    assert not first.due()
    assert not other.due()  # step 2, after it
    assert other.due()
    assert first.due()
