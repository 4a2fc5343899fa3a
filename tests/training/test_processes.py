"""Runs in two processes: one writes, any may die, and none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from segbook.runs.folder import RunFolder
from segbook.runs.lock import owner_of
from segbook.runs.process_family import family
from segbook.training import headless
from segbook.training import processes as launch
from segkit import engine

CHANGES = {
    "data": "folder", "crop": "(64, 64)", "batch_size": "4", "eval_batch_size": "2", "steps": "12",
    "warmup": "0", "evaluate_every": "6", "save_every": "2", "precision": "float32", "ema": "0.9",
    "lr": "0.01", "workers": "0",
}  # fmt: skip
EXECUTE = (
    "import sys; from segbook.training import headless; from segbook.runs.folder import RunFolder\n"
    "print(headless.execute(RunFolder(sys.argv[1]))['status'])"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data set of 8 + 3 small pictures, void in some."""
    root = tmp_path_factory.mktemp("data")
    generator = torch.Generator().manual_seed(0)
    for split, length in (("train", 8), ("val", 3)):
        for part in ("images", "masks"):
            (root / split / part).mkdir(parents=True)
        for index in range(length):
            pixels = torch.randint(0, 256, (72, 80, 3), generator=generator, dtype=torch.uint8)
            labels = (pixels.argmax(2)).to(torch.uint8)
            labels[: 20 * (index % 3)] = 255
            Image.fromarray(pixels.numpy()).save(root / split / "images" / f"{index}.png")
            Image.fromarray(labels.numpy()).save(root / split / "masks" / f"{index}.png")
    (root / "classes.txt").write_text("red\ngreen\nblue\n")
    for split in ("train", "val"):
        (root / split / "classes.txt").write_text("red\ngreen\nblue\n")
    return root


def create(root, processes=2, **changes):
    # Fast-SCNN has dropout, so each process's own random numbers count
    changes = {**CHANGES, "data_root": str(root), **changes}
    return headless.create("fast_scnn_cityscapes", changes, name="two", processes=processes)


