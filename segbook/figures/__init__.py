"""Figures: what an image, a mask, a run and a score look like.

`diagram` writes SVG. Every other function returns a matplotlib ``Figure`` that no pyplot state
knows about: as the last expression of a cell it is shown once, ``figure.savefig(path)`` writes it,
nothing has to be closed.
"""

from segbook.figures.diagram import diagram
from segbook.figures.filmstrip import filmstrip
from segbook.figures.findings import findings
from segbook.figures.gallery import worst_images
from segbook.figures.history import curves
from segbook.figures.oracles import oracle_table
from segbook.figures.overlays import comparison, overlay, slices
from segbook.figures.palettes import colour_difference, distinct_palette
from segbook.figures.pictures import error_picture, label_picture, picture
from segbook.figures.rates import learning_rates
from segbook.figures.scores import confusion, iou_bars
from segbook.figures.style import use_style

__all__ = [
    "colour_difference",
    "comparison",
    "confusion",
    "curves",
    "distinct_palette",
    "diagram",
    "error_picture",
    "filmstrip",
    "findings",
    "iou_bars",
    "label_picture",
    "learning_rates",
    "oracle_table",
    "overlay",
    "picture",
    "slices",
    "use_style",
    "worst_images",
]
