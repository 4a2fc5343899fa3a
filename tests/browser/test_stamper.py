"""The stamper on a page of its own: typed, stepped through by keys, seen as sum and as count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .conftest import Visit

widgets = pytest.importorskip("segbook.widgets", reason="the notebooks extra is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]


def table(page: object, label: str) -> np.ndarray:
    rows = page.get_by_role("table", name=label).locator("tr").all()
    return np.array([[float(cell) for cell in row.inner_text().split("\t")] for row in rows])


def test_moved_on_a_page(tmp_path: Path, visit: Visit) -> None:
    stamper = widgets.Stamper("ones 3", [[1, 2], [3, 4]])
    page, sheet = visit.page, "the page that is stamped on"
    page.goto(stamper.save_html(tmp_path / "page.html").as_uri())
    assert (table(page, sheet) == stamper.output()).all()

    page.get_by_label("value in row 2, column 1").fill("-5")
    stamper.numbers = [[1, 2], [-5, 4]]
    assert (table(page, sheet) == stamper.output()).all()
    page.get_by_role("radio", name="stride 3").check()
    stamper.stride = 3
    assert (table(page, sheet) == stamper.output()).all()
    page.get_by_role("combobox", name="kernel").select_option("tent")
    stamper.name = "tent"
    assert np.allclose(table(page, sheet), stamper.output(), rtol=0.005)

    page.get_by_role("button", name="one stamp less").click()
    page.keyboard.press("ArrowLeft")
    stamper.stamps = 2
    assert np.allclose(table(page, sheet), stamper.output(), rtol=0.005)
    assert "2 of 4 stamps" in page.locator(".place").inner_text()
    page.get_by_role("button", name="stamp one by one").click()
    page.get_by_text("4 of 4 stamps").wait_for(timeout=10_000)
    page.get_by_role("radio", name="how many meet").check()
    assert (table(page, sheet) == stamper.count()).all()
    visit.shot("stamper")
    assert visit.elsewhere(tmp_path.as_uri()) == []
    assert visit.errors == []
