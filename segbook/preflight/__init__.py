"""The doctor for recipes: data, network, settings and machine looked at before the first step.

for finding in examine(recipes.get("unet_camvid")):
    print(finding)

What it finds with is `segkit.doctor`; here a recipe becomes that library's plain arguments.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "PreflightError": "gate",
    "SettingsRefusedError": "gate",
    "examine": "examination",
    "learn": "learning",
    "preflight": "gate",
    "to_json": "gate",
}
"""Imported when they are asked for: the command line starts without torch."""

__all__ = ["PreflightError", "SettingsRefusedError", "examine", "learn", "preflight", "to_json"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
