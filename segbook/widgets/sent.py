"""What the widgets send to their scripts: bytes of label maps and pictures, and what they draw."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from segbook.figures.pictures import Colour, Picture, array
from segbook.figures.style import said
from segbook.widgets.widget import png


def packed(values: ArrayLike) -> bytes:
    """An array's bytes as a zlib stream: a script reads them unchanged, unlike a picture's."""
    return zlib.compress(np.ascontiguousarray(values).tobytes(), 9)


def jpeg(image: Picture, quality: int = 85) -> bytes:
    """A photograph, shape (H, W, 3), as JPEG bytes."""
    written = io.BytesIO()
    Image.fromarray(image).save(written, format="jpeg", quality=quality, optimize=True)
    return written.getvalue()


def check_index(index: int, count: int, what: str) -> int:
    """An index that is one of so many things, from 0; a ValueError names the thing otherwise."""
    if not 0 <= index < count:
        raise ValueError(f"there is no {what} {index}; allowed are 0..{count - 1}")
    return index


def plain(palette: Sequence[Colour]) -> list[list[int]]:
    """A palette as JSON takes it."""
    return [[int(value) for value in colour] for colour in palette]


def listed(values: Any, dimensions: int) -> list[Any]:
    """A list of images or maps from one, a list of them, or a batch."""
    if isinstance(values, list | tuple) and (not values or hasattr(values[0], "shape")):
        return list(values)
    whole = array(values)
    return list(whole) if whole.ndim > dimensions else [whole]


def drawn(figure: Figure, *, grey: bool = False) -> bytes:
    """A figure as PNG bytes of 256 colours, or greys: enough to look at, and a notebook is small.

    Its words, `segbook.figures.style.said`, are in it.

    Without k-means the photograph's colours push those of rare classes together; the
    legend's and the paper's own are among the 256 in any case.
    """
    written = io.BytesIO()
    figure.savefig(written, format="png", bbox_inches="tight")
    image = Image.open(written).convert("L" if grey else "RGB")
    if grey:
        return png(image, said(figure))
    patches = [patch for legend in figure.legends for patch in legend.get_patches()]
    kept = np.array([figure.get_facecolor(), *(patch.get_facecolor() for patch in patches)])
    kept = (255 * kept[:128, :3]).round().astype(int)
    reduced, pixels = image.quantize(256 - len(kept), kmeans=3), np.asarray(image)
    others = np.array(reduced.getpalette()).reshape(-1, 3)
    indices = np.array(reduced)
    for k, colour in enumerate(kept):
        indices[(pixels == colour).all(2)] = len(others) + k
    exact = Image.fromarray(indices)
    exact.putpalette(np.concatenate([others, kept]).ravel().tolist())
    return png(exact, said(figure))
