"""The workbench around segkit: recipes, runs, figures, widgets and the command line.

Importing this package imports no other, so that ``segbook --help`` answers at once; take what
you need from ``segbook.recipes``, ``segbook.runs``, ``segbook.figures`` and ``segbook.widgets``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

__version__ = "0.6.0"


def lazy(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's ``__getattr__``, by which names are imported when they are asked for.

    So the command line, which imports a part of the package, starts without torch.

    Args:
        package: its ``__name__``.
        homes: module of the package by name.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return get
