"""The wipe on a page of its own: the line by pointer and by keys, the class on both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segbook.figures.pictures import WRONG

from .conftest import Visit
from .scene import CLASSES, PALETTE, hover, pixels, scene

widgets = pytest.importorskip("segbook.widgets", reason="the notebooks extra is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
CANVAS = ".segbook-wipe canvas"


def test_moved_on_a_page(tmp_path: Path, visit: Visit) -> None:
    image, truth, right = scene()
    left = np.where(truth == 255, 0, truth).astype(np.uint8)
    wipe = widgets.Wipe(
        [left, right], [right, left], [image, image], [truth, truth], titles=("first", "second"),
        classes=CLASSES, palette=PALETTE, opacity=1,
    )  # fmt: skip
    page = visit.page
    page.goto(wipe.save_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector("[data-ready='0']")
    colours = np.array(PALETTE)
    expected = np.concatenate([left[:, :32], right[:, 32:]], 1)
    assert (pixels(page, CANVAS) == colours[expected]).all()
    assert "FCN-32s: mIoU 100.0 on this image" in page.locator(".readout").inner_text()
    assert "Car\t100.0\t" in page.locator(".scores").inner_text()

    told = hover(page, 22, 30, ".segbook-wipe").split("\n")
    assert told == ["FCN-32s Car", "FCN-8s Road", "truth Car", "x 22, y 30"]
    assert (pixels(page, CANVAS) == colours[expected]).all()  # pointing moves nothing
    page.mouse.down()
    assert (pixels(page, CANVAS)[:, :22] == colours[left[:, :22]]).all()
    assert (pixels(page, CANVAS)[:, 24:] == colours[right[:, 24:]]).all()
    page.mouse.up()
    page.locator(CANVAS).focus()
    page.keyboard.press("End")
    assert (pixels(page, CANVAS) == colours[left]).all()
    page.keyboard.press("Home")
    assert (pixels(page, CANVAS) == colours[right]).all()
    page.keyboard.press("Shift+ArrowDown")
    assert "x 0, y 34" in page.locator(".readout").inner_text()

    page.get_by_role("radio", name="error").check()
    shown = pixels(page, CANVAS)
    assert (shown[(right != truth) & (truth != 255)] == WRONG).all()
    assert (shown[right == truth] == 235).all()
    page.get_by_role("button", name="next pair").click()
    page.wait_for_selector("[data-ready='1']")
    assert page.locator(".place").inner_text() == "2 / 2 · second"
    assert visit.elsewhere(tmp_path.as_uri()) == []
    assert visit.errors == []


def test_two_pictures(tmp_path: Path, visit: Visit) -> None:
    image, _, _ = scene()
    wipe = widgets.Wipe(image, 255 - image, names=("image", "negative"), position=0.25)
    visit.page.goto(wipe.save_html(tmp_path / "page.html").as_uri())
    visit.page.wait_for_selector("[data-ready='0']")
    expected = np.concatenate([image[:, :16], 255 - image[:, 16:]], 1)
    assert (pixels(visit.page, CANVAS) == expected).all()
    assert visit.errors == []
