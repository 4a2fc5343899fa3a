"""The page about clusters: its commands done, by launchers that set what the real ones set."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from segbook import cli
from segbook.runs.folder import named
from segkit import engine

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
[SCRIPT] = [block for language, block in BLOCKS if language == "bash"]
COMMANDS = [block for language, block in BLOCKS if language == "sh"]
NET = """
from torch import nn
from segkit import SegOutput

class Net(nn.Module):
    aux_losses = {}

    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, num_classes, 1)

    def forward(self, images):
        return SegOutput(self.head(self.first(images)), {})

def build(*, num_classes, in_channels=3):
    return Net(num_classes, in_channels)
"""
"""Without BatchNorm and dropout: two processes with half a batch each train as one does."""
TINY = (
    "unet_synthetic --set model=net.py:build --set warmup=0 --set length=16 --set weights= "
    "--set image_size=64,96 --set crop=64,64 --set doctor=off --set precision=float32 "
    "--set batch_size=4 --set evaluate_every=0 --set watch=() --set ema=None"
)
# As often as --ntasks, -n or the job says, with the variables of slurm.schedmd.com and Open MPI 4.
LAUNCHER = """#!PYTHON
import os, re, subprocess, sys
job = int(os.environ.get("SLURM_NTASKS", 2))
words = sys.argv[1:]
while words[0].startswith("-"):
    if words[0] == "-n":
        words[0] = f"--ntasks={words.pop(1)}"
    found = re.fullmatch("--ntasks=(.*)", words.pop(0))
    job = int(found[1]) if found else job
if os.path.basename(sys.argv[0]) == "srun":
    names = {"SLURM_PROCID": 0, "SLURM_LOCALID": 0, "SLURM_STEP_NUM_TASKS": job}
    shared = {"SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost", "SLURM_JOB_ID": "71"}
else:
    names = {"OMPI_COMM_WORLD_RANK": 0, "OMPI_COMM_WORLD_LOCAL_RANK": 0,
             "OMPI_COMM_WORLD_SIZE": job, "OMPI_COMM_WORLD_LOCAL_SIZE": job}
    shared = {"PMIX_NAMESPACE": str(os.getpid())}
started = []
for rank in range(job):
    own = {name: str(size or rank) for name, size in names.items()}
    started.append(subprocess.Popen(words, env={**shared, **os.environ, **own}))
with open("pids", "w") as file:
    file.write(" ".join(str(one.pid) for one in started))
