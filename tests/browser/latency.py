"""How long the explorers take to answer, at 480x360, as the browser itself measures it.

    python -m tests.browser.latency

Each is opened as a static page; a pointer moves and drags over its canvases, arrow keys move what
has the focus, every slider is turned and every radio button chosen. The Event Timing API says how
long after an input the next picture stood on the screen (steps of 8 ms). Printed are the median and
the longest of each; nothing is asserted, since this is wall time. Numbers: docs/benchmarks.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from playwright.sync_api import Page, sync_playwright

from segbook import figures, widgets
from segkit import data, engine, load_model, transforms
from segkit.backbones.resnet import resnet18
from segkit.data.camvid import CLASSES

from .conftest import FLAGS, chromium_path

WATCH = """window.waits = []; new PerformanceObserver(list => list.getEntries().forEach(
  entry => window.waits.push([entry.name, entry.duration])))
  .observe({type: 'event', durationThreshold: 16, buffered: true})"""
FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def explorers() -> dict[str, Callable[[], Any]]:
    """Each explorer of a photograph of 480x360 pixels, by name."""
    image, truth = data.photograph("street_1")
    network, header = load_model("pp_liteseg_t_camvid")
    ready, _ = transforms.evaluate(**header["normalisation"])(image, truth)
    probs = engine.predict_probs(network, ready[None])[0]
    said = probs.argmax(0)
    look = {"classes": CLASSES, "palette": figures.distinct_palette(CLASSES)}
    asks = torch.rand(1350, 1350).softmax(1)
    return {
        "IoU painter": lambda: widgets.IoUPainter(truth, image, **look),
        "mask explorer": lambda: widgets.MaskExplorer(image, truth, said, **look),
        "wipe": lambda: widgets.Wipe(said, truth, image=image, truth=truth, **look),
        "stride": lambda: widgets.StrideExplorer(truth, **look),
        "receptive field": lambda: widgets.ReceptiveField(resnet18(), image, images=1),
        "attention": lambda: widgets.AttentionPointer(
            image, asks, grid=(30, 45), labels=truth, **look
        ),
        "CRF slider": lambda: widgets.CrfSlider(image, probs, truth, progress=False, **look),
        "training scrubber": lambda: widgets.TrainingScrubber("pp_liteseg_t_camvid_cpu"),
    }


def use(page: Page) -> None:
    """Everything that a hand does with an explorer, one input a frame."""
    for canvas in page.locator("canvas:visible").all():
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        for pressed in (False, True):
            for k in range(1, 20):
                page.mouse.move(box["x"] + box["width"] * k / 20, box["y"] + box["height"] * k / 20)
                if k == 1 and pressed:
                    page.mouse.down()
                page.evaluate(FRAMES)
            page.mouse.up()
        canvas.focus()
        for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowRight") * 3:
            page.keyboard.press(key)
            page.evaluate(FRAMES)
    for slider in page.get_by_role("slider").all():
        if slider.is_visible() and slider.is_enabled():
            slider.focus()
            for key in ("ArrowLeft", "ArrowRight", "Home", "End"):
                page.keyboard.press(key)
                page.evaluate(FRAMES)
    for radio in page.get_by_role("radio").all():
        if radio.is_visible() and radio.is_enabled():
            radio.click(force=True)
            page.evaluate(FRAMES)


def main() -> None:
    """Print a line for each explorer."""
    print(f"{'input to picture, ms':22s}{'inputs':>8s}{'median':>8s}{'longest':>9s}")
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        chromium = driver.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        for name, make in explorers().items():
            page = chromium.new_page(viewport={"width": 1200, "height": 900})
            page.goto(make().save_html(Path(folder) / "page.html").as_uri())
            page.wait_for_selector("[data-ready]")
            page.evaluate(WATCH)
            use(page)
            page.wait_for_timeout(200)
            waits = page.evaluate("window.waits")
            kind, longest = max(waits, key=lambda each: each[1])
            typical = median(wait for _, wait in waits)
            print(f"{name:22s}{len(waits):8d}{typical:8.0f}{longest:9.0f}  {kind}", flush=True)
            page.close()
        chromium.close()


if __name__ == "__main__":
    main()
