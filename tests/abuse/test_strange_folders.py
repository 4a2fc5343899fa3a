"""Run folders that came from somebody else, or broke: read, listed and owned without harm.

What is odd is made here in every kind that a file system has, and every field of a record is given
values of every type.
"""

import errno
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import typing
from pathlib import Path

import nbformat
import pytest
import torch
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_notebook

from segbook import cli, figures
from segbook.runs import files, listing, record
from segbook.runs.folder import DamagedRunError, RunFolder, all_runs, find, sha256
from segbook.runs.lock import owner_of
from segkit.engine import load_checkpoint, save_checkpoint

DEEP = "[" * 100_000 + "]" * 100_000
HUGE = "1" + "0" * 5000
WRITTEN = [
    "run.json", "metrics.jsonl", "log.txt", ".lock", ".reserve", "doctor.json", "source.ipynb",
    "notebook.ipynb", "notebook.2.ipynb", "notebook.html", "steps.jsonl", ".run.json.7.tmp",
    "checkpoints", "checkpoints/last.safetensors", "checkpoints/previous.safetensors",
    "checkpoints/best.safetensors", "checkpoints/.last.safetensors.tmp",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_hanging():
    """A FIFO that is waited for ends the test, not the suite."""

    def ended(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, ended)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def victim(tmp_path):
    """A file of the user's, outside of the runs."""
    path = tmp_path / "home" / ".bashrc"
    path.parent.mkdir()
    path.write_text("alias ll='ls -l'\n")
    return path


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def good(root):
    return RunFolder.create("good", root=root, kind="train", steps=5)


@pytest.fixture
def segbook(root, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGBOOK_RUNS", str(root))
    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield lambda *arguments: CliRunner().invoke(cli.main, list(arguments))
    for number, handler in before.items():
        signal.signal(number, handler)


def link(path, victim):
    path.symlink_to(victim)


def dangling_link(path, victim):
    path.symlink_to(victim.with_name("made.by.a.run"))


def relative_link(path, victim):
    path.symlink_to(os.path.relpath(victim, path.parent))


def link_to_a_folder(path, victim):
    path.symlink_to(victim.parent)


def loop(path, victim):
    path.symlink_to(path.name)


def fifo(path, victim):
    os.mkfifo(path)


def folder(path, victim):
    path.mkdir()


def device(path, victim):
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        path.symlink_to("/dev/zero")


def a_socket(path, victim):
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's name has 108 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


LINKS = [link, dangling_link, relative_link, link_to_a_folder, loop]
ODD = [*LINKS, fifo, folder, device, a_socket]


def put(path, make, victim):
    """Something odd in a file's place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    make(path, victim)


def state_of(folder):
    """All that a folder holds, to see that nothing was written."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in sorted(folder.rglob("*"))
    }


# Reading


@pytest.mark.parametrize("make", ODD)
def test_a_record_of_another_kind_is_a_damaged_row(good, root, make, victim, segbook):
    bad = RunFolder.create("bad", root=root)
    put(bad.path / "run.json", make, victim)
    rows = {row.name: row for row in listing.rows(root)}
    assert rows[good.name].status == "stopped"
    assert rows[bad.name].status == "damaged"
    assert "run.json" in rows[bad.name].damage
    assert rows[bad.name].damage in segbook("list").output
    shown = segbook("show", bad.name)
    assert (shown.exit_code, shown.output.count("\n")) == (2, 1), shown.output
    assert segbook("show", good.name).exit_code == 0


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0" * 100, b"{", b"null", b"3", b'"text"', b"[]", b"\xff\xfe{}", b"\xef\xbb\xbf{}",
        b"{}", b'{"status": null}', DEEP.encode(), b'{"recipe": ' + DEEP.encode() + b"}",
        b'{"status": "finished", "x": ' + HUGE.encode() + b"}",
        b'{"status": "finished", "step": 1' + b"0" * 30 + b"}",
        b'{"status": "finished", "step": "nine"}',
        b'{"status": "finished", "step": NaN}',
        b'{"status": "finished", "seconds": 1e999}',
        b'{"status": "finished", "result": {"miou": "good"}}',
        b'{"status": "finished", "result": {"miou": 52.3}}',
        b'{"status": "finished", "result": {"test": {"miou": []}}}',
        b'{"status": "done\\u001b[2J"}',
        b'{"status": "finished", "a": ' + b"[" * 60 + b"]" * 60 + b"}",
        b'{"status": "finished", "parameters": ' + b'{"a":' * 400 + b"1" + b"}" * 401,
        b'{"status": "finished", "a": "' + b"x" * files.LARGEST + b'"}',
    ],
    ids=range(25),
)  # fmt: skip
def test_a_damaged_record_hides_no_other_run(good, root, content, segbook):
    bad = RunFolder.create("bad", root=root)
    (bad.path / "run.json").write_bytes(content)
    rows = {row.name: row for row in listing.rows(root)}
    assert rows[bad.name].status == "damaged"
    assert rows[bad.name].damage
    done = segbook("list")
    assert done.exit_code == 0
    assert len(done.output.splitlines()) == 3
    assert good.name in done.output
    assert "\x1b" not in done.output
    for command in (("show", bad.name), ("resume", bad.name), ("report", bad.name, "--out", "o")):
        done = segbook(*command)
        if content not in (b"{}", b'{"status": null}'):  # shown as they are
            assert done.exit_code == 2, done.output
            assert "run.json is damaged" in done.output
        assert isinstance(done.exception, SystemExit | None)
    assert segbook("show", "good").exit_code == 0  # by the start of its name
    assert json.loads(segbook("list", "--json").output)


