"""How well the finished runs foresaw themselves."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from segbook.runs.folder import FINISHED, all_runs

WANTED = 0.15
"""The error that the median forecast should stay below."""


class Accuracy(NamedTuple):
    """How well a finished run foresaw itself.

    Attributes:
        name: of the run folder.
        seconds: forecast.
        low: lower end of its interval.
        high: upper end.
        actual: what it took.
        error: forecast over actual, less 1.
    """

    name: str
    seconds: float
    low: float
    high: float
    actual: float
    error: float


def accuracies(root: Path | None = None) -> list[Accuracy]:
    """Forecast against truth of every finished run that made a forecast, the oldest first."""
    found = []
    for folder in all_runs(root=root):
        # A damaged one `segbook list` shows.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            described = folder.read()
            forecast = described.get("forecast") or {}
            if described.get("status") == FINISHED and "actual" in forecast:
                numbers = [float(forecast[key]) for key in Accuracy._fields[1:]]
                found.append(Accuracy(folder.name, *numbers))
    return found
