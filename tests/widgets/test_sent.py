"""What widgets send: a figure's 256 colours are also those of its legend."""

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from segbook.figures import distinct_palette
from segbook.widgets.sent import drawn
from segkit import data


def test_a_legend_keeps_its_colours_beside_a_photograph():
    image, _ = data.photograph("street_2")
    colours = [(255, 255, 255), *distinct_palette(data.camvid.CLASSES)]
    figure = Figure(figsize=(9, 6))
    for axes in figure.subplots(2, 3).flat:
        axes.imshow(image.movedim(0, 2).numpy())
    figure.legend(handles=[Patch(color=[v / 255 for v in colour]) for colour in colours])
    pixels = np.asarray(Image.open(io.BytesIO(drawn(figure))).convert("RGB")).astype(int)
    off = {colour: int(np.abs(pixels - colour).sum(2).min()) for colour in colours}
    assert max(off.values()) <= 6, off
