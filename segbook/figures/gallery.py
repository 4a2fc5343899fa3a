"""A gallery of the images that went worst."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from segbook.figures.overlays import Compared, compared, comparison_grid
from segbook.figures.pictures import Colour, check_classes
from segbook.figures.style import styled
from segkit.outputs import IGNORE


def image_miou(truth: NDArray, prediction: NDArray) -> float:
    """The mIoU of one image over the classes in its truth or prediction, nan if all is void."""
    labelled = truth != IGNORE
    truth, prediction = truth[labelled], prediction[labelled]
    present = np.union1d(truth, prediction)
    shares = [
        ((truth == k) & (prediction == k)).sum() / ((truth == k) | (prediction == k)).sum()
        for k in present
    ]
    return float(np.mean(shares)) if shares else float("nan")


@styled
def worst_images(
    records: Iterable[tuple[str, ArrayLike, ArrayLike, ArrayLike]],
    classes: Sequence[str],
    palette: Sequence[Colour],
    *,
    count: int = 4,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    borders: bool = True,
) -> Figure:
    """The images with the lowest mIoU, worst first: image, truth, prediction and error.

    Args:
        records: (name, image, truth, prediction) of each image; an iterator is enough, as only the
            worst are kept in memory. Images as in `picture`; truth and prediction (H, W).
        classes: the K class names.
        palette: K colours, RGB in 0..255.
        count: how many to show.
        mean: of the normalisation, if the images were normalised.
        std: of the normalisation.
        borders: part the classes by thin white lines.

    Returns:
        A figure of ``count`` rows, fewer where there are fewer images. The score is each image's
        own mIoU with the classes absent from its truth and prediction left out. Images without a
        labelled pixel have no score and are left out.

    Raises:
        ValueError: no image with a labelled pixel, sizes that differ, an id without a class.
    """
    check_classes(classes, palette)
    if count < 1:
        raise ValueError(f"count is {count}; show at least one image")
    worst: list[tuple[float, int, Compared]] = []
    scored = 0
    for position, (name, image, truth, prediction) in enumerate(records):
        row = compared(
            image, truth, prediction, len(classes), mean=mean, std=std, of=f" of {name!r}"
        )
        score = image_miou(row.truth, row.prediction)
        if np.isnan(score):
            continue
        scored += 1
        row = row._replace(titles=(str(name), "truth", f"prediction · mIoU {score:.3f}"))
        # Negated, so that the heap's smallest is the best of the worst; ties keep the earlier one.
        push = heapq.heappush if len(worst) < count else heapq.heappushpop
        push(worst, (-score, -position, row))
    if not worst:
        raise ValueError("no image with a labelled pixel; give (name, image, truth, prediction)")
    rows = [row for _, _, row in sorted(worst, key=lambda entry: entry[:2], reverse=True)]
    title = f"{len(rows)} worst of {scored} images"
    title = f"all {scored} images, the worst first" if len(rows) == scored else title
    title += ", by each image's own mIoU (policy: dataset)"
    return comparison_grid(rows, classes, palette, title, borders)
