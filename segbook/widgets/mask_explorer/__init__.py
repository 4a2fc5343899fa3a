"""The mask explorer: look at an image through its labels, in a notebook or on a plain page."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import Any

import traitlets
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from segbook import text
from segbook.figures.overlays import comparison, overlay
from segbook.figures.pictures import Colour, Picture, array, check_classes, label_map, picture
from segbook.widgets.widget import Widget, png, sources
from segkit.outputs import IGNORE

LAYERS = ("truth", "prediction", "error")


class MaskExplorer(Widget):
    """An image under its labels: layers, opacity, classes on and off, the class under the pointer.

    Everything happens in the browser, so it answers at once and goes on working without a kernel.
    Where no script runs (GitHub, an executed notebook) it leaves a picture.

    Args:
        image: an image, shape (3, H, W) or (H, W, 3), uint8 or float, or a sequence or batch of
            images, which then may be paged through.
        truth: class ids, shape (H, W), 255 for void; as many as there are images.
        prediction: class ids, shape (H, W); as many as there are images. None shows the truth only.
        classes: the K class names.
        palette: K colours, RGB in 0..255.
        mean: of the normalisation, if the images were normalised.
        std: of the normalisation.
        names: a name for each image.

    Attributes:
        layer: ``"truth"``, ``"prediction"`` or ``"error"``; as all below, it may be set and follows
            the hand that moves the widget.
        opacity: of the layer, 0..1.
        hidden: ids of the classes that are switched off.
        index: which of the images is shown, from 0.

    Raises:
        ValueError: no image, different numbers of images and labels, sizes that differ, an id
            without a class, a normalised image without mean and std.

    Example:
        >>> import numpy as np
        >>> image, truth = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
        >>> MaskExplorer(image, truth, classes=("road",), palette=((128, 64, 128),))
        MaskExplorer(1 image of 4x6 pixels, 1 class, truth)
    """

    _esm, _css = sources("mask_explorer")
    title = "Mask explorer"
    state = ("samples", "classes", "palette", "layers", "ignore")
    state += ("layer", "opacity", "hidden", "index")

    samples = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    palette = traitlets.List(traitlets.List(traitlets.Int()), read_only=True).tag(sync=True)
    layers = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    ignore = traitlets.Int(IGNORE, read_only=True).tag(sync=True)
    layer = traitlets.Enum(LAYERS, "truth").tag(sync=True)
    opacity = traitlets.Float(0.5, min=0, max=1).tag(sync=True)
    hidden = traitlets.List(traitlets.Int()).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        image: ArrayLike | Sequence[ArrayLike],
        truth: ArrayLike | Sequence[ArrayLike],
        prediction: ArrayLike | Sequence[ArrayLike] | None = None,
        *,
        classes: Sequence[str],
        palette: Sequence[Colour],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        names: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        check_classes(classes, palette)
        images, truths = _listed(image, 3), _listed(truth, 2)
        predictions = None if prediction is None else _listed(prediction, 2)
        for what, given in (("truth", truths), ("prediction", predictions), ("names", names)):
            if given is not None and len(given) != len(images):
                raise ValueError(f"{len(images)} images but {len(given)} in {what}; give one each")
        if not images:
            raise ValueError("no image to explore; give at least one")
        self._pictures: list[Picture] = [picture(one, mean=mean, std=std) for one in images]
        self._truths = self._checked(truths, len(classes), "truth")
        self._predictions: list[NDArray] = (
            self._checked(predictions, len(classes), "prediction") if predictions else []
        )
        super().__init__(**settings)
        self.set_trait("classes", [text.one_line(name) for name in classes])
        self.set_trait("palette", [[int(value) for value in colour] for colour in palette])
        self.set_trait("layers", list(LAYERS if self._predictions else LAYERS[:1]))
        self.set_trait(
            "samples",
            [
                {
                    "name": "" if names is None else text.one_line(names[i]),
                    "height": seen.shape[0],
                    "width": seen.shape[1],
                    "image": png(Image.fromarray(seen)),
                    "truth": zlib.compress(self._truths[i].tobytes()),
                    "prediction": (
                        zlib.compress(self._predictions[i].tobytes()) if self._predictions else None
                    ),
                }
                for i, seen in enumerate(self._pictures)
            ],
        )

    def _checked(self, given: list[ArrayLike], num_classes: int, what: str) -> list[NDArray]:
        return [
            label_map(labels, num_classes, size=seen.shape[:2], what=what)
            for labels, seen in zip(given, self._pictures, strict=True)
        ]

    @traitlets.validate("layer")
    def _layer_exists(self, proposal: dict) -> str:
        if self.layers and proposal["value"] not in self.layers:
            raise ValueError(f"there is no layer {proposal['value']!r} without a prediction")
        return proposal["value"]

    @traitlets.validate("index")
    def _index_exists(self, proposal: dict) -> int:
        if not 0 <= proposal["value"] < len(self._pictures):
            allowed = f"0..{len(self._pictures) - 1}"
            raise ValueError(f"there is no image {proposal['value']}; allowed are {allowed}")
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
            where there is no prediction.
        """
        i = self.index
        args = self.classes, [(red, green, blue) for red, green, blue in self.palette]
        title = self.samples[i]["name"]
        if self._predictions:
            pair = self._truths[i], self._predictions[i]
            figure = comparison(self._pictures[i], *pair, *args, title=title)
        else:
            figure = overlay(self._pictures[i], self._truths[i], *args, title=title)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", bbox_inches="tight")
        # 256 colours are enough to look at, and keep an executed notebook small. Without k-means
        # the photograph's colours push those of rare classes together.
        return png(Image.open(drawn).convert("RGB").quantize(256, kmeans=3))


def _listed(values: Any, dimensions: int) -> list[Any]:
    """A list of images or maps from one, a list of them, or a batch."""
    if isinstance(values, list | tuple):
        return list(values)
    return list(array(values)) if array(values).ndim > dimensions else [values]
