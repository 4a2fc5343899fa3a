"""The stride explorer moved by mouse and by keyboard, on a page without a kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .conftest import Visit
from .scene import CLASSES, PALETTE, scene

widgets = pytest.importorskip("segbook.widgets", reason="the notebooks extra is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]

MIDDLES = """canvas => {
    const zoom = canvas.width / 64;
    const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const found = [];
    for (let y = zoom >> 1; y < canvas.height; y += zoom)
        for (let x = zoom >> 1; x < canvas.width; x += zoom)
            found.push(...all.slice(4 * (y * canvas.width + x), 4 * (y * canvas.width + x) + 3));
    return found;
}"""
"""The colour in the middle of each pixel of a map 64 pixels wide."""


def test_slider_and_pointer(tmp_path: Path, visit: Visit) -> None:
    _, truth, _ = scene()
    one = widgets.StrideExplorer(
        [truth, truth[:20]], classes=CLASSES, palette=PALETTE, names=("whole", "top")
    )
    page = visit.page
    page.goto(one.save_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector("[data-ready='0']")
    canvas = page.locator("canvas").nth(1)
    for i, stride in enumerate(one.strides):
        if i:
            page.keyboard.press("ArrowRight")
        else:
            page.get_by_role("slider").focus()
            page.keyboard.press("Home")
        means = page.locator("tr.mean td").all_inner_texts()[1:]
        wanted = one.samples[0]["scores"][i]["miou"], one.overall[i]["miou"]
        assert means == [f"{100 * value:.1f}" for value in wanted]
        # The middle of every pixel has its class's colour; borders lie between pixels.
        shown = np.array(canvas.evaluate(MIDDLES)).reshape(48, 64, 3)
        labelled = truth != 255
        oracle = one._oracles[0][i][labelled]
        assert (shown[labelled] == np.array(PALETTE)[oracle]).all(), stride
        visit.shot(f"stride_{stride}")

    page.locator("canvas").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".position").inner_text() == "x 33, y 24"
    assert page.locator(".readout").inner_text().split()[:2] == ["truth", "Road"]
    assert page.locator(".cross:visible").count() == 2
    page.get_by_role("button", name="next mask").click()
    page.wait_for_selector("[data-ready='1']")
    assert page.locator(".place").inner_text() == "2 / 2 · top"
    assert visit.errors == []
    assert visit.elsewhere(tmp_path.as_uri()) == []
