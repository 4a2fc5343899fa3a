"""Where new run folders go."""

from pathlib import Path

import pytest

from segbook.runs.folder import RunFolder, runs_root


@pytest.mark.parametrize(
    ("value", "root"),
    [
        ("", "runs"),
        ("there", "there"),
        ("~/my runs", "HOME/my runs"),
        ("~", "HOME"),
        ("~no/x", "~no/x"),
    ],
)
def test_the_variable_names_the_folder(monkeypatch, tmp_path, value, root):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SEGBOOK_RUNS", value)
    assert runs_root() == Path(root.replace("HOME", str(tmp_path)))
    monkeypatch.delenv("SEGBOOK_RUNS")
    assert runs_root() == Path("runs")


def test_a_new_run_lies_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for value, root in (("~/mine", tmp_path / "mine"), ("", tmp_path / "runs")):
        monkeypatch.setenv("SEGBOOK_RUNS", value)
        assert RunFolder.create("a").path.parent == root
