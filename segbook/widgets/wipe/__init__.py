"""The wipe: two predictions of one image, and a line between them to drag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from segbook import text
from segbook.figures.overlays import blend, legend_patches, longest, show
from segbook.figures.pictures import (
    Colour,
    Picture,
    check_classes,
    error_picture,
    label_map,
    picture,
    wrong_share,
)
from segbook.figures.style import panel, sized, styled
from segbook.widgets.sent import check_index, drawn, listed, packed, plain
from segbook.widgets.widget import Widget, png, sources
from segkit.outputs import IGNORE

Maps = ArrayLike | Sequence[ArrayLike]


class Wipe(Widget):
    """Two predictions, or two pictures, one over the other: a line shows the left or the right one.

    Args:
        left: class ids, shape (H, W), with ``classes``; a picture, (3, H, W) or (H, W, 3), without.
            Or a list or batch of them, which then may be paged through.
        right: as many of the same kind and sizes.
        image: what was predicted of, shown under the ids; needs ``classes``. One each.
        truth: class ids, shape (H, W), 255 for void, one each; with it there are errors and IoU.
        names: of the left and the right side.
        classes: the K class names; empty for pictures.
        palette: K colours, RGB in 0..255.
        titles: a name for each pair.

    Attributes:
        position: of the line, 0 (all right side) to 1 (all left side).
        layer: ``"prediction"`` or, where there is a truth, ``"error"``.
        opacity: of the class colours over the image, 0..1.
        index: which of the pairs is shown, from 0.

    Raises:
        ValueError: different numbers of left and right, sizes that differ, an id without a class,
            an image or a truth without classes.

    Example:
        >>> import numpy as np
        >>> left, right = np.zeros((4, 6), np.uint8), np.ones((4, 6), np.uint8)
        >>> Wipe(left, right, classes=("sky", "road"), palette=((70, 130, 180), (128, 64, 128)))
        Wipe(1 pair of 4x6 pixels, FCN-32s and FCN-8s, 2 classes)
    """

    _esm, _css = sources("wipe")
    title = "Wipe"
    state = ("pairs", "names", "classes", "palette", "layers", "ignore")
    state += ("position", "layer", "opacity", "index")

    pairs = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    palette = traitlets.List(traitlets.List(traitlets.Int()), read_only=True).tag(sync=True)
    layers = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    ignore = traitlets.Int(IGNORE, read_only=True).tag(sync=True)
    position = traitlets.Float(0.5, min=0, max=1).tag(sync=True)
    layer = traitlets.Enum(("prediction", "error"), "prediction").tag(sync=True)
    opacity = traitlets.Float(0.7, min=0, max=1).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        left: Maps,
        right: Maps,
        image: Maps | None = None,
        truth: Maps | None = None,
        *,
        names: tuple[str, str] = ("FCN-32s", "FCN-8s"),
        classes: Sequence[str] = (),
        palette: Sequence[Colour] = (),
        titles: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        if classes or palette:
            check_classes(classes, palette)
        elif image is not None or truth is not None:
            raise ValueError(
                "an image under the two sides, or a truth, is for label maps: give classes and "
                "palette, or leave image and truth out to compare two pictures"
            )
        if len(names) != 2:
            raise ValueError(f"names are {names!r}; give two, of the left and of the right side")
        dimensions = 2 if classes else 3
        sides = listed(left, dimensions), listed(right, dimensions)
        images = None if image is None else listed(image, 3)
        truths = None if truth is None else listed(truth, 2)
        for what, given in (("right", sides[1]), ("image", images), ("truth", truths),
                            ("titles", titles)):  # fmt: skip
            if given is not None and len(given) != len(sides[0]):
                raise ValueError(f"{len(sides[0])} left but {len(given)} in {what}; give one each")
        if not sides[0]:
            raise ValueError("nothing to compare; give at least one pair")

        def checked(values: Any, size: Sequence[int] | None, what: str) -> NDArray[np.uint8]:
            if classes:
                return label_map(values, len(classes), size=size, what=what)
            seen = picture(values)
            if size is not None and seen.shape[:2] != tuple(size):
                raise ValueError(f"left has {tuple(size)} pixels, right {seen.shape[:2]}")
            return seen

        self._left = [checked(one, None, "left") for one in sides[0]]
        sizes = [one.shape[:2] for one in self._left]
        if not all(one.size for one in self._left):
            raise ValueError("there is no pixel to show in one of the pairs")
        self._right = [checked(*one, "right") for one in zip(sides[1], sizes, strict=True)]
        self._images: list[Picture] = [picture(one) for one in images or ()]
        for seen, size in zip(self._images, sizes if images else (), strict=True):
            if seen.shape[:2] != size:
                raise ValueError(f"the image has {seen.shape[:2]} pixels, left {size}")
        self._truths = [
            label_map(one, len(classes), size=size, what="truth")
            for one, size in zip(truths or (), sizes if truths else (), strict=True)
        ]
        super().__init__(**settings)
        self.set_trait("names", [text.one_line(name) for name in names])
        self.set_trait("classes", [text.one_line(name) for name in classes])
        self.set_trait("palette", plain(palette))
        self.set_trait("layers", ["prediction", "error"] if truths else ["prediction"])
        send = packed if classes else lambda seen: png(Image.fromarray(seen))
        self.set_trait(
            "pairs",
            [
                {
                    "name": "" if titles is None else text.one_line(titles[i]),
                    "height": height,
                    "width": width,
                    "left": send(self._left[i]),
                    "right": send(self._right[i]),
                    "image": png(Image.fromarray(self._images[i])) if images else None,
                    "truth": packed(self._truths[i]) if truths else None,
                }
                for i, (height, width) in enumerate(sizes)
            ],
        )

    @traitlets.validate("layer")
    def _layer_exists(self, proposal: dict) -> str:
        if self.layers and proposal["value"] not in self.layers:
            raise ValueError(f"there is no layer {proposal['value']!r} without a truth")
        return proposal["value"]

    @traitlets.validate("index")
    def _index_exists(self, proposal: dict) -> int:
        return check_index(proposal["value"], len(self._left), "pair")

    def __repr__(self) -> str:
        """What is in it, the same in every run, so that executed notebooks can be compared."""
        count, (height, width) = len(self._left), self._left[0].shape[:2]
        number = len(self.classes)
        kind = f"{number} class{'es' * (number > 1)}" if number else "pictures"
        return (
            f"Wipe({count} pair{'s' * (count > 1)} of {height}x{width} pixels, "
            f"{' and '.join(self.names)}, {kind})"
        )

    def snapshot(self) -> bytes:
        """Both sides in a row, under them their errors where there is a truth.

        Returns:
            PNG bytes.
        """
        return drawn(self._drawn())

    @styled
    def _drawn(self) -> Figure:
        i = self.index
        sides = self._left[i], self._right[i]
        if not self.classes:
            top = list(zip(self.names, sides, strict=True))
            return _rows([top], [], title=self.pairs[i]["name"])
        palette: list[Colour] = [(red, green, blue) for red, green, blue in self.palette]
        white = np.full((*sides[0].shape, 3), 255, np.uint8)
        seen = self._images[i] if self._images else white
        alpha = self.opacity if self._images else 1.0
        top = [
            (name, blend(seen, ids, palette, alpha))
            for name, ids in zip(self.names, sides, strict=True)
        ]
        rows, maps = [top], list(sides)
        if self._truths:
            truth = self._truths[i]
            maps.append(truth)
            top.insert(0, ("truth", blend(seen, truth, palette, alpha)))
            wrong = [
                (f"{100 * wrong_share(truth, ids):.1f} % wrong", error_picture(seen, truth, ids))
                for ids in sides
            ]
            rows.append([("image", seen), *wrong])
        elif self._images:
            top.insert(0, ("image", seen))
        patches = legend_patches(maps, self.classes, palette)
        return _rows(rows, patches, title=self.pairs[i]["name"])


def _rows(rows: list[list[tuple[str, Picture]]], patches: list[Any], title: str) -> Figure:
    columns = len(rows[0])
    of_legend = min(max(len(patches), 1), max(1, 150 // (longest(patches) + 8)))
    each = 9.6 / columns * panel(rows[0][0][1].shape[:2]) + 0.27
    below = 0.22 * -(-len(patches) // of_legend)
    figure = sized(9.6, each * len(rows) + 0.25 * bool(title) + below)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        for axis, (name, seen) in zip(axes, row, strict=True):
            show(axis, seen, name)
    if title:
        figure.suptitle(text.figure(title), x=0.005, ha="left")
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=of_legend)
    return figure
