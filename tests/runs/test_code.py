"""The user's own code in a run's folder: what is copied, whose it is, and what is refused."""

import json
import os
from pathlib import Path

import pytest

from segbook.runs import code
from segbook.runs.folder import RunFolder
from segkit import outside


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "_trusted", set())
    (tmp_path / "parts.py").write_text("VALUE = 1\n")
    path = tmp_path / "my_net.py"
    path.write_text("import parts\ndef build(): return parts.VALUE\n")
    return path


@pytest.fixture
def fields(net):
    return {"name": "x", "model": f"{net}:build", "backbone": "", "loss": "dice", "data": "camvid"}


@pytest.fixture
def folder(fields):
    folder = RunFolder.create("x", kind="train", recipe=fields, step=3)
    assert code.keep(folder, code.named(fields)) == []
    return folder


def stranger(monkeypatch, tmp_path):
    """Another user, or this one on another machine."""
    monkeypatch.setattr(code, "_trusted", set())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))


def test_the_copy_is_what_was_kept_and_is_executed(folder, fields, net):
    entry = folder.read()["code"]["model"]
    assert entry["name"] == "my_net.py:build"
    assert entry["files"]["parts.py"] == outside.sha256(b"VALUE = 1\n")
    (net.parent / "parts.py").write_text("VALUE = 2\n")
    own = code.own(folder, fields)
    assert {key: own[key] for key in fields if key != "model"} == {
        key: fields[key] for key in fields if key != "model"
    }
    assert Path(own["model"]).is_relative_to(folder.path / "code")
    assert outside.find(own["model"])() == 1
    assert outside.find(fields["model"])() == 2
    assert code.shown(folder, fields)["model"] == f"my_net.py:build {entry['sha256'][:7]}"


def test_one_files_sha256_is_that_of_the_file(folder, net):
    (net.parent / "alone.py").write_text("x = 1\n")
    code.keep(folder, {"loss": f"{net.parent}/alone.py:x"})
    assert folder.read()["code"]["loss"]["sha256"] == outside.sha256(b"x = 1\n")
    assert set(folder.read()["code"]) == {"model", "loss"}


def test_changed_code_is_said_and_both_are_kept(folder, fields, net):
    before = folder.read()["code"]["model"]
    net.write_text(net.read_text() + "# more\n")
    [line] = code.keep(folder, code.named(fields))
    now = folder.read()["code"]["model"]
    assert f"has changed since step 3: its sha256 is {now['sha256'][:12]}" in line
    assert f"was {before['sha256'][:12]}" in line
    assert folder.read()["code_before"] == [{"field": "model", "until": 3, **before}]
    assert len(os.listdir(folder.path / "code")) == 2
    assert code.keep(folder, code.named(fields)) == []


def test_a_file_that_is_gone_is_taken_from_the_run(folder, fields, net):
    assert code.available(folder, fields) == fields
    net.unlink()
    left = code.available(folder, fields)
    assert left == code.own(folder, fields)
    assert code.keep(folder, code.named(left)) == [
        "my_net.py:build is gone: the run goes on with its own copy"
    ]
    assert code.own(folder, left)["model"] == left["model"]


@pytest.mark.parametrize("use", [code.own, code.available])
def test_a_stranger_has_to_say_that_he_trusts_it(folder, fields, monkeypatch, tmp_path, use):
    stranger(monkeypatch, tmp_path)
    monkeypatch.setattr(outside, "path_of", lambda name: pytest.fail("looked at"))
    with pytest.raises(
        ValueError, match="would execute my_net.py:build, .*, then say --trust"
    ) as e:
        use(folder, fields)
    assert f"read {folder.path}/code, then" in str(e.value)
    monkeypatch.undo()
    stranger(monkeypatch, tmp_path)
    code.trust(folder)
    monkeypatch.setattr(code, "_trusted", set())  # a new process
    assert use(folder, fields)


def test_known_code_by_another_name_is_not_trusted(folder, fields):
    other = {**fields, "model": fields["model"].replace(":build", ":parts")}
    with pytest.raises(ValueError, match="would execute my_net.py:parts"):
        code.own(folder, other)
    with pytest.raises(ValueError, match="names code outside of segkit, os:system, and holds no"):
        code.own(folder, {**fields, "loss": "os:system"})