os.rename("pids", "started")
sys.exit(max(one.wait() % 256 for one in started))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the network, and with the launchers first in PATH."""
    bin = tmp_path / "bin"
    bin.mkdir()
    for name, text in {
        "srun": LAUNCHER,
        "mpirun": LAUNCHER,
        "scontrol": '#!/bin/sh\necho "$@" >> requeued\n',
        "segbook": '#!/bin/sh\nexec PYTHON -m segbook "$@"\n',
        "torchrun": '#!/bin/sh\nexec PYTHON -m torch.distributed.run "$@"\n',
    }.items():
        (bin / name).write_text(text.replace("PYTHON", sys.executable))
        (bin / name).chmod(0o755)
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # torchrun leaves a folder there
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("TINY", f"{TINY} --set steps=4")
    for name in list(os.environ):
        if name.startswith(("SLURM", "OMPI", "PMI", "MASTER", "RANK", "WORLD")):
            monkeypatch.delenv(name)
    return tmp_path


def start(script, **variables):
    return subprocess.Popen(
        ["bash", "-c", script], env={**os.environ, **variables}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def ended(process):
    text, _ = process.communicate(timeout=170)
    return process.returncode, text


def only(name):
    [folder] = named(name)
    return folder


def losses(name):
    return [record["loss"] for record in only(name).metrics() if "loss" in record]


def weights(folder):
    state = engine.load_checkpoint(folder.checkpoints, restore_rng=False)
    assert len(state["model"]) == 4
    return state["model"]


@pytest.mark.slow
def test_two_agents_of_torchrun_train_one_run_with_the_losses_of_one_process(place):
    [command] = [block for block in COMMANDS if "--nnodes=2" in block]
    code, text = ended(start("segbook train $TINY --name single"))
    assert code == 0, text
    agents = [start(command) for _ in range(2)]
    for code, text in map(ended, agents):
        assert code == 0, text
    assert only("machines").read()["processes"] == 2
    assert len(losses("single")) == 2
    assert losses("machines") == pytest.approx(losses("single"), rel=1e-4)
    assert (only("machines").path / "log.txt").read_text().count("step 4/4") == 1


@pytest.mark.full
def test_the_job_is_stopped_requeues_itself_and_ends_with_the_bits_of_an_undisturbed_one(place):
    tiny = f"{TINY} --set steps=150 --set save_every=1000"
    job = {"TINY": tiny, "SLURM_NTASKS": "2", "SLURM_JOB_ID": "71"}
    first = start(SCRIPT, **job)
    deadline = time.monotonic() + 120
    while not (named("unet-71") and only("unet-71").metrics()):
        assert first.poll() is None, ended(first)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for pid in Path("started").read_text().split():  # as Slurm does to the tasks of each step
        os.kill(int(pid), signal.SIGTERM)
    code, text = ended(first)
    assert code == 3, text
    described = only("unet-71").read()
    assert (described["status"], described["reason"]) == ("stopped", "stopped by SIGTERM")
    assert 0 < described["step"] < 150, text
    assert Path("requeued").read_text() == "requeue 71\n"

    code, text = ended(start(SCRIPT, **job))
    assert code == 0, text
    assert f"resumed at step {described['step']} of 150" in text
    assert Path("requeued").read_text() == "requeue 71\n"
    code, text = ended(start(SCRIPT, **{**job, "SLURM_JOB_ID": "72"}))
    assert code == 0, text
    once, twice = weights(only("unet-72")), weights(only("unet-71"))
    assert all(torch.equal(once[name], twice[name]) for name in once)

    code, text = ended(start(SCRIPT, **job))  # once more than needed
    assert (code, "is finished" in text) == (0, True), text
    assert only("unet-71").read()["attempts"] == 2


@pytest.mark.full
def test_each_command_of_the_page_works(place):
    for block in COMMANDS[1:]:
        if "--nnodes" not in block:  # which has a test of its own
            code, text = ended(start(block))
            assert code == 0, (block, text)
            assert "not held" not in text
    for name in ("alone", "torchrun", "slurm", "mpi"):
        described = only(name).read()
        assert (described["status"], described["processes"]) == ("finished", 2)
    assert losses("slurm") == losses("mpi")


@pytest.mark.full
def test_what_the_page_trains_is_a_recipe_that_is_there(place):
    code, text = ended(start(f"{COMMANDS[0]}\nsegbook train $TINY --name whole"))
    assert code == 0, text


def test_a_name_goes_on_by_itself_and_another_training_does_not_take_it(place):
    def segbook(*words):
        done = CliRunner().invoke(cli.main, ["train", *TINY.split(), *words])
        return done.exit_code, done.output

    code, text = segbook("--set", "steps=2", "--resume")
    assert (code, "--name" in text) == (2, True)
    code, text = segbook("--set", "steps=2", "--name", "one", "--resume")
    assert code == 0, text
    code, text = segbook("--set", "steps=2", "--name", "one", "--resume")
    assert (code, "is finished" in text) == (0, True), text
    code, text = segbook("--set", "steps=3", "--name", "one", "--resume")
    assert (code, "resumed at step 2 of 3" in text) == (0, True), text
    code, text = segbook("--set", "steps=3", "--name", "one", "--resume", "--set", "seed=5")
    assert (code, "seed 0 (now 5)" in text) == (2, True), text
    assert only("one").read()["attempts"] == 2
    only("one").path.with_name("one-20260101-000000").mkdir()
    (only("one").path.with_name("one-20260101-000000") / "run.json").write_text(
        '{"kind": "train", "status": "stopped"}'
    )
    code, text = segbook("--set", "steps=3", "--name", "one", "--resume")
    assert (code, "there are several: one-20260101-000000" in text) == (2, True), text


@pytest.mark.slow
def test_processes_that_were_asked_for_different_things_are_refused(place):
    script = "srun bash -c 'segbook train $TINY --name both --set seed=$SLURM_PROCID'"
    code, text = ended(start(script))
    assert code == 2, text
    assert text.count("process 2 was asked for another than the first") == 2
    assert only("both").read()["status"] == "failed"
    assert not only("both").metrics()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "message"),
    [("segbook train $TINY --set batch_size=3", "batch_size=3 is that of all processes together"),
     ("segbook train $TINY --nproc 2", "srun has started 2 processes.*leave out --nproc"),
     ("segbook run nothing.ipynb", "srun started this 2 times.*srun --ntasks=1")],
)  # fmt: skip
def test_what_cannot_be_joined_is_refused_by_all_in_one_sentence(place, command, message):
    Path("nothing.ipynb").write_text("{}")
    code, text = ended(start(f"srun {command}"))
    assert code == 2, text
    assert len(re.findall(message, text)) == 2, text
    assert not Path(os.environ["SEGBOOK_RUNS"]).exists()
