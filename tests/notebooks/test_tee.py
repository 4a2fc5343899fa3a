"""What a run says survives the loss of the terminal and of the disk."""

import errno
import os
import subprocess
import sys

import pytest

from segbook.notebooks.tee import Tee
from segbook.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path):
    return RunFolder.create("r", root=tmp_path)


def test_text_goes_to_the_terminal_and_to_the_log(run, capsys):
    with Tee(run) as tee:
        tee.write("half a ")
        tee.line("line \u03c0")
    assert capsys.readouterr().out == "half a line \u03c0\n"
    assert (run.path / "log.txt").read_text() == "half a line \u03c0\n"


def test_a_full_disk_does_not_end_the_run(run, capsys):
    with pytest.raises(OSError, match="space") as caught, open("/dev/full", "w") as file:
        file.write("x")
    assert caught.value.errno == errno.ENOSPC
    with Tee(run) as tee, open("/dev/full", "ab", buffering=0) as full:
        os.dup2(full.fileno(), tee.log.fileno())
        tee.line("seen")
    assert capsys.readouterr().out == "seen\n"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_reader_that_goes_away_does_not_end_the_run(run, encoding):
    code = (
        "import sys; from segbook.notebooks.tee import Tee\n"
        "from segbook.runs.folder import RunFolder\n"
        "with Tee(RunFolder(sys.argv[1])) as tee:\n"
        "    for _ in range(3): tee.line('\u03c0' * 9)\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], stdout=writer, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": encoding},
        check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len((run.path / "log.txt").read_text(encoding="utf-8").splitlines()) == 3
