"""A gallery of the images that went worst."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from segbook.figures.overlays import comparison_row, hexed, legend_patches
from segbook.figures.pictures import WRONG, Colour, Picture, check_classes, label_map, picture
from segbook.figures.style import styled
from segkit.outputs import IGNORE


class Case(NamedTuple):
    """One image of the gallery, checked, with its score."""

    score: float
    name: str
    image: Picture
    truth: NDArray
    prediction: NDArray


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
    worst: list[tuple[tuple[float, int], Case]] = []
    seen_total = 0
    for position, (name, image, truth, prediction) in enumerate(records):
        seen = picture(image, mean=mean, std=std)
        ids, said = (
            label_map(labels, len(classes), size=seen.shape[:2], what=f"{what} of {name!r}")
            for labels, what in ((truth, "truth"), (prediction, "prediction"))
        )
        case = Case(image_miou(ids, said), str(name), seen, ids, said)
        if np.isnan(case.score):
            continue
        seen_total += 1
        # Negated, so that the heap's smallest is the best of the worst; ties keep the earlier one.
        entry = ((-case.score, -position), case)
        (heapq.heappush if len(worst) < count else heapq.heappushpop)(worst, entry)
    if not worst:
        raise ValueError("no image with a labelled pixel; give (name, image, truth, prediction)")
    cases = [case for _, case in sorted(worst, key=lambda entry: entry[0], reverse=True)]

    height = max(case.truth.shape[0] / case.truth.shape[1] for case in cases)
    tall = len(cases) * (2.95 * height + 0.25) + 0.8
    figure = Figure(figsize=(12, tall), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    grid = figure.subplots(len(cases), 4, squeeze=False)
    for row, case in zip(grid, cases, strict=True):
        titles = (case.name, "truth", f"prediction · mIoU {case.score:.3f}")
        comparison_row(row, case.image, case.truth, case.prediction, palette, titles)
    maps = [ids for case in cases for ids in (case.truth, case.prediction)]
    patches = [
        *legend_patches(maps, classes, palette),
        Patch(facecolor=hexed(WRONG), label="wrong"),
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 7))
    figure.suptitle(
        f"{len(cases)} worst of {seen_total} images, by each image's own mIoU "
        "(classes absent from it left out)",
        x=0.005,
        ha="left",
    )
    return figure
