"""Runs under abuse: killed, interrupted, stubborn, two at once, on a full disk, cut off."""

import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from segbook.runs.folder import RunFolder, all_runs, sha256
from segbook.runs.lock import owner_of
from segbook.runs.process_family import family

COUNT = """
import os, pathlib, subprocess, time
folder = pathlib.Path(os.environ["SEGBOOK_RUN_FOLDER"])
done = folder / "checkpoints" / "done"
begin = int(done.read_text()) if done.exists() else 0
print("begins at", begin, flush=True)
child = subprocess.Popen(["sleep", "99"], start_new_session=True)  # as torchrun's workers are
for step in range(begin + 1, 31 if begin else 9999):
    done.write_text(str(step))
    print("step", step, flush=True)
    time.sleep(0.01 if begin else 0.1)
print("ends at", step)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("step 1", flush=True)
time.sleep(99)
"""
pytestmark = pytest.mark.slow

FILL = """
import os
from segbook.runs.folder import RunFolder
run = RunFolder(os.environ["SEGBOOK_RUN_FOLDER"])
print("step 1")
for step in range(100000):
    run.append_metrics(step=step, text="x" * 1000)
"""


@pytest.fixture
def start(tmp_path):
    """Starts ``segbook`` in a process of its own, as a terminal would."""
    started, temporary = [], tmp_path / "temporary"
    temporary.mkdir()

    def run(*arguments, source=None, runs=tmp_path / "runs"):
        if source:
            nb = new_notebook(cells=[new_code_cell(source), new_code_cell("print('next')")])
            nbformat.write(nb, tmp_path / "count.ipynb")
        environment = {
            **os.environ,
            "SEGBOOK_RUNS": str(runs),
            "TMPDIR": str(temporary),
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "segbook", *arguments],
            cwd=tmp_path, env=environment, text=True, process_group=0,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for(process, text):
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"the run ended without saying {text!r}")


def the_run(tmp_path):
    [run] = all_runs(root=tmp_path / "runs")
    return run


def nobody_is_left(token):
    deadline = time.monotonic() + 10
    while family(token):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_kill_9_then_busy_then_resume(start, tmp_path):
    process = start("run", "count.ipynb", "--no-html", source=COUNT)
    wait_for(process, "step 5")
    run = the_run(tmp_path)
    token = owner_of(run.path)["token"]
    assert len(family(token)) >= 2  # the kernel and its child
    other = start("resume", run.name)
    text, _ = other.communicate()
    assert other.returncode == 4
    assert f"process {process.pid}" in text
    assert run.read()["status"] == "running"

    process.kill()
    process.wait()
    assert nobody_is_left(token)
    deadline = time.monotonic() + 10
    while list((tmp_path / "temporary").glob("segbook-kernel-*")):
        assert time.monotonic() < deadline, "the kernel's own folder is left"
        time.sleep(0.05)
    assert run.read()["status"] == "interrupted"
    nbformat.read(run.path / "notebook.ipynb", as_version=4)  # whole

    again = start("resume", "count", "--no-html")
    text, _ = again.communicate()
    assert again.returncode == 0, text
    begins = int(re.search(r"begins at (\d+)", text)[1])
    assert begins >= 5
    assert "ends at 30" in text
    assert run.read()["status"] == "finished"
    assert (run.path / "notebook.1.ipynb").exists()
    text, _ = start("resume", "count").communicate()
    assert "is finished" in text


def test_ctrl_c_stops_it_with_its_output_saved(start, tmp_path):
    process = start("run", "count.ipynb", "--no-html", source=COUNT)
    wait_for(process, "step 3")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    text, _ = process.communicate()
    run = the_run(tmp_path)
    assert process.returncode == 3, text
    assert run.read()["status"] == "stopped"
    assert f"segbook resume {run.name}" in text
    saved = nbformat.read(run.path / "notebook.ipynb", as_version=4)
    assert "step 3" in saved.cells[0].outputs[0].text
    assert saved.cells[0].outputs[-1].ename == "KeyboardInterrupt"
    assert saved.cells[1].outputs == []
    assert nobody_is_left(owner_of(run.path)["token"])


def test_a_cell_that_does_not_listen_is_killed_by_the_second_signal(start, tmp_path):
    process = start("run", "count.ipynb", "--no-html", source=STUBBORN)
    wait_for(process, "step 1")
    run = the_run(tmp_path)
    os.kill(process.pid, signal.SIGTERM)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate()
    assert process.returncode == 3
    assert run.read()["status"] == "stopped"
    assert nobody_is_left(owner_of(run.path)["token"])


@pytest.mark.full
def test_a_full_disk_is_said_and_loses_nothing(start, small_disk):
    process = start("run", "count.ipynb", "--no-html", source=FILL, runs=small_disk)
    text, _ = process.communicate()
    [run] = all_runs(root=small_disk)
    described = run.read()
    assert process.returncode == 1
    assert described["status"] == "failed"
    assert "the disk is full" in described["error"]["message"]
    assert "the disk is full" in text
    records = run.metrics()
    assert [r["step"] for r in records] == list(range(len(records)))
    assert len(records) > 500
    nbformat.read(run.path / "notebook.ipynb", as_version=4)

    (run.path / "metrics.jsonl").unlink()  # room again; the cell would only fill it once more
    text = nbformat.writes(new_notebook(cells=[new_code_cell("print('room')")]))
    (run.path / "source.ipynb").write_text(text)
    process = start("resume", run.name, "--no-html", runs=small_disk)
    assert "is not the notebook with which the run was made" in process.communicate()[0]
    assert process.returncode == 2
    run.update(source_sha256=sha256(text))
    process = start("resume", run.name, "--no-html", runs=small_disk)
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert RunFolder(run.path).read()["status"] == "finished"
