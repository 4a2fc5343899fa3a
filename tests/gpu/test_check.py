"""The script for whoever has a GPU works, as far as a processor can say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("check.sh")
JUPYTER = ("IPython", "ipykernel", "nbclient", "nbformat", "nbconvert", "papermill", "ipywidgets")


@pytest.mark.full
def test_each_part_runs_dry_and_without_jupyter(tmp_path):
    for name in JUPYTER:
        (tmp_path / f"{name}.py").write_text("raise ModuleNotFoundError(__name__)")
    environment = os.environ | {
        "PYTHON": sys.executable, "PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path),
        "PYTEST_ADDOPTS": "-p no:nbval",  # installed here, it would import nbformat
    }  # fmt: skip
    out = tmp_path / "out.md"
    done = subprocess.run(
        [SCRIPT, "--dry-run", out], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = out.read_text()
    assert text == done.stdout
    assert text.count("\n## ") == 8
    assert "every bit is the same" in text
    assert "\n0 parts failed" in text
    assert not list(tmp_path.glob("tmp.*"))


def test_without_a_gpu_it_says_so(tmp_path):
    environment = os.environ | {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([SCRIPT, tmp_path / "out.md"], capture_output=True, text=True,
                          env=environment, check=False)  # fmt: skip
    assert done.returncode == 2
    assert "no CUDA GPU" in done.stderr
    assert not (tmp_path / "out.md").exists()