def test_a_home_that_cannot_be_written_costs_a_word_later(fields, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    folder = RunFolder.create("x", kind="train", recipe=fields)
    code.keep(folder, code.named(fields))
    assert code.own(folder, fields)
    monkeypatch.setattr(code, "_trusted", set())
    with pytest.raises(ValueError, match="--trust"):
        code.own(folder, fields)


def test_a_copy_that_was_changed_is_refused(folder, fields):
    copy = Path(code.own(folder, fields)["model"].removesuffix(":build"))
    copy.with_name("parts.py").write_text("VALUE = 3\n")
    with pytest.raises(ValueError, match="is not the code with which run x-.* was trained"):
        code.own(folder, fields)


def test_a_copy_with_more_or_less_in_it_is_refused(folder, fields):
    copy = Path(code.own(folder, fields)["model"].removesuffix(":build"))
    for extra in ("__pycache__/parts.cpython-311.pyc", "wave.py"):
        path = copy.parent / extra
        path.parent.mkdir(exist_ok=True)
        path.touch()
        with pytest.raises(ValueError, match=f"is not what run.json of .*{path.name} is there too"):
            code.own(folder, fields)
        path.unlink()
    parts = copy.with_name("parts.py")
    parts.rename(folder.path / "parts.py")
    with pytest.raises(ValueError, match="parts.py is there too, or missing"):
        code.own(folder, fields)
    parts.symlink_to(folder.path / "parts.py")
    with pytest.raises(ValueError, match="is a symbolic link"):
        code.own(folder, fields)


@pytest.mark.parametrize("main", ["site-packages/evil.py", "../x.py", "parts.py"])
def test_a_record_that_names_another_file_is_refused(folder, fields, main):
    described = json.loads((folder.path / "run.json").read_text())
    described["code"]["model"]["main"] = main
    (folder.path / "run.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match="is there too, or missing|is not the code with which"):
        code.own(folder, fields)


def test_an_installed_package_is_executed_where_it_is_the_same(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "seglib"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "core.py").write_text("def made(): return 7\n")
    (package / "net.py").write_text("from .core import made\ndef build(): return made()\n")
    monkeypatch.syspath_prepend(str(package.parent))
    fields = {"name": "x", "model": "seglib.net:build"}
    folder = RunFolder.create("x", kind="train", recipe=fields)
    code.keep(folder, code.named(fields))
    assert outside.find(code.own(folder, fields)["model"])() == 7
    (package / "net.py").write_text("def build(): return 8\n")
    with pytest.raises(ValueError, match="is not the code with which run"):
        code.own(folder, fields)


@pytest.mark.parametrize("damage", ["byte", "fifo", "cut"])
def test_a_damaged_ledger_forgets_at_most_its_damage(folder, fields, monkeypatch, damage):
    ledger = code._ledger()
    if damage == "fifo":
        ledger.unlink()
        os.mkfifo(ledger)
    else:
        content = ledger.read_bytes()
        ledger.write_bytes(b"\xff\n" + content if damage == "byte" else content + b"abc")
    code._remember([word := "f" * 64])
    monkeypatch.setattr(code, "_trusted", set())
    assert code._is_trusted(word) is (damage != "fifo")
    if damage == "byte":
        assert code.own(folder, fields)


def test_nothing_is_copied_through_a_link(fields, tmp_path):
    folder = RunFolder.create("x", kind="train", recipe=fields)
    (tmp_path / "theirs").mkdir()
    (folder.path / "code").symlink_to(tmp_path / "theirs")
    with pytest.raises(ValueError, match="is a symbolic link"):
        code.keep(folder, code.named(fields))
    assert not os.listdir(tmp_path / "theirs")


def test_a_record_that_leads_out_of_the_folder_is_damage(folder):
    described = json.loads((folder.path / "run.json").read_text())
    described["code"]["model"]["sha256"] = "../../.."
    (folder.path / "run.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"run.json is damaged: .*code"):
        folder.read()
