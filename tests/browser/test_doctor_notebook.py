"""The lesson on the doctor in a real JupyterLab: its report shows the ten planted faults."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segbook.figures.pictures import WRONG

from . import test_mask_explorer
from .conftest import Visit

nbformat = pytest.importorskip("nbformat", reason="the notebooks extra is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]

LESSON = Path(__file__).resolve().parents[2] / "notebooks" / "20_before_step_zero.ipynb"
CHECKS = (
    "unreadable_or_truncated",
    "image_without_mask",
    "size_mismatch",
    "lossy_masks",
    "colour_masks",
    "zero_and_255_masks",
    "off_by_one",
    "values_out_of_range",
    "near_duplicates",
    "void_share",
)
VERMILION, YELLOW, GREY = (213, 94, 0), (230, 159, 0), (118, 118, 118)
ROUNDING = 40  # of JPEG

lab = test_mask_explorer.lab


def up_to_the_report() -> object:
    """The lesson's code up to the cell that shows the report, without its outputs."""
    notebook = nbformat.read(LESSON, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    end = next(i for i, cell in enumerate(code) if "report" in cell.metadata.get("tags", []))
    for cell in code:
        cell.outputs, cell.execution_count = [], None
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "\nsteps = 1  # what is trained before the report is not looked at"
    notebook.cells = code[: end + 1]
    return notebook


def rows(picture: np.ndarray) -> list[str]:
    """The severities of a report's rows, by the bars on its left, from the top."""
    left = picture[:, :40].astype(int)
    bars = {
        name: (np.abs(left - colour).max(-1) <= ROUNDING).sum(1) >= 3
        for name, colour in (("error", VERMILION), ("warning", YELLOW), ("note", GREY))
    }
    found = []
    for name, bar in bars.items():
        starts = np.flatnonzero(np.diff(np.concatenate([[False], bar]).astype(int)) == 1)
        ends = np.flatnonzero(np.diff(np.concatenate([bar, [False]]).astype(int)) == -1)
        found += [
            (start, name) for start, end in zip(starts, ends, strict=True) if end - start > 20
        ]
    return [name for _, name in sorted(found)]


def test_the_report_shows_ten_findings(lab: tuple[str, str], tmp_path: Path, visit: Visit) -> None:
    address, token = lab
    nbformat.write(up_to_the_report(), tmp_path / "root" / "lesson.ipynb")
    settings = tmp_path / "home/config/lab/user-settings/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    whole = '{"windowingMode": "none"}'  # else a cell out of sight is not in the page
    (settings / "tracker.jupyterlab-settings").write_text(whole)
    page = visit.page
    page.set_viewport_size({"width": 1180, "height": 1900})
    page.goto(f"{address}/lab/tree/lesson.ipynb?token={token}")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=90_000)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    cell = page.locator(".jp-CodeCell").last
    image = cell.locator(".jp-OutputArea-output img")
    image.wait_for(timeout=180_000)
    image.scroll_into_view_if_needed()
    assert image.is_visible()
    assert image.evaluate("async node => (await node.decode(), node.naturalWidth)") > 700
    assert image.bounding_box()["height"] > 1000

    content = base64.b64decode(image.get_attribute("src").partition("base64,")[2])
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert rows(picture) == ["error"] * 8 + ["warning", "note"]
    right = picture[:, picture.shape[1] // 2 :].astype(int)
    assert (np.abs(right - WRONG).max(-1) <= ROUNDING).sum() > 1000

    said = page.locator(".jp-CodeCell .jp-OutputArea-output pre").all_inner_texts()
    report = next(text for text in said if "unreadable_or_truncated" in text)
    assert [check for check in CHECKS if check not in report] == []
    assert not page.locator(".jp-OutputArea-output[data-mime-type*='error']").count()
    if folder := os.environ.get("SCREENSHOTS"):
        cell.screenshot(path=str(Path(folder) / "doctor.png"))
    assert visit.elsewhere(address) == []
    assert visit.errors == []
