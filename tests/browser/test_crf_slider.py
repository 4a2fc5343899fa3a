"""The CRF slider on a page of its own: rounds by slider and keys, kernels, before and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segbook.figures.pictures import WRONG

from .conftest import Visit
from .scene import CLASSES, PALETTE, hover, pixels, scene

widgets = pytest.importorskip("segbook.widgets", reason="the notebooks extra is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
WIDGET = ".segbook-crf"


def test_moved_on_a_page(tmp_path: Path, visit: Visit) -> None:
    image, truth, prediction = scene()
    probs = 0.3 + 0.4 * np.eye(3, dtype=np.float32)[prediction].transpose(2, 0, 1)
    probs /= probs.sum(0)
    noisy = np.random.default_rng(0).dirichlet((1, 1, 1), probs.shape[1:]).transpose(2, 0, 1)
    slider = widgets.CrfSlider(
        image, (probs + noisy) / 2, truth, classes=CLASSES, palette=PALETTE, iterations=4,
        presets={"own": {}, "near": {"appearance_position": 5.0}}, progress=False, opacity=1,
    )  # fmt: skip
    page = visit.page
    page.goto(slider.save_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector("[data-ready='own/both']")
    colours, canvas = np.array(PALETTE), f"{WIDGET} canvas"
    assert (pixels(page, canvas) == colours[slider.labels(4)]).all()
    assert page.locator(".settings").inner_text().startswith("appearance: w₁ 4, θα 49 px")
    page.locator(canvas).focus()
    page.keyboard.press("ArrowLeft")
    assert (pixels(page, canvas) == colours[slider.labels(3)]).all()
    page.get_by_role("slider", name="round").focus()
    page.keyboard.press("Home")
    assert (pixels(page, canvas) == colours[slider.labels(0)]).all()
    assert page.locator(".time output").inner_text() == "round 0: network"
    page.keyboard.press("End")

    page.get_by_role("radio", name="smoothness alone").check()
    page.wait_for_selector("[data-ready='own/smoothness']")
    slider.terms = "smoothness"
    after = slider.labels(4)
    assert (pixels(page, canvas) == colours[after]).all()
    page.get_by_role("button", name="hold").focus()
    page.keyboard.down("Space")
    assert (pixels(page, canvas) == colours[slider.labels(0)]).all()
    page.keyboard.up("Space")
    page.get_by_role("radio", name="changed").check()
    changed = after != slider.labels(0)
    assert (pixels(page, canvas)[changed] == WRONG).all()
    assert (pixels(page, canvas)[~changed] == 235).all()
    y, x = np.argwhere(changed & (truth != 255))[0]
    told = hover(page, int(x), int(y), WIDGET).split("\n")
    assert told == [
        f"network {CLASSES[slider.labels(0)[y, x]]}", f"round 4 {CLASSES[after[y, x]]}",
        f"truth {CLASSES[truth[y, x]]}",
    ]  # fmt: skip
    page.get_by_role("radio", name="near").check()
    page.wait_for_selector("[data-ready='near/smoothness']")
    assert visit.elsewhere(tmp_path.as_uri()) == []
    assert visit.errors == []
