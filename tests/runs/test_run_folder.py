"""The run folder: status, ownership, metrics, and a full disk."""

import errno
import json
import math
import os
import subprocess
import sys
import time

import pytest

from segbook.runs import folder as folders
from segbook.runs import listing, lock
from segbook.runs.attempt import attempt
from segbook.runs.folder import INTERRUPTED, RUNNING, STOPPED, RunBusyError, RunFolder, find
from segbook.runs.stopping import Stopper


@pytest.fixture
def run(tmp_path):
    return RunFolder.create("a run", root=tmp_path, kind="train")


def hold(path):
    """A process that owns the folder until its standard input ends."""
    code = (
        "import sys; from segbook.runs.folder import RunFolder, RUNNING\n"
        "f = RunFolder(sys.argv[1])\n"
        "with f.own():\n"
        "    f.update(status=RUNNING); print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    return process


def test_a_new_run_has_a_clean_name_and_says_what_it_is(run):
    assert run.name.startswith("a_run-")
    assert run.read()["kind"] == "train"
    assert run.read()["status"] == STOPPED
    assert run.checkpoints.is_dir()


def test_two_runs_of_one_second_get_two_folders(tmp_path):
    names = {RunFolder.create("x", root=tmp_path).name for _ in range(3)}
    assert len(names) == 3


def test_a_second_process_is_refused_by_name_and_a_killed_one_leaves_no_lock(run):
    process = hold(run.path)
    assert run.read()["status"] == RUNNING
    with pytest.raises(RunBusyError, match=rf"{run.name} .* process {process.pid} "), run.own():
        pass
    process.kill()
    process.wait()
    assert run.read()["status"] == INTERRUPTED
    with run.own():
        assert run.is_locked()
    assert not run.is_locked()


def test_owning_twice_in_one_process_is_one_ownership(run):
    with run.own() as outer, run.own() as inner:
        assert inner == outer
        assert set(outer) == {"SEGBOOK_RUN_FOLDER", "SEGBOOK_RUN_TOKEN"}


def test_a_child_with_the_token_shares_the_right_but_does_not_set_the_status(run, monkeypatch):
    process = hold(run.path)
    token = lock.owner_of(run.path)["token"]
    monkeypatch.setenv("SEGBOOK_RUN_FOLDER", str(run.path))
    monkeypatch.setenv("SEGBOOK_RUN_TOKEN", "another")
    with pytest.raises(RunBusyError), run.own():
        pass
    monkeypatch.setenv("SEGBOOK_RUN_TOKEN", token)
    with run.own() as environment:
        assert environment == {}
        run.update(status="finished", step=7)
    assert run.read()["status"] == RUNNING
    assert run.read()["step"] == 7
    process.communicate()


def test_a_forked_child_that_survives_does_not_keep_the_lock(run):
    code = (
        "import os, sys, time; from segbook.runs.folder import RunFolder\n"
        "with RunFolder(sys.argv[1]).own():\n"
        "    read, write = os.pipe()\n"
        "    child = os.fork()\n"
        "    if child == 0: os.write(write, b'.'); time.sleep(60)\n"
        "    os.read(read, 1)\n"  # the child runs
        "    print(child, flush=True); os.kill(os.getpid(), 9)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    child = int(process.stdout.readline())
    process.wait()
    try:
        os.kill(child, 0)  # it lives
        assert not run.is_locked()
    finally:
        os.kill(child, 9)


def test_probing_all_the_time_does_not_keep_an_owner_out(run):
    stop = time.monotonic() + 0.3
    code = (
        "import sys; from segbook.runs.folder import RunFolder\n"
        "f = RunFolder(sys.argv[1]); print('on', flush=True)\n"
        "while True: f.is_locked()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    process.stdout.readline()
    try:
        while time.monotonic() < stop:
            with run.own():
                pass
    finally:
        process.kill()
        process.wait()


def test_metrics_survive_a_line_cut_short(run):
    run.append_metrics(step=1)
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    run.append_metrics(step=3)
    assert run.metrics() == [{"step": 1}, {"step": 3}]
    run.forget_after(1)
    assert run.metrics() == [{"step": 1}]


def test_the_reserve_makes_room_for_the_last_word(run, monkeypatch):
    real = folders.write_atomic

    def full(path, text):
        if (run.path / ".reserve").exists():
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, text)

    monkeypatch.setattr(folders, "write_atomic", full)
    run.update(status="failed")
    assert run.read()["status"] == "failed"
    with run.own():
        assert (run.path / ".reserve").stat().st_size == folders.RESERVE_BYTES


def test_a_failed_write_leaves_the_old_file_and_names_it(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    folders.write_atomic(path, "old")
    monkeypatch.setattr(
        os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full"))
    )
    with pytest.raises(OSError, match="x.json"):
        folders.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[1]",
        b"\xff\xfe",
        b"",
        b'{"status": 5}',
        b'{"recipe": [1]}',
        b'{"steps": "9"}',
        b'{"result": {"miou": "0.5"}}',
    ],
)
def test_a_damaged_description_is_named_and_listed_as_such(run, content):
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match="run.json is damaged"):
        run.read()
    assert listing.row(run).status == "damaged"
    assert run.created() == ""