def leaves(shape, prefix=()):
    """The path of every field that a record's schema has, nested ones as well."""
    for name, kind in typing.get_type_hints(shape).items():
        yield (*prefix, name)
        for part in (kind, *typing.get_args(kind)):
            if typing.is_typeddict(part):
                yield from leaves(part, (*prefix, name))


VALUES = [
    0, -1, 1, 0.5, 1e300, float("inf"), float("nan"), 10**30, True, "", "x", "\ud800", "\x1b]0;t\a",
    [], [1], ["x"], [None], [[]], {}, {"x": 1}, {"x": {"x": [None]}}, {"miou": 0.5}, None,
]  # fmt: skip


@pytest.mark.parametrize("path", [*leaves(record.RunRecord)], ids=".".join)
def test_a_field_of_any_type_is_shown_or_is_damage(good, path):
    for value in VALUES:
        content = {"status": "failed", "kind": "train", "created": "2026-01-01", "steps": 3}
        inner = content
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
        (good.path / "run.json").write_text(json.dumps(content))
        row = listing.row(good)
        assert row.status in ("damaged", content["status"])
        assert len(listing.table([row])) < 1000
        try:
            described = good.read()
        except DamagedRunError:
            continue
        listing.page(good)
        if described.get("status"):
            listing.ending(good, described)
            listing.advice(good, described)


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("name", ["metrics.jsonl", ".lock"])
def test_other_files_of_another_kind_neither_hang_nor_hide(good, name, make, victim, segbook):
    good.update(status="running")
    put(good.path / name, make, victim)
    for arguments in (["list"], ["show", good.name], ["list", "--json"]):
        done = segbook(*arguments)
        assert isinstance(done.exception, SystemExit | None), done.exception
    assert good.name in segbook("list").output
    assert owner_of(good.path) == {}


@pytest.mark.parametrize(
    "content", [b"\xff", b"[]", DEEP.encode(), b'{"pid": "1; rm -rf ~"}', b'{"pid": 1e9}', b"{"]
)
def test_a_damaged_lock_names_nobody(good, content):
    (good.path / ".lock").write_bytes(content)
    assert owner_of(good.path) == {}
    assert not good.is_locked()
    with good.own():
        assert owner_of(good.path)["pid"] == os.getpid()


ROWS = [
    '{"step": "9"}', '{"step": null}', '{"step": -1}', '{"step": 1.5}', '{"step": true}', "7", "[]",
    "null", '"x"', '{"loss": 1}', DEEP, '{"step": 1, "loss": "x"}', '{"step": 1, "val_miou": 60}',
    '{"step": 1, "parts": [1]}', '{"step": 1, "parts": {"a": "x"}}', '{"step": ' + HUGE + "}",
    '{"step": 1, "policy": 3}', '{"step": 1e999}', "\0" * 50, "\udcff\udcfe",
]  # fmt: skip


def test_mistyped_metrics_are_left_out(good):
    lines = [*ROWS, '{"step": 1, "loss": NaN, "more": ' + HUGE + "}", '{"step": 2, "loss": 0.5']
    text = "\n".join([*lines, '{"step": 2, "loss": 0.5, "val_miou": 0.25, "lr": 0.1}', *ROWS[:9]])
    (good.path / "metrics.jsonl").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert [found["step"] for found in good.metrics()] == [1, 2]
    figures.curves(good.metrics())
    assert (listing.row(good).step, listing.row(good).miou) == (2, 0.25)
    good.forget_after(1)
    assert [found["step"] for found in good.metrics()] == [1]


