"""The training scrubber on a page of its own: slider, keys, chart and player move the frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segbook.figures.pictures import WRONG

from .conftest import Visit
from .scene import CLASSES, PALETTE, hover, pixels, scene

widgets = pytest.importorskip("segbook.widgets", reason="the notebooks extra is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
CANVAS = ".segbook-scrubber canvas"


def test_moved_on_a_page(tmp_path: Path, visit: Visit) -> None:
    from segbook.runs.recording import Photograph, Recording, publish

    image, truth, prediction = scene()
    right = np.where(truth == 255, 0, truth).astype(np.uint8)
    frames = [np.zeros_like(truth), prediction, right]
    recording = Recording(
        run="tiny", model="unet", data="streets", steps=[1, 10, 100], total=1000, seed=0,
        photographs=[Photograph(name=n, image=image, truth=truth, predictions=frames)
                     for n in ("first", "second")],
        classes=list(CLASSES), palette=list(PALETTE), losses=[(1, 2.0), (100, 0.5)],
        miou=[(100, 0.75)], policy="dataset",
    )  # fmt: skip
    (tmp_path / "run").mkdir()
    publish(recording, tmp_path / "run")
    scrubber = widgets.TrainingScrubber(tmp_path / "run", opacity=1)
    page = visit.page
    page.goto(scrubber.save_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector("[data-ready='0']")
    colours = np.array(PALETTE)
    assert (pixels(page, CANVAS) == colours[right]).all()
    assert page.locator(".time output").inner_text() == "step 100"
    numbers = page.locator(".curves b").all_inner_texts()
    assert numbers == ["0.500", "100.0", "75.0"]
    visit.shot("scrubber")

    page.locator(CANVAS).focus()
    page.keyboard.press("ArrowLeft")
    assert (pixels(page, CANVAS) == colours[prediction]).all()
    assert page.locator(".curves b").all_inner_texts()[0] == "2.000"
    told = hover(page, 30, 22, ".segbook-scrubber").split("\n")
    assert told == ["truth Sky", "predicted Road", "called Sky since step 100"]
    page.locator("svg").click(position={"x": 60, "y": 60})  # near the axis: the first step
    assert (pixels(page, CANVAS) == colours[0]).all()
    page.get_by_role("radio", name="error").check()
    shown = pixels(page, CANVAS)
    assert (shown[(truth != 0) & (truth != 255)] == WRONG).all()
    page.get_by_role("radio", name="truth").check()
    assert (pixels(page, CANVAS)[truth != 255] == colours[truth[truth != 255]]).all()

    page.get_by_role("slider", name="step").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".time output").inner_text() == "step 10"
    page.get_by_role("button", name="play").click()
    page.wait_for_function("document.querySelector('.time output').value === 'step 100'")
    page.get_by_role("button", name="play").wait_for()  # it has stopped by itself
    page.get_by_role("button", name="next photograph").click()
    page.wait_for_selector("[data-ready='1']")
    assert page.locator(".place").inner_text() == "2 / 2 · second"
    assert visit.elsewhere(tmp_path.as_uri()) == []
    assert visit.errors == []
