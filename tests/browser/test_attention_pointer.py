"""The attention pointer on a page of its own: pointer, click and keys ask; regions and maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .conftest import Visit
from .scene import CLASSES, PALETTE, hover, pixels, scene

widgets = pytest.importorskip("segbook.widgets", reason="the notebooks extra is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
WIDGET = ".segbook-attention"


def test_whom_a_pixel_asks(tmp_path: Path, visit: Visit) -> None:
    image, truth, _ = scene()
    attention = np.eye(48)[::-1] * 0.9 + 0.1 / 48  # each cell of 6x8 asks the opposite one
    pointer = widgets.AttentionPointer(
        image, attention, grid=(6, 8), labels=truth, classes=CLASSES, palette=PALETTE, opacity=1
    )
    page = visit.page
    page.goto(pointer.save_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector("[data-ready='0']")
    told = hover(page, 3, 3, WIDGET)
    assert "pixel x 3, y 3 attends most to x 60, y 44" in told
    assert "Half of it lies on 1 of 48 cells" in told
    shown = pixels(page, f"{WIDGET} canvas").sum(2)
    assert shown[44, 60] == shown.max()
    assert (shown[:40] < shown.max()).all()
    assert page.locator("tbody tr").first.inner_text().startswith("Road")

    page.mouse.down()
    page.mouse.up()
    page.mouse.move(2, 2)
    assert "pixel x 3, y 3" in page.locator(".readout").inner_text()  # the click stays
    page.locator(f"{WIDGET} canvas").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowDown")
    assert "pixel x 13, y 4 attends most to x 52, y 44" in page.locator(".readout").inner_text()
    assert visit.elsewhere(tmp_path.as_uri()) == []
    assert visit.errors == []


def test_regions_and_maps(tmp_path: Path, visit: Visit) -> None:
    image, _, _ = scene()
    regions = np.zeros((2, 6, 8))
    regions[0, :3], regions[1, 3:] = 1, 1
    over = np.stack([np.full(48, 0.75), np.full(48, 0.25)], 1)
    pointer = widgets.AttentionPointer(
        image, over, regions=regions, grid=(6, 8), names=("top", "bottom"), opacity=1
    )
    page = visit.page
    page.goto(pointer.save_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector("[data-ready='0']")
    assert "75.0 % from top and 25.0 % from bottom" in page.locator(".readout").inner_text()
    page.get_by_role("button", name="bottom").click()
    shown = pixels(page, f"{WIDGET} canvas").sum(2)
    assert shown[40].min() > shown[4].max()

    pointer = widgets.AttentionPointer(image, maps=[regions[0], regions[1] / 2], names=("a", "b"))
    page.goto(pointer.save_html(tmp_path / "maps.html").as_uri())
    page.wait_for_selector("[data-ready='0']")
    page.get_by_role("radio", name="b").check()
    assert hover(page, 5, 44, WIDGET) == "b at x 5, y 44: 0.500"
    assert visit.errors == []