def test_a_sparse_file_is_not_read_whole(good):
    (good.path / "metrics.jsonl").touch()
    for name in ("run.json", "metrics.jsonl"):
        os.truncate(good.path / name, 2**40)
    assert "larger than 16 MiB" in listing.row(good).damage
    with pytest.raises(ValueError, match="larger than 4 GiB"):
        good.metrics()


def test_what_lies_among_the_runs(good, root, tmp_path, segbook):
    (root / "a file").write_text("")
    (root / "no run").mkdir()
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / "new\nline\x1b[2J").mkdir()
    (root / "new\nline\x1b[2J" / "run.json").write_text("{")
    (root / os.fsdecode(b"bytes\xff")).mkdir()
    (root / os.fsdecode(b"bytes\xff") / "run.json").write_text("{")
    elsewhere = RunFolder.create("elsewhere", root=tmp_path / "disk", kind="train")
    (root / "linked").symlink_to(elsewhere.path)
    rows = {row.name: row for row in listing.rows(root)}
    assert set(rows) == {
        good.name, "loop", "new\nline\x1b[2J", os.fsdecode(b"bytes\xff"), "linked",
    }  # fmt: skip
    assert rows["linked"].status == "stopped"
    assert "symbolic links" in rows["loop"].damage
    done = segbook("list")
    assert len(done.output.splitlines()) == 6
    assert "\x1b" not in done.output
    assert segbook("show", "linked").exit_code == 0
    with find("link", root=root).own():  # many keep their runs on another disk
        assert elsewhere.is_locked()


def test_a_folder_that_goes_while_it_is_listed(good, root, monkeypatch):
    gone = [RunFolder.create(name, root=root) for name in ("a", "b")]
    real = RunFolder.__init__

    def slow(self, path):
        if os.path.basename(path) == gone[0].name:
            shutil.rmtree(path)
        real(self, path)
        if self.name == gone[1].name:
            shutil.rmtree(path)

    monkeypatch.setattr(RunFolder, "__init__", slow)
    assert {row.name: row.status for row in listing.rows(root)} == {
        good.name: "stopped", gone[1].name: "damaged",
    }  # fmt: skip


def test_closed_folders_and_files():
    # Closed to others are pytest's own folders, and maybe TMPDIR.
    with tempfile.TemporaryDirectory(dir=None if os.geteuid() else "/tmp") as root:
        os.chmod(root, 0o755)
        good, closed, mute = (
            RunFolder.create(name, root=root) for name in ("good", "shut", "mute")
        )
        (mute.path / "run.json").chmod(0)
        closed.path.chmod(0)
        user = os.geteuid()
        try:
            if user == 0:  # who may read everything
                os.seteuid(65534)
            rows = {row.name: row for row in listing.rows(Path(root))}
            assert rows[good.name].status == "stopped"
            for folder in (closed, mute):
                assert rows[folder.name].damage == "run.json: Permission denied"
            assert user or "root, who is not you" in listing.page(good)
        finally:
            os.seteuid(user)
            closed.path.chmod(0o700)


def test_finding_a_run_reads_no_other(good, root, monkeypatch):
    for number in range(3):
        (root / f"goo{number}").mkdir()
        (root / f"goo{number}" / "run.json").write_text(DEEP)
    monkeypatch.setattr(files, "read_text", lambda *_, **__: pytest.fail("a run was read"))
    for name in (good.name, good.name[:-1], "good", str(good.path)):
        assert find(name, root=root).path == good.path
    with pytest.raises(ValueError, match="fits several"):
        find("goo", root=root)
    for name in ("../runs/" + good.name, "x" * 5000, "a/../" + good.name):
        with pytest.raises(ValueError, match="no run"):
            find(name, root=root)


# Writing


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("name", WRITTEN)
def test_a_folder_that_would_be_written_through_is_refused(good, name, make, victim, segbook):
    if name == "checkpoints" and make is folder:
        return
    path = good.path / name
    put(path, make, victim)
    before, home = state_of(good.path), state_of(victim.parent)
    with pytest.raises(ValueError, match="left as it is") as refused, good.own():
        pass
    assert str(path) in str(refused.value)
    assert "something else" not in str(refused.value)
    done = segbook("resume", good.name)
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert state_of(good.path) == before
    assert state_of(victim.parent) == home
    assert not os.path.lexists(victim.with_name("made.by.a.run"))


@pytest.mark.parametrize("name", [".lock", "log.txt", "metrics.jsonl"])
def test_what_is_changed_in_place_has_no_second_name(good, name, victim):
    put(good.path / name, lambda path, _: os.link(victim, path), victim)
    with pytest.raises(ValueError, match="hard link"), good.own():
        pass
    with pytest.raises(ValueError, match="hard link"):
        {"log.txt": good.log, "metrics.jsonl": good.append_metrics, ".lock": own}[name](
            *{"log.txt": ["x"], ".lock": [good]}.get(name, [])
        )
    assert victim.read_text() == "alias ll='ls -l'\n"