def start(folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(
        [sys.executable, "-c", EXECUTE, str(folder.path)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(folder):
    process = start(folder)
    text, _ = process.communicate(timeout=120)
    return text, folder.read()


def reach(folder, process, step):
    """Wait until a step is saved."""
    while folder.read().get("step", 0) < step:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def ranks_of(folder):
    """The process ids of a run's ranks, in their order."""
    found = {}
    for process in family(owner_of(folder.path)["token"]):
        with open(f"/proc/{process}/environ", "rb") as file:
            variables = dict(v.split(b"=", 1) for v in file.read().split(b"\0") if b"=" in v)
        found[int(variables[b"RANK"])] = process
    return [found[rank] for rank in sorted(found)]


def nobody_is_left(folder):
    return wait_for(lambda: not family(owner_of(folder.path)["token"]))


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def tensors(folder):
    """All that is in the newest checkpoint, by a name."""
    state = engine.load_checkpoint(folder.checkpoints, restore_rng=False)
    found = {}

    def visit(node, name):
        if isinstance(node, torch.Tensor):
            found[name] = node
        elif isinstance(node, dict | list | tuple):
            items = node.items() if isinstance(node, dict) else enumerate(node)
            for key, value in items:
                visit(value, f"{name}.{key}")
        elif not name.endswith("seconds"):
            found[name] = torch.tensor(hash(node))

    visit(state, "")
    return found


def validations(folder):
    return [
        {key: value for key, value in record.items() if key not in ("seconds", "time")}
        for record in folder.metrics()
        if "val_miou" in record
    ]


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """A run of two processes that nobody disturbed."""
    os.environ["SEGBOOK_RUNS"] = str(tmp_path_factory.mktemp("runs"))
    folder = create(root)
    text, described = finish(folder)
    assert described["status"] == "finished", text
    return folder


@pytest.mark.slow
def test_one_of_the_processes_writes(whole):
    described = whole.read()
    assert described["processes"] == 2
    assert described["step"] == 12
    assert described["recipe"]["batch_size"] == 4
    steps = [record["step"] for record in whole.metrics() if "loss" in record]
    assert steps == [1, 10, 12]
    assert [record["step"] for record in validations(whole)] == [6, 12]
    assert (whole.path / "log.txt").read_text().count("step 12/12") == 1
    assert len(tensors(whole)[".other_processes.0.torch"]) > 1000
    assert nobody_is_left(whole)


@pytest.mark.slow
def test_its_scores_are_those_of_one_process(whole):
    from segbook import recipes
    from segbook.training.evaluation import best_model, evaluate
    from segbook.training.state import build

    described = whole.read()
    state = build(recipes.Recipe.from_dict(described["recipe"]), whole)
    best = best_model(state, whole)
    counts = evaluate(best, state.recipe, state.sets["val"], state.settings)
    assert counts.images == 3
    assert counts.miou() == described["result"]["miou"]
    assert counts.pixel_accuracy() == described["result"]["accuracy"]


@pytest.mark.full
def test_stopped_killed_and_orphaned_it_goes_on_with_the_same_bits(
    whole, root, tmp_path, monkeypatch
):
    (tmp_path / "scratch of it").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch of it"))
    folder = create(root)
    process = start(folder)
    reach(folder, process, 2)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    assert text.splitlines()[-1] == "stopped", text
    assert folder.read()["reason"] == "stopped by SIGTERM"
    assert nobody_is_left(folder)

    process = start(folder)
    reach(folder, process, 6)
    os.kill(ranks_of(folder)[1], signal.SIGKILL)
    text, _ = process.communicate(timeout=60)
    described = folder.read()
    assert described["status"] == "failed", text
    assert "process 2 of 2 was killed (SIGKILL" in described["error"]["message"]
    assert "traceback" not in described["error"]
    assert nobody_is_left(folder)

    process = start(folder)
    reach(folder, process, described["step"] + 2)
    assert list((tmp_path / "scratch of it").glob("segbook-*"))
    process.kill()
    process.communicate(timeout=60)
    assert nobody_is_left(folder)
    assert wait_for(lambda: not any((tmp_path / "scratch of it").iterdir()))
    assert folder.read()["status"] == "interrupted"
    assert folder.read()["step"] < 12

    text, described = finish(folder)
    assert described["status"] == "finished", text
    assert described["attempts"] == 4
    assert "resumed at step" in text
    assert "dropout goes another way" not in text
    a, b = tensors(whole), tensors(folder)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    assert validations(folder) == validations(whole)


@pytest.mark.slow
def test_another_number_of_processes_goes_on_and_says_what_differs(whole, root):
    folder = create(root, processes=1)
    for file in whole.checkpoints.iterdir():
        (folder.checkpoints / file.name).write_bytes(file.read_bytes())
    recipe = {**folder.read()["recipe"], "steps": 13}
    folder.update(recipe=recipe)
    described = headless.execute(folder, show=lambda line: None)
    assert (described["status"], described["step"]) == ("finished", 13)
    log = (folder.path / "log.txt").read_text()
    assert "resumed at step 12 of 13, with 1 process after 2: dropout goes another way" in log


@pytest.mark.full
def test_a_diverging_run_fails_with_its_reason_not_that_of_the_lost_connection(whole, root):
    folder = create(root, lr="1e30", steps="5")
    text, described = finish(folder)
    assert described["status"] == "failed", text
    assert described["error"]["name"] == "NonFiniteLossError"
    assert "the loss is" in described["error"]["message"]
    assert "Traceback" not in text
    assert nobody_is_left(folder)


@pytest.mark.full
def test_torchrun_resumes_a_run_and_one_process_writes(root, tmp_path):
    folder = create(root, steps="2")
    arguments = ["--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2", "-m", "segbook"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *arguments, "resume", str(folder.path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished after") == 1
    assert folder.read()["status"] == "finished"
    assert (folder.path / "log.txt").read_text().count("step 2/2") == 1


class Failure:
    def __init__(self, exitcode, timestamp=0, data=None):
        self.exitcode, self.timestamp, self.error_file_data = exitcode, timestamp, data or {}

    def signal_name(self):
        return signal.Signals(-self.exitcode).name


@pytest.mark.parametrize(
    ("codes", "told", "message"),
    [([-15, -9], "lost connection", "process 2 of 2 was killed (SIGKILL"),
     ([1, -6], "the loss is nan", "the loss is nan"),
     ([1, -15], None, "process 1 of 2 ended by exit code 1"),
     ([-15, -15], None, "process 1 of 2 ended by SIGTERM"),
     ([launch.LOST, 3], None, "process 2 of 2 ended by exit code 3"),
     ([launch.LOST], None, "process 1 of 2 ended by a lost connection to another one"),
     ([0, -7], None, "shared memory")],
)  # fmt: skip
def test_what_ended_it_first_is_what_is_said(codes, told, message):
    failures = {
        rank: Failure(code, rank, told and rank == 0 and {"name": "Error", "message": told})
        for rank, code in enumerate(codes)
        if code
    }
    assert message in launch._reason(failures, 2)["message"]


def test_what_a_process_wrote_first_counts():
    words = [{"name": name, "message": "why", "timestamp": 0} for name in ("Second", "First")]
    failures = {0: Failure(1, 20, words[0]), 1: Failure(1, 10, words[1]), 2: Failure(launch.LOST)}
    assert launch._reason(failures, 3) == {"name": "First", "message": "why"}


@pytest.mark.parametrize(
    ("processes", "changes", "message"),
    [(3, {}, "batch_size=4 is that of all processes together, and 3 cannot share it evenly"),
     (0, {}, "0 processes cannot train"), (2, {"sync_bn": "on"}, "sync_bn='on' needs GPUs")],
)  # fmt: skip
def test_what_cannot_be_shared_makes_no_folder(root, tmp_path, processes, changes, message):
    with pytest.raises(ValueError, match=message):
        create(root, processes=processes, **changes)
    assert not (tmp_path / "runs").exists()


def test_an_onlooker_writes_nothing(tmp_path):
    folder = RunFolder.create("run", root=tmp_path)
    before = {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}
    onlooker = launch.Onlooker(folder.path)
    onlooker.update(step=3)
    onlooker.append_metrics(step=3)
    onlooker.forget_after(0)
    onlooker.log("text")
    after = {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}
    assert before == after
