"""One image: its labels laid over it, and its truth beside what a network says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from segbook import text
from segbook.figures.pictures import (
    VOID_DARK,
    VOID_LIGHT,
    WRONG,
    Colour,
    Picture,
    check_classes,
    class_borders,
    error_picture,
    hexed,
    label_map,
    label_picture,
    picture,
    wrong_share,
)
from segbook.figures.style import GREY, drawable, panel, sized, styled
from segkit.outputs import IGNORE


def blend(image: Picture, labels: NDArray, palette: Sequence[Colour], alpha: float) -> Picture:
    """The image with its labels over it, alpha in 0..1; uint8 RGB, shape (H, W, 3)."""
    colours = label_picture(labels, palette, hatch=True)
    mixed = image.astype(np.float32) * (1 - alpha) + colours.astype(np.float32) * alpha
    return mixed.round().astype(np.uint8)


def legend_patches(
    maps: Sequence[NDArray], classes: Sequence[str], palette: Sequence[Colour]
) -> list[Patch]:
    """A coloured square for each class that is present in one of the maps, void last."""
    present = np.unique(np.concatenate([ids.reshape(-1) for ids in maps]))
    patches = [
        Patch(
            facecolor=hexed(palette[k]),
            edgecolor=GREY,
            linewidth=0.5,
            label=text.figure(drawable(text.one_line(classes[int(k)]), int(k))),
        )
        for k in present
        if k != IGNORE
    ]
    if IGNORE in present:
        void = Patch(facecolor=hexed(VOID_DARK), edgecolor=hexed(VOID_LIGHT), hatch="/////")
        void.set(linewidth=0, label="void (not counted)")
        patches.append(void)
    return patches


def longest(patches: Sequence[Patch]) -> int:
    """The length of the longest name in a legend; 0 for an empty one."""
    return max((len(str(patch.get_label())) for patch in patches), default=0)


def show(axes: Axes, shown: Picture, title: str = "", borders: NDArray | None = None) -> None:
    """Put a picture on axes that keep no ticks and no frame.

    Args:
        axes: where to.
        shown: uint8 RGB, shape (H, W, 3).
        title: above it.
        borders: class ids, shape (H, W), to be parted by thin white lines.
    """
    # Small pictures keep their pixels: what a label map is made of should be seen.
    smooth = "auto" if max(shown.shape[:2]) > 400 else "nearest"
    axes.imshow(shown, interpolation=smooth)
    axes.set(xticks=[], yticks=[], title=text.figure(title))
    axes.spines[:].set_visible(False)
    if borders is not None:
        axes.add_collection(ClassBorders(borders), autolim=False)


class ClassBorders(LineCollection):
    """White lines between the classes of a map, (H, W), at most a third of its pixels wide.

    They are drawn over the edges between pixels at the size at which the map is shown, so that a
    pole of one pixel keeps two thirds of its width; in a map that is shown small they fade.
    """

    def __init__(self, labels: NDArray) -> None:
        super().__init__(list(class_borders(labels)), colors="white", capstyle="projecting")

    def draw(self, renderer: Any) -> None:
        """Draw the lines in the width that fits the pixels as they are shown."""
        axes = self.axes
        if axes is None:
            return
        (left, _), (right, _) = axes.transData.transform([(0, 0), (1, 0)])
        pixel = abs(right - left) * 72 / axes.figure.dpi  # in points
        self.set_linewidth(min(0.6, pixel / 3))
        super().draw(renderer)


@styled
def pair_sheet(
    images: Sequence[Picture],
    labels: Sequence[NDArray],
    classes: Sequence[str],
    palette: Sequence[Colour],
    names: Sequence[str],
    *,
    borders: bool = True,
) -> Figure:
    """Images with their labels beside them, two pairs a row, and a legend of all classes.

    Args:
        images: uint8 RGB, shape (H, W, 3), one at least.
        labels: class ids, shape (H, W), 255 for void, one map for each image.
        classes: the K class names.
        palette: K colours.
        names: of the pairs.
        borders: part the classes by thin white lines.
    """
    across = min(2, len(images))
    down = -(-len(images) // across)
    tall = panel(*(ids.shape for ids in labels))
    every = [np.arange(len(classes)), *labels]
    patches = legend_patches(every, classes, palette)
    columns = min(len(patches), max(1, 60 * across // (longest(patches) + 8)))
    below = 0.22 * -(-len(patches) // columns)
    wide = 2.7
    size = 2 * across * wide, down * (wide * tall + 0.3) + below
    figure = sized(*size, layout="constrained")
    grid = figure.subplots(down, 2 * across, squeeze=False).reshape(-1, 2)
    for axes in grid[len(images) :].flat:
        axes.set_axis_off()
    for (left, right), image, ids, name in zip(grid, images, labels, names, strict=False):
        show(left, image, name)
        show(right, label_picture(ids, palette, hatch=True), "", ids if borders else None)
    figure.legend(handles=patches, loc="outside lower center", ncols=columns)
    return figure


@styled
def overlay(
    image: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    palette: Sequence[Colour],
    *,
    alpha: float = 0.5,
    legend: bool = True,
    borders: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    title: str = "",
) -> Figure:
    """The image with its labels over it, and a legend of the classes that are present.

    Args:
        image: see `picture`: uint8 or float, (3, H, W) or (H, W, 3).
        labels: class ids, shape (H, W); 255 is void and drawn as grey stripes.
        classes: the K class names.
        palette: K colours, RGB in 0..255.
        alpha: how much of the labels is seen, 0..1.
        legend: name the classes beside the picture.
        borders: part the classes by thin white lines.
        mean: of the normalisation, if the image was normalised.
        std: of the normalisation.
        title: above the picture.

    Returns:
        A figure of one picture.

    Raises:
        ValueError: sizes that differ, an id without a class, alpha outside 0..1, a normalised
            image without mean and std.
    """
    check_classes(classes, palette)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; allowed is 0 (the image alone) to 1 (labels alone)")
    seen = picture(image, mean=mean, std=std)
    ids = label_map(labels, len(classes), size=seen.shape[:2])
    check_pixels(ids)
    tall = 6.4 * panel(ids.shape) + 0.4
    patches = legend_patches([ids], classes, palette) if legend else []
    columns = -(-len(patches) // max(1, int(tall / 0.19)))
    wide = max(1.6, 0.075 * longest(patches) - 0.2)
    figure = sized(6.4 + wide * columns, tall, layout="compressed")
    shown = blend(seen, ids, palette, alpha)
    show(figure.subplots(), shown, title, ids if borders and alpha else None)
    if legend:
        figure.legend(handles=patches, loc="outside right upper", ncols=columns)
    return figure


def check_pixels(ids: NDArray, of: str = "") -> None:
    """Raise a ValueError for a picture without pixels; ``of`` ends its name."""
    if not ids.size:
        raise ValueError(f"the image{of} has shape {ids.shape}: there is no pixel to show")


class Compared(NamedTuple):
    """An image of shape (H, W, 3) with its truth and prediction, (H, W), all checked."""

    image: Picture
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    titles: tuple[str, str, str] = ("image", "truth", "prediction")


def compared(
    image: ArrayLike,
    truth: ArrayLike,
    prediction: ArrayLike,
    num_classes: int,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    of: str = "",
) -> Compared:
    """Check an image and its labels; ``of`` ends the names by which an error calls these.

    Raises:
        ValueError: sizes that differ, an id without a class, a normalised image without mean and
            std.
    """
    seen = picture(image, mean=mean, std=std)
    ids, predicted = (
        label_map(labels, num_classes, size=seen.shape[:2], what=what + of)
        for labels, what in ((truth, "truth"), (prediction, "prediction"))
    )
    check_pixels(ids, of)
    return Compared(seen, ids, predicted)


def comparison_grid(
    rows: Sequence[Compared],
    classes: Sequence[str],
    palette: Sequence[Colour],
    title: str,
    borders: bool = True,
) -> Figure:
    """Image, truth, prediction and error in each row, under them one legend."""
    maps = [ids for row in rows for ids in (row.truth, row.prediction)]
    patches = legend_patches(maps, classes, palette)
    patches.append(Patch(facecolor=hexed(WRONG), label="wrong"))
    columns = min(len(patches), 7, max(1, 180 // (longest(patches) + 8)))
    each = 2.95 * panel(*(row.truth.shape for row in rows)) + 0.25
    below = 0.22 * -(-len(patches) // columns)
    figure = sized(12, len(rows) * each + 0.05 + 0.25 * bool(title) + below)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    for axes, row in zip(figure.subplots(len(rows), 4, squeeze=False), rows, strict=True):
        share = wrong_share(row.truth, row.prediction)
        wrong = (
            "no labelled pixel" if np.isnan(share) else f"{100 * share:.1f} % of labelled px wrong"
        )
        shown = (
            row.image,
            label_picture(row.truth, palette, hatch=True),
            label_picture(row.prediction, palette, hatch=True),
            error_picture(row.image, row.truth, row.prediction),
        )
        maps = (None, row.truth, row.prediction, None) if borders else (None,) * 4
        for axis, one, name, ids in zip(axes, shown, (*row.titles, wrong), maps, strict=True):
            show(axis, one, name, ids)
    if title:
        figure.suptitle(text.figure(title), x=0.005, ha="left")
    figure.legend(handles=patches, loc="outside lower center", ncols=columns)
    return figure


@styled
def slices(
    image: ArrayLike,
    truth: ArrayLike,
    prediction: ArrayLike,
    classes: Sequence[str],
    palette: Sequence[Colour],
    *,
    title: str = "",
) -> Figure:
    """A volume by three slices, one across each axis: image, truth, prediction and error.

    The slices meet in the middle of what is labelled, or, where nothing is, of the volume.

    Args:
        image: one channel, any numbers, shape (D, H, W).
        truth: class ids, shape (D, H, W); 255 is void.
        prediction: class ids, shape (D, H, W).
        classes: the K class names; the first is the background.
        palette: K colours, RGB in 0..255.
        title: above the rows.

    Returns:
        A figure of three rows of `comparison`.

    Raises:
        ValueError: sizes that differ, or an id without a class.
    """
    check_classes(classes, palette)
    values, ids, said = np.asarray(image, np.float32), np.asarray(truth), np.asarray(prediction)
    low, high = np.percentile(values, (1, 99))
    values = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    labelled = np.argwhere((ids != 0) & (ids != IGNORE))
    middle = labelled.mean(0).round().astype(int) if len(labelled) else np.array(ids.shape) // 2
    rows = []
    for axis in range(3):
        shot, true, predicted = (one.take(middle[axis], axis) for one in (values, ids, said))
        rows.append(compared(shot, true, predicted, len(classes)))
    return comparison_grid(rows, classes, palette, title)


@styled
def comparison(
    image: ArrayLike,
    truth: ArrayLike,
    prediction: ArrayLike,
    classes: Sequence[str],
    palette: Sequence[Colour],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    title: str = "",
    borders: bool = True,
) -> Figure:
    """Image, truth, prediction and error in one row.

    The error panel shows right pixels in pale grey, wrong ones in violet and void ones striped;
    its title tells the wrong pixels as a share of the labelled ones.

    Args:
        image: see `picture`: uint8 or float, (3, H, W) or (H, W, 3).
        truth: class ids, shape (H, W); 255 is void.
        prediction: class ids, shape (H, W).
        classes: the K class names.
        palette: K colours, RGB in 0..255.
        mean: of the normalisation, if the image was normalised.
        std: of the normalisation.
        title: above the row.
        borders: part the classes by thin white lines.

    Returns:
        A figure of four pictures; the share is not told where no pixel is labelled.

    Raises:
        ValueError: sizes that differ, an id without a class, a normalised image without mean and
            std.
    """
    check_classes(classes, palette)
    row = compared(image, truth, prediction, len(classes), mean=mean, std=std)
    return comparison_grid([row], classes, palette, title, borders)
