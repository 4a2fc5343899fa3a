"""A small scene with void, errors and known places, and what a canvas should show of it."""

from __future__ import annotations

import numpy as np

CLASSES = ("Sky", "Road", "Car")
PALETTE = ((128, 128, 128), (128, 64, 128), (64, 0, 128))
SOURCE = """
import numpy as np

def scene():
    rows, columns = np.mgrid[:48, :64]
    image = np.stack([columns * 4, rows * 5, (rows + columns) * 2], 2).astype(np.uint8)
    truth = (rows >= 24).astype(np.uint8)
    truth[28:40, 20:40] = 2
    truth[:6, :10] = 255
    prediction = (rows >= 20).astype(np.uint8)
    prediction[28:40, 26:46] = 2
    return image, truth, prediction
"""


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (48, 64, 3), truth and prediction (48, 64), made by the text the notebook runs."""
    names: dict = {}
    exec(SOURCE, names)
    return names["scene"]()


READ = """canvas => Array.from(
    canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)"""


def pixels(page: object, selector: str = ".segbook-explorer canvas.picture") -> np.ndarray:
    """What a widget's canvas shows: int (H, W, 3); it must be opaque everywhere."""
    canvas = page.locator(selector)
    width, height = canvas.evaluate("canvas => [canvas.width, canvas.height]")
    read = np.array(canvas.evaluate(READ)).reshape(height, width, 4)
    assert (read[..., 3] == 255).all()
    return read[..., :3]


def hover(page: object, x: int, y: int, widget: str = ".segbook-explorer") -> str:
    """Point at the middle of a pixel of the picture and read what is told about it."""
    canvas = page.locator(f"{widget} canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    width, height = canvas.evaluate("canvas => [canvas.width, canvas.height]")
    page.mouse.move(
        box["x"] + (x + 0.5) * box["width"] / width, box["y"] + (y + 0.5) * box["height"] / height
    )
    return page.locator(f"{widget} .readout").first.inner_text()
