"""The oracle table as a figure."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the notebooks extra is not installed")

import torch  # noqa: E402

from segbook.figures import oracle_table  # noqa: E402
from segkit.metrics import oracle_matrix  # noqa: E402


def test_it_shows_the_numbers_of_the_metric():
    maps = [np.random.default_rng(k).integers(0, 2, (16, 24)) for k in range(3)]
    figure = oracle_table({"one $": maps, "two": maps[:1]}, (8, 2), classes=("a", "b", "none"))
    first, second = figure.axes
    assert [first.get_title("left"), second.get_title("left")] == [r"one \$", "two"]
    matrix = oracle_matrix(map(torch.from_numpy, maps), 8, 3)
    wanted = [matrix.miou(), *matrix.iou().tolist()]
    written = [one.get_text() for one in first.texts if one.get_position()[0] == 0]
    assert written == [*(f"{100 * value:.1f}" for value in wanted[:3]), "–"]


def test_nothing_to_tabulate_is_refused():
    for sets, strides in (({}, (2,)), ({"a": []}, (2,)), ({"a": [np.zeros((2, 2), int)]}, ())):
        with pytest.raises(ValueError, match="nothing to tabulate"):
            oracle_table(sets, strides, classes=("a", "b"))
