"""The receptive-field pointer on a page of its own: pointed, moved by keys, deeper and dilated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from .conftest import Visit
from .scene import READ

widgets = pytest.importorskip("segbook.widgets", reason="the notebooks extra is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
CANVAS = ".segbook-field canvas"


def coloured(page: object) -> tuple[int, int, int, int]:
    """First and last row and column in which the canvas is not grey: where the heat is."""
    canvas = page.locator(CANVAS)
    width, height = canvas.evaluate("canvas => [canvas.width, canvas.height]")
    seen = np.array(canvas.evaluate(READ)).reshape(height, width, 4)[..., :3].astype(int)
    rows, columns = np.nonzero(np.ptp(seen, axis=2) > 12)
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_moved_on_a_page(tmp_path: Path, visit: Visit) -> None:
    layers = [nn.Conv2d(3, 4, 9, padding=4), nn.Conv2d(4, 4, 9, padding=4)]
    image = np.full((60, 80, 3), 128, np.uint8)
    field = widgets.ReceptiveField(layers, image, dilations=(1, 2), images=1)
    page = visit.page
    page.goto(field.save_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector("[data-ready='yes']")
    top, bottom, left, right = coloured(page)
    assert 26 <= top <= 28  # the box of 9x9 around 40, 30, under its frame
    assert 32 <= bottom <= 34
    assert 36 <= left <= 38
    assert 42 <= right <= 44

    page.locator(CANVAS).focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowUp")
    assert "x 50, y 29" in page.locator(".readout").inner_text()
    assert coloured(page) == (top - 1, bottom - 1, left + 10, right + 10)

    page.get_by_role("radio", name="layer 2").check()
    assert "17 × 17 pixels" in page.locator(".readout").inner_text()
    page.get_by_role("radio", name="rate 2").check()
    assert "33 × 33 pixels" in page.locator(".readout").inner_text()
    box = page.locator(CANVAS).bounding_box()
    page.mouse.move(box["x"] + 20.5 * box["width"] / 80, box["y"] + 15.5 * box["height"] / 60)
    assert "x 20, y 15" in page.locator(".readout").inner_text()
    visit.shot("receptive_field")
    page.get_by_role("checkbox").uncheck()
    with pytest.raises(ValueError, match="zero-size"):
        coloured(page)
    assert visit.elsewhere(tmp_path.as_uri()) == []
    assert visit.errors == []
