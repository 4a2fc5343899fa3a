"""The mask explorer: look at an image through its labels, in a notebook or on a plain page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from segbook import text
from segbook.figures.overlays import comparison, overlay, pair_sheet
from segbook.figures.palettes import distinct_palette
from segbook.figures.pictures import Colour, Picture, array, check_classes, label_map, picture
from segbook.widgets.sent import check_index, drawn, listed, packed, plain
from segbook.widgets.widget import Widget, png, sources
from segkit.outputs import IGNORE

LAYERS = ("truth", "prediction", "error")
COLOURS = ("given", "distinct")

SHEET = 12
"""Images without a prediction that a picture that does not move shows at most."""
LIKELIEST = 4
"""Classes of a pixel whose probabilities are sent: of 480x360 pixels 1.4 MB before compression."""


class MaskExplorer(Widget):
    """An image under its labels: zoom, layers, classes on and off, what is under the pointer.

    Everything happens in the browser, so it answers at once and goes on working without a kernel.
    Where no script runs (GitHub, an executed notebook) it leaves a picture.

    Args:
        image: an image, shape (3, H, W) or (H, W, 3), uint8 or float, or a sequence or batch of
            images, which then may be paged through. With four channels it is laid over white.
        truth: class ids, shape (H, W), 255 for void, or bool; as many as there are images.
        prediction: class ids, shape (H, W), or bool; as many as there are images. None shows the
            likeliest classes of ``probs``, or without these the truth only.
        probs: a probability for each class, shape (K, H, W), 0..1, or one such map for each image;
            the four likeliest of a pixel are shown, to half a percent.
        classes: the K class names, in any script.
        palette: K colours, RGB in 0..255; None takes `figures.distinct_palette`, which may be
            chosen beside a given palette, too.
        mean: of the normalisation, if the images were normalised.
        std: of the normalisation.
        names: a name for each image.

    Attributes:
        layer: ``"truth"``, ``"prediction"`` or ``"error"``; as all below, it may be set and follows
            the hand that moves the widget.
        opacity: of the layer, 0..1.
        hidden: ids of the classes that are switched off.
        index: which of the images is shown, from 0.
        pins: pinned pixels, ``[index, x, y]`` each.
        colours: ``"given"`` or ``"distinct"``.
        grey: see it without colours.
        borders: part the classes by thin white lines.

    Raises:
        ValueError: no image, different numbers of images and labels, sizes that differ, an id
            without a class, a normalised image without mean and std, probabilities outside 0..1, a
            pin outside the image.

    Example:
        >>> import numpy as np
        >>> image, truth = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
        >>> MaskExplorer(image, truth, classes=("road",), palette=((128, 64, 128),))
        MaskExplorer(1 image of 4x6 pixels, 1 class, truth)
    """

    _esm, _css = sources("mask_explorer")
    title = "Mask explorer"
    state = ("samples", "classes", "palette", "distinct", "layers", "ignore")
    state += ("layer", "opacity", "hidden", "index", "pins", "colours", "grey", "borders")

    samples = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    palette = traitlets.List(traitlets.List(traitlets.Int()), read_only=True).tag(sync=True)
    distinct = traitlets.List(traitlets.List(traitlets.Int()), read_only=True).tag(sync=True)
    layers = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    ignore = traitlets.Int(IGNORE, read_only=True).tag(sync=True)
    layer = traitlets.Enum(LAYERS, "truth").tag(sync=True)
    opacity = traitlets.Float(0.5, min=0, max=1).tag(sync=True)
    hidden = traitlets.List(traitlets.Int()).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    pins = traitlets.List(traitlets.List(traitlets.Int(), minlen=3, maxlen=3)).tag(sync=True)
    colours = traitlets.Enum(COLOURS, "given").tag(sync=True)
    grey = traitlets.Bool(False).tag(sync=True)
    borders = traitlets.Bool(True).tag(sync=True)

    def __init__(
        self,
        image: ArrayLike | Sequence[ArrayLike],
        truth: ArrayLike | Sequence[ArrayLike],
        prediction: ArrayLike | Sequence[ArrayLike] | None = None,
        *,
        classes: Sequence[str],
        palette: Sequence[Colour] | None = None,
        probs: ArrayLike | Sequence[ArrayLike] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        names: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        distinct = distinct_palette(classes)
        palette = distinct if palette is None else palette
        check_classes(classes, palette)
        images, truths = listed(image, 3), listed(truth, 2)
        predictions = None if prediction is None else listed(prediction, 2)
        maps = None if probs is None else listed(probs, 3)
        labels = ("truth", truths), ("prediction", predictions), ("probs", maps)
        for what, given in (*labels, ("names", names)):
            if given is not None and len(given) != len(images):
                raise ValueError(f"{len(images)} images but {len(given)} in {what}; give one each")
        if not images:
            raise ValueError("no image to explore; give at least one")
        self._pictures: list[Picture] = [picture(one, mean=mean, std=std) for one in images]
        shares = [
            _probabilities(one, (len(classes), *seen.shape[:2]))
            for one, seen in zip(maps or [], self._pictures, strict=maps is not None)
        ]
        if predictions is None and shares:
            predictions = [one.argmax(0) for one in shares]
        self._truths = self._checked(truths, len(classes), "truth")
        self._predictions: list[NDArray] = (
            self._checked(predictions, len(classes), "prediction") if predictions else []
        )
        super().__init__(**settings)
        self.set_trait("classes", [text.one_line(name) for name in classes])
        self.set_trait("palette", plain(palette))
        self.set_trait("distinct", [list(colour) for colour in distinct])
        self.set_trait("layers", list(LAYERS if self._predictions else LAYERS[:1]))
        self.set_trait(
            "samples",
            [
                {
                    "name": "" if names is None else text.one_line(names[i]),
                    "height": seen.shape[0],
                    "width": seen.shape[1],
                    "image": png(Image.fromarray(seen)),
                    "truth": packed(self._truths[i]),
                    "prediction": (packed(self._predictions[i]) if self._predictions else None),
                    "probs": packed(_likeliest(shares[i])) if shares else None,
                }
                for i, seen in enumerate(self._pictures)
            ],
        )

    def _checked(self, given: list[ArrayLike], num_classes: int, what: str) -> list[NDArray]:
        maps = [array(labels) for labels in given]
        return [
            label_map(
                ids.astype(np.uint8) if ids.dtype == bool else ids,
                num_classes,
                size=seen.shape[:2],
                what=what,
            )
            for ids, seen in zip(maps, self._pictures, strict=True)
        ]

    @traitlets.validate("layer")
    def _layer_exists(self, proposal: dict) -> str:
        if self.layers and proposal["value"] not in self.layers:
            raise ValueError(f"there is no layer {proposal['value']!r} without a prediction")
        return proposal["value"]

    @traitlets.validate("index")
    def _index_exists(self, proposal: dict) -> int:
        return check_index(proposal["value"], len(self._pictures), "image")

    @traitlets.validate("pins")
    def _pixels_exist(self, proposal: dict) -> list[list[int]]:
        for index, x, y in proposal["value"]:
            shapes = [seen.shape[:2] for seen in self._pictures]
            height, width = shapes[index] if 0 <= index < len(shapes) else (0, 0)
            if not (0 <= x < width and 0 <= y < height):
                raise ValueError(
                    f"there is no pixel x {x}, y {y} in image {index}; a pin is [index, x, y]"
                )
        return proposal["value"]

    def __repr__(self) -> str:
        """What is in it, the same in every run, so that executed notebooks can be compared."""
        height, width = self._truths[0].shape
        count, number = len(self._pictures), len(self.classes)
        images = f"{count} image{'s' * (count > 1)} of {height}x{width} pixels"
        return (
            f"MaskExplorer({images}, {number} class{'es' * (number > 1)}, {', '.join(self.layers)})"
        )

    def snapshot(self) -> bytes:
        """The image that is shown now as a picture that does not move.

        Returns:
            PNG bytes: image, truth, prediction and error in a row, or the truth over the image
            where there is no prediction: of several images all of them (the first `SHEET`), each
            beside its truth.
        """
        i = self.index
        palette = self.distinct if self.colours == "distinct" else self.palette
        args = self.classes, [(red, green, blue) for red, green, blue in palette]
        borders = self.borders
        title = self.samples[i]["name"]
        if self._predictions:
            pair = self._truths[i], self._predictions[i]
            figure = comparison(self._pictures[i], *pair, *args, title=title, borders=borders)
        elif len(self._pictures) > 1:
            pairs = self._pictures[:SHEET], self._truths[:SHEET]
            names = [sample["name"] for sample in self.samples]
            figure = pair_sheet(*pairs, *args, names, borders=borders)
        else:
            figure = overlay(
                self._pictures[i], self._truths[i], *args, title=title, borders=borders
            )
        return drawn(figure, grey=self.grey)


def _probabilities(given: ArrayLike, shape: tuple[int, int, int]) -> NDArray:
    """Checked probabilities, (K, H, W)."""
    values = array(given)
    if values.shape != shape:
        raise ValueError(f"probs have shape {values.shape}; it must be {shape}, classes first")
    if values.dtype.kind != "f" or not (values.min() >= 0 and values.max() <= 1 + 1e-3):
        raise ValueError("probs must be floats in 0..1: use logits.softmax(1)[0]")
    return values


def _likeliest(probs: NDArray) -> NDArray[np.uint8]:
    """Ids of the likeliest classes, then their probabilities in 0..255: both (k, H, W), uint8."""
    order = np.argsort(-probs, axis=0, kind="stable")[:LIKELIEST]
    shares = np.take_along_axis(probs, order, 0) * 255
    return np.stack([order, shares.round().clip(0, 255)]).astype(np.uint8)