def test_an_old_description_is_read_whatever_else_it_holds(run):
    old = {"status": "finished", "steps": None, "result": {"miou": math.nan, "more": [1]}, "x": 1}
    (run.path / "run.json").write_text(json.dumps(old))
    read = run.read()
    assert math.isnan(read["result"].pop("miou"))
    assert read == {"status": "finished", "steps": None, "result": {"more": [1]}, "x": 1}


def test_no_half_of_a_run_folder_is_left_on_a_full_disk(tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(folders, "write_atomic", full)
    with pytest.raises(OSError, match="cannot make the run folder .*No space left"):
        RunFolder.create("a", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_find_takes_a_path_a_name_or_its_start_and_names_the_closest(tmp_path):
    one = RunFolder.create("alpha", root=tmp_path)
    RunFolder.create("beta-1", root=tmp_path)
    RunFolder.create("beta-2", root=tmp_path)
    for name in (str(one.path), one.name, "alp"):
        assert find(name, root=tmp_path).path == one.path
    with pytest.raises(ValueError, match="fits several"):
        find("beta", root=tmp_path)
    exact = RunFolder.create("beta", root=tmp_path)
    assert find("beta", root=tmp_path).path == exact.path
    RunFolder.create("beta", root=tmp_path)
    with pytest.raises(ValueError, match="fits several"):
        find("beta", root=tmp_path)
    with pytest.raises(ValueError, match=rf"no run 'alhpa'.*{one.name}"):
        find("alhpa", root=tmp_path)
    with pytest.raises(ValueError, match="no runs there yet"):
        find("x", root=tmp_path / "empty")


def test_a_full_name_means_that_run_and_a_start_all_of_it(tmp_path):
    first = RunFolder.create("unet", root=tmp_path)
    second = RunFolder.create("unet", root=tmp_path)
    further = RunFolder.create(first.name, root=tmp_path)  # as was made of a full name
    assert [one.name for one in folders.named(first.name, root=tmp_path)] == [first.name]
    assert [one.name for one in folders.named(further.name, root=tmp_path)] == [further.name]
    both = {one.name for one in folders.named("unet", root=tmp_path)}
    assert both == {first.name, second.name}


@pytest.mark.parametrize(("step", "said"), [(None, False), (0, False), (4, True)])
def test_a_lost_process_leaves_a_checkpoint_only_where_there_is_one(run, step, said):
    with attempt(run, Stopper(lambda: None, lambda: None, limit=None)):
        run.update(step=step)
        raise type("PeerLostError", (ConnectionError,), {})("another process ended")
    message = run.read()["error"]["message"]
    assert message == "another process ended" + ". The last checkpoint is whole" * said


def test_runs_are_listed_by_age_not_by_name(tmp_path):
    for name, created in (("a", "2026-02-01"), ("b", "2026-01-01")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"created": created}))
    assert [f.name for f in folders.all_runs(root=tmp_path)] == ["b", "a"]
