"""`segbook bench export --int8`: the form of its rows, and the exit code of a missed promise."""

import re

import pytest
from click.testing import CliRunner

from segbook.bench import export
from segbook.bench.command import bench


@pytest.mark.parametrize(("promised", "kept"), [(1e-6, True), (1e6, False)])
def test_a_missed_promise_is_said_and_is_the_exit_code(onnx_file, monkeypatch, promised, kept):
    monkeypatch.setattr(export, "export_network", lambda *args, **options: onnx_file)
    monkeypatch.setattr(export, "PROMISED", {"espnet_c": promised})
    done = CliRunner().invoke(bench, ["export", "--int8", "--size", "32x32"])
    assert done.exit_code == (0 if kept else 1), done.output
    title, _, row = done.output.splitlines()
    assert title == "| network | onnx | int8 | promised |"
    _, name, *faster, said, _ = (cell.strip() for cell in row.split("|"))
    assert name == "espnet_c"
    assert all(re.match(r"\d+\.\d+x", cell) for cell in faster)
    assert len(faster) == 2
    assert said == f">= {promised:g}x {'ok' if kept else 'MISSED'}"