def own(run):
    with run.own():
        pass


def test_what_a_run_does_not_write_may_be_a_link(good, victim):
    (good.path / "data").symlink_to(victim.parent)
    (good.path / "checkpoints" / "epoch3.safetensors").symlink_to(victim)
    for path in (good.path / "run.json", good.path / ".reserve"):  # replaced, never opened
        os.link(path, victim.with_name(path.name))
    old = (good.path / "run.json").read_bytes()
    with good.own():
        good.update(status="failed")
    assert victim.with_name("run.json").read_bytes() == old


@pytest.mark.parametrize("make", [link, dangling_link, fifo, a_socket, device])
def test_nothing_is_written_through_a_link_without_owning_it(good, make, victim):
    home = state_of(victim.parent)
    for name in ("log.txt", "metrics.jsonl", "doctor.json"):
        put(good.path / name, make, victim)
    with pytest.raises(ValueError, match="not a regular file"):
        good.log("x")
    with pytest.raises(ValueError, match="not a regular file"):
        good.append_metrics(step=1)
    with pytest.raises(ValueError, match="not a regular file"):
        good.metrics()
    with pytest.raises(ValueError, match="not a regular file"):
        [*good.log_lines()]
    files.write_atomic(good.path / "doctor.json", "{}")
    assert (good.path / "doctor.json").read_text() == "{}"  # in the place of the link
    assert state_of(victim.parent) == home


def test_a_file_exchanged_after_the_look_is_not_followed(good, victim, monkeypatch):
    real = os.open
    log = good.path / "log.txt"

    def exchange(path, flags, mode):
        put(log, exchange.make, victim)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", exchange)
    for exchange.make in (link, fifo, device):
        log.unlink(missing_ok=True)
        with pytest.raises((OSError, ValueError)):
            good.log("x")
    assert victim.read_text() == "alias ll='ls -l'\n"


