"""The IoU painter by mouse and by keyboard, on a page without a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Visit
from .scene import CLASSES, PALETTE, scene

widgets = pytest.importorskip("segbook.widgets", reason="the notebooks extra is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]


def shown(page: object) -> dict[str, str]:
    """Each row of the tables: its name and its last numbers."""
    rows = page.locator(".figures tr").evaluate_all(
        "rows => rows.map(row => [row.cells[0].innerText, ...[...row.cells].slice(1)"
        ".map(cell => cell.innerText).filter(Boolean)].map(text => text.trim()))"
    )
    return {name: " ".join(values) for name, *values in rows if values}


def test_painted_by_mouse_and_keyboard(tmp_path: Path, visit: Visit) -> None:
    image, truth, _ = scene()
    one = widgets.IoUPainter(truth, image, classes=CLASSES, palette=PALETTE, brush=1)
    page = visit.page
    page.goto(one.save_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector("[data-ready]")
    canvas = page.locator("canvas")
    box = canvas.bounding_box()
    unit = box["width"] / 64

    assert page.locator(".first tr").all_inner_texts()[-1].startswith(f"IoU of  {CLASSES[1]}")
    assert not page.get_by_text("soft Dice loss").is_visible()
    page.get_by_text("more: every class").click()

    def agrees() -> dict[str, str]:
        """What is shown are segkit's scores of what a mirror in Python holds."""
        page.evaluate("new Promise(requestAnimationFrame)")
        told, found = shown(page), one.scores()
        assert told["pixel accuracy"] == f"{100 * found['pixel_accuracy']:.1f}" == told["accuracy"]
        assert told["mIoU"] == told["dataset"]
        assert told["cross-entropy, nats a pixel"] == f"{found['cross_entropy']:.3f}"
        for policy, value in found["miou"].items():
            assert told[policy] == f"{100 * value:.1f}"
        return told

    prediction = one.prediction
    agrees()
    # A click of a brush of one pixel, then a stroke of it along a row.
    page.get_by_role("slider", name="brush").fill("1")
    page.get_by_role("button", name="Car", exact=True).click()
    page.mouse.move(box["x"] + 20.5 * unit, box["y"] + 30.5 * unit)
    page.mouse.down()
    page.mouse.move(box["x"] + 39.5 * unit, box["y"] + 30.5 * unit, steps=2)
    page.mouse.up()
    prediction[30, 20:40] = 2
    one.prediction = prediction
    assert agrees()["Car"].startswith(f"{100 * one.scores()['iou'][2]:.1f}")
    # The keyboard: a class, a place, a point; and the eraser, which brings the start back.
    canvas.focus()
    page.mouse.move(1, 1)
    for key in ("1", "ArrowUp", "Shift+ArrowUp", "Space"):
        page.keyboard.press(key)
    prediction[13, 32] = 0
    one.prediction = prediction
    agrees()
    page.get_by_role("button", name="the truth", exact=True).click()
    visit.shot("painter_truth")
    told = shown(page)
    assert told["dataset"] == told["pixel accuracy"] == "100.0"
    page.get_by_role("button", name="undo").click()
    one.prediction = prediction
    agrees()
    one.confidence = 0.6
    page.get_by_role("slider", name="painted with p").fill("60")
    agrees()
    visit.shot("painter")
    assert visit.errors == []
    assert visit.elsewhere(tmp_path.as_uri()) == []
