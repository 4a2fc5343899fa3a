"""Runs a widget's script where no browser is: by node, whose own or playwright's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from segbook.widgets.widget import Widget


def node_path() -> str | None:
    """Where a node is: on the search path, else the one that playwright brings along."""
    if found := shutil.which("node"):
        return found
    try:
        import playwright
    except ImportError:
        return None
    brought = Path(playwright.__file__).parent / "driver/node"
    return str(brought) if brought.exists() else None


def evaluate(kind: type[Widget], source: str) -> Any:
    """What a function body gives that may use all that a widget's script defines, await too.

    Args:
        kind: the widget.
        source: JavaScript that ends by ``return`` of what JSON can hold; NaN becomes None.
    """
    node = node_path()
    if node is None:
        pytest.skip("no node on this machine; playwright's wheel brings one")
    script = f"{kind._esm}\nconst found = await (async () => {{ {source} }})();\n"
    script += "process.stdout.write(JSON.stringify(found));"
    done = subprocess.run(
        [node, "--input-type=module", "-"], input=script, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