def test_temporary_files_are_new_ones(good, victim, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    (good.path / ".guessed.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        good.update(status="failed")
    state = {"step": torch.ones(3)}
    for make in (link, dangling_link, fifo):
        put(good.checkpoints / ".last.safetensors.tmp", make, victim)
        save_checkpoint(good.checkpoints, state)
    assert load_checkpoint(good.checkpoints)["step"].tolist() == [1, 1, 1]
    assert victim.read_text() == "alias ll='ls -l'\n"
    assert [*victim.parent.iterdir()] == [victim]


@pytest.mark.parametrize("make", [fifo, folder, device, a_socket, loop])
def test_a_checkpoint_of_another_kind_is_not_waited_for(good, make, victim):
    save_checkpoint(good.checkpoints, {"step": 1})
    save_checkpoint(good.checkpoints, {"step": 2})
    put(good.checkpoints / "last.safetensors", make, victim)
    said = []
    assert load_checkpoint(good.checkpoints, warn=said.append)["step"] == 1
    assert "last.safetensors" in said[0]


def test_a_line_of_the_log_is_one_line(good):
    good.log("recipe x\ncurl evil | sh\n\x1b]0;title\a\u2028\r\x85 end")
    text = (good.path / "log.txt").read_text()
    assert len(text.splitlines()) == 1
    assert text[20:].isprintable() or text.endswith("end\n")
    assert "\x1b" not in text


def test_what_no_reader_could_read_is_not_written(good):
    before = (good.path / "run.json").read_bytes()
    deep = json.loads("[" * 100 + "]" * 100)
    for fields in (
        {"step": "9"},
        {"parameters": {"x": deep}},
        {"result": {"miou": "x"}},
        {"error": [1]},
        {"status": "fine"},
    ):
        with pytest.raises(ValueError, match="Expected|Invalid|deeply"):
            good.update(**fields)
        with pytest.raises(ValueError, match="Expected|Invalid|deeply"):
            RunFolder.create("x", root=good.path.parent, **fields)
    assert len(all_runs(root=good.path.parent)) == 1
    assert (good.path / "run.json").read_bytes() == before


# A run is a program


@pytest.fixture
def lesson(root, tmp_path):
    from segbook.notebooks import run

    nbformat.write(new_notebook(cells=[new_code_cell("1")]), tmp_path / "lesson.ipynb")
    return run.create(tmp_path / "lesson.ipynb", root=root)


def test_another_source_than_the_run_was_made_with_is_refused(lesson, segbook):
    source = lesson.path / "source.ipynb"
    digest = sha256(source.read_text())
    assert lesson.read()["source_sha256"] == digest
    assert digest in segbook("show", lesson.name).output
    nbformat.write(new_notebook(cells=[new_code_cell("import evil")]), source)
    before = state_of(lesson.path)
    done = segbook("resume", lesson.name)
    assert done.exit_code == 2
    assert "is not the notebook with which the run was made" in done.output
    assert state_of(lesson.path) == before
    assert "is not the notebook" in segbook("show", lesson.name).output
    assert f"segbook run {source}" in done.output


def test_an_old_run_that_recorded_no_source_goes_on(lesson):
    lesson.update(source_sha256=None)
    nbformat.write(new_notebook(), lesson.path / "source.ipynb")
    assert "cells" in lesson.source()


def test_the_help_says_that_a_run_is_a_program(segbook):
    assert "Resume only runs that you made" in segbook("resume", "--help").output


def test_a_record_without_what_it_needs_is_refused_in_a_sentence(lesson, segbook):
    lesson.update(cwd=None)
    done = segbook("resume", lesson.name)
    assert (done.exit_code, done.output.count("\n")) == (2, 3), done.output
    assert "does not say its cwd" in done.output


def test_a_source_that_is_no_text_is_named(lesson, segbook):
    (lesson.path / "source.ipynb").write_bytes(b"\xff\xfe")
    done = segbook("resume", lesson.name)
    assert done.exit_code == 2
    assert f"{lesson.path / 'source.ipynb'} is not UTF-8" in done.output


def test_no_run_is_told_to_resume_that_cannot_be(lesson, segbook):
    lesson.update(kind="other", status="failed")
    done = segbook("resume", lesson.name)
    assert done.exit_code == 2
    assert "go on with it in Python" in done.output
    assert "segbook resume" not in done.output
    assert "segbook resume" not in segbook("show", lesson.name).output


def test_an_attempt_that_cannot_begin_raises_the_cause(lesson, segbook, monkeypatch):
    from segbook.runs.attempt import attempt
    from segbook.runs.stopping import Stopper

    lesson.update(attempts=2**53)
    done = segbook("resume", lesson.name)
    assert done.exit_code == 2
    assert "$.attempts" in done.output
    lesson.update(attempts=1)

    def full(text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lesson, "log", full)
    stopper = Stopper(lambda: None, lambda: None, limit=None)
    with pytest.raises(OSError, match="No space left"), attempt(lesson, stopper):
        pass
    assert lesson.read()["status"] == "interrupted"


TRAP = "import pathlib; pathlib.Path('caught.txt').write_text(__file__); raise SystemExit(9)"


@pytest.fixture
def traps(tmp_path):
    """Modules beside the data, named like ours and like others that a child imports."""
    here = tmp_path / "data"
    for name in ("torch", "struct", "multiprocessing", "numpy", "segkit", "segbook"):
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text(TRAP)
    return here


def python(code, *arguments, cwd):
    """Runs a program that lies elsewhere, as ``bin/segbook`` does, in a folder."""
    program = cwd.with_name("program.py")
    program.write_text(code)
    return subprocess.run(
        [sys.executable, str(program), *arguments], cwd=cwd, capture_output=True, text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "SEGBOOK_RUNS": str(cwd.with_name("runs")),
        },
        check=False,
    )  # fmt: skip


SPAWN = """
from segkit.data import sequential
from segkit.data.streets import SyntheticStreets
from segkit.transforms import evaluate

if __name__ == "__main__":
    data = SyntheticStreets("val").with_transform(evaluate())
    next(sequential(data, 1, workers=1, context="spawn"))
"""


@pytest.mark.full
def test_spawned_loaders_import_nothing_that_lies_beside_the_data(traps):
    done = python(SPAWN, cwd=traps)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (traps / "caught.txt").exists()


@pytest.mark.full
def test_several_processes_import_nothing_that_lies_beside_the_data(good, traps, monkeypatch):
    from torch.distributed.launcher import api

    from segbook.recipes import get
    from segbook.runs.stopping import Stopper
    from segbook.training.processes import train_in

    started = []
    monkeypatch.setattr(
        api, "elastic_launch", lambda _, program: lambda *words: started.append((program, words))
    )
    recipe = get("unet_synthetic")
    train_in(2, good, recipe, Stopper(lambda: None, lambda: None, limit=None))
    [(program, words)] = started
    done = subprocess.run(
        [program, *words], cwd=traps, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    assert "KeyError: 'RANK'" in done.stderr  # it came so far, and torch's launcher would give one
    assert not (traps / "caught.txt").exists()
