"""The lock of a run folder between machines."""

import errno
import fcntl
import json
import os
import re
import socket

import pytest

from segbook.runs import lock
from segbook.runs.folder import RunFolder, named
from segbook.runs.lock import RunBusyError


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create("run", root=tmp_path, status="running")


@pytest.mark.parametrize(("host", "there"), [("gpu03", "` there"), (socket.gethostname(), "`,")])
def test_a_writer_is_known_by_its_lock_not_by_a_process_number(folder, host, there):
    owner = {"pid": 2**22 + 1, "host": host, "since": lock.now()}  # nobody's number here
    (folder.path / ".lock").write_text(json.dumps(owner))
    assert folder.read()["status"] == "interrupted"
    with open(folder.path / ".lock") as other:  # as on a machine that shares the file system
        fcntl.flock(other, fcntl.LOCK_EX)
        assert folder.read()["status"] == "running"
        with (
            pytest.raises(RunBusyError, match=f"on {host} since .*kill {owner['pid']}{there}"),
            folder.own(),
        ):
            pass
    (folder.path / ".lock").write_text(json.dumps({**owner, "pid": os.getpid()}))
    assert folder.read()["status"] == "interrupted"  # our own number, of another machine


def test_a_file_system_without_locks_is_refused_in_a_sentence(folder, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(ValueError, match="has no file locks.*SEGBOOK_RUNS"), folder.own():
        pass


def test_a_run_is_found_by_the_very_name_that_it_was_given(tmp_path):
    made = [RunFolder.create(n, root=tmp_path).name for n in ("seed1", "seed1", "seed10", "a b")]
    assert [one.name for one in named("seed1", root=tmp_path)] == made[:2]
    assert [one.name for one in named("a b", root=tmp_path)] == made[3:]
    assert named("seed", root=tmp_path) == []
    assert re.fullmatch(r"a_b-\d{8}-\d{6}", made[3])
