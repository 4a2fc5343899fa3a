"""The layers of both packages, and that the check of them can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECK = "import sys, importlinter.cli as cli; sys.exit(cli.lint_imports(no_cache=True))"


def lint(root: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(root / "lib"), str(root)])
    return subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def copy(tmp_path: Path) -> Path:
    for folder in ("lib", "segbook"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_point_one_way():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_bad_import_is_found(tmp_path):
    root = copy(tmp_path)
    for low, high in (("lib/segkit/outputs", "segkit import engine"),
                      ("segbook/runs/lock", "segbook.training import loop")):  # fmt: skip
        with open(root / f"{low}.py", "a") as file:
            file.write(f"\nfrom {high}\n")
    done = lint(root)
    assert done.returncode == 1
    for package in ("segkit", "segbook"):
        assert f"{package} imports point one way BROKEN" in done.stdout


def test_a_stray_module_is_found(tmp_path):
    root = copy(tmp_path)
    (root / "segbook/utils.py").write_text('"""A drawer for everything."""\n')
    done = lint(root)
    assert done.returncode != 0
    assert "utils" in done.stdout + done.stderr
