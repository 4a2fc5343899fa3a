"""What a run was made with: versions, machine, and the state of the source tree."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from segbook import __version__

PACKAGES = ("torch", "torchvision", "numpy", "safetensors")


def environment() -> dict[str, Any]:
    """Fields for ``run.json``; imports none of the packages that it names."""
    versions = {"python": platform.python_version(), "segbook": __version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}",
        "command": sys.argv,
        **source_state(),
    }


def source_state() -> dict[str, Any]:
    """The commit of the checkout that this code runs from, and whether it was changed since."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            return subprocess.run(
                ["git", "-C", str(here), *arguments],
                capture_output=True, text=True, check=True, timeout=10,
            ).stdout.strip()  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None  # no git, or not a checkout: an installed wheel

    commit = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"git_commit": commit, "git_dirty": bool(changed)}
