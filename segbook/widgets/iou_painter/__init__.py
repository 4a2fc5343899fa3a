"""The IoU painter: paint a prediction and see what every score says to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib import rc_context
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from segbook import text
from segbook.figures.overlays import legend_patches, longest, show
from segbook.figures.pictures import Colour, check_classes, label_map, label_picture, picture
from segbook.figures.style import STYLE, drawable, panel, sized
from segbook.widgets.sent import check_index, drawn, packed, plain
from segbook.widgets.widget import Widget, png, sources
from segkit.losses import cross_entropy, dice
from segkit.metrics import POLICIES, ConfusionMatrix
from segkit.outputs import IGNORE

OF_ONE_IMAGE = {name: meaning for name, meaning in POLICIES.items() if "per_image" not in name}
"""Of one image alone ``per_image`` says what ``dataset`` says, and so with absent classes."""


class IoUPainter(Widget):
    """Paint a prediction over an image; accuracy, mIoU and the IoU of the painted class move along.

    Dice, every other mean IoU and the losses stand behind a fold. Scores are those of
    `segkit.metrics` and `segkit.losses`, computed in the browser: it answers at once and without a
    kernel. For the losses, the painted class of each pixel has the probability `confidence`, and
    the others share what is left.

    Args:
        truth: class ids, shape (H, W), 255 for void.
        image: the image, as `segbook.figures.picture` takes it; None paints on white.
        classes: the K class names, at least two.
        palette: K colours, RGB in 0..255.
        prediction: class ids to begin with, shape (H, W), without void; None is the truth's most
            frequent class everywhere.
        mean: of the normalisation, if the image was normalised.
        std: of the normalisation.

    Attributes:
        painted: the prediction as H * W bytes; it follows the brush at the end of each stroke.
        confidence: probability of the painted class, 0.5..0.99.
        brush: id of the class to paint with at first, whose IoU is shown beside the two means.

    Raises:
        ValueError: sizes that differ, an id without a class, fewer than two classes, no pixel.

    Example:
        >>> import numpy as np
        >>> palette = ((128, 64, 128), (0, 0, 0))
        >>> IoUPainter(np.eye(8, dtype=int), classes=("road", "pole"), palette=palette)
        IoUPainter(8x8 pixels, 2 classes)
    """

    _esm, _css = sources("iou_painter")
    title = "IoU painter"
    state = ("truth", "image", "width", "height", "classes", "palette", "ignore", "policies")
    state += ("painted", "confidence", "brush")

    truth = traitlets.Bytes(read_only=True).tag(sync=True)
    image = traitlets.Bytes(read_only=True).tag(sync=True)
    width = traitlets.Int(read_only=True).tag(sync=True)
    height = traitlets.Int(read_only=True).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    palette = traitlets.List(traitlets.List(traitlets.Int()), read_only=True).tag(sync=True)
    ignore = traitlets.Int(IGNORE, read_only=True).tag(sync=True)
    policies = traitlets.List(read_only=True).tag(sync=True)
    painted = traitlets.CBytes().tag(sync=True)  # a browser's bytes come as a memoryview
    confidence = traitlets.Float(0.9, min=0.5, max=0.99).tag(sync=True)
    brush = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(
        self,
        truth: ArrayLike,
        image: ArrayLike | None = None,
        *,
        classes: Sequence[str],
        palette: Sequence[Colour],
        prediction: ArrayLike | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **settings: Any,
    ) -> None:
        check_classes(classes, palette)
        if len(classes) < 2:
            raise ValueError(f"classes are {list(classes)}; a score needs at least two")
        self._truth = label_map(truth, len(classes), what="truth")
        if not self._truth.size:
            raise ValueError(f"truth has shape {self._truth.shape}: there is no pixel to paint")
        height, width = self._truth.shape
        self._image = None if image is None else picture(image, mean=mean, std=std)
        if self._image is not None and self._image.shape[:2] != (height, width):
            raise ValueError(
                f"the image has {self._image.shape[:2]} pixels and the truth {(height, width)}; "
                "give two of one size"
            )
        super().__init__()
        given = dict(
            truth=packed(self._truth),
            image=b"" if self._image is None else png(Image.fromarray(self._image)),
            width=width,
            height=height,
            classes=[text.one_line(name) for name in classes],
            palette=plain(palette),
            policies=list(OF_ONE_IMAGE.items()),
        )
        for name, value in given.items():
            self.set_trait(name, value)
        if prediction is None:
            counts = np.bincount(self._truth[self._truth != IGNORE], minlength=1)
            prediction = np.full((height, width), counts.argmax(), np.uint8)
        self.prediction = prediction
        for name, value in settings.items():
            setattr(self, name, value)

    @property
    def prediction(self) -> NDArray[np.uint8]:
        """What is painted now: class ids, uint8 (H, W); it may be set."""
        return np.frombuffer(self.painted, np.uint8).reshape(self._truth.shape).copy()

    @prediction.setter
    def prediction(self, labels: ArrayLike) -> None:
        size = self._truth.shape
        self.painted = label_map(
            labels, len(self.classes), size=size, what="prediction"
        ).tobytes()  # fmt: skip

    @traitlets.validate("painted")
    def _one_class_a_pixel(self, proposal: dict) -> bytes:
        painted = proposal["value"]
        if len(painted) != self._truth.size or max(painted) >= len(self.classes):
            raise ValueError(
                f"a prediction has one class of 0..{len(self.classes) - 1} at each of the "
                f"{self._truth.size} pixels, and no void"
            )
        return painted

    @traitlets.validate("brush")
    def _class_exists(self, proposal: dict) -> int:
        return check_index(proposal["value"], len(self.classes), "class")

    def scores(self) -> dict[str, Any]:
        """What the widget shows, computed by segkit.

        Returns:
            ``pixel_accuracy``, ``cross_entropy`` (nats a pixel) and ``soft_dice`` (the loss);
            ``miou`` by policy; ``iou`` and ``dice`` by class, lists of K. All but the cross-entropy
            are 0..1; nan where there is nothing to score.
        """
        truth, painted = (torch.from_numpy(ids).long() for ids in (self._truth, self.prediction))
        count = len(self.classes)
        matrix = ConfusionMatrix(count)
        matrix.update(painted[None], truth[None])
        rest = (1 - self.confidence) / (count - 1)
        probs = torch.full((1, count, *truth.shape), rest, dtype=torch.float64)
        probs.scatter_(1, painted[None, None], self.confidence)
        return {
            "pixel_accuracy": matrix.pixel_accuracy(),
            "cross_entropy": float(cross_entropy(probs.log(), truth[None])),
            "soft_dice": float(dice(probs.log(), truth[None])),
            "miou": {policy: matrix.miou(policy) for policy in OF_ONE_IMAGE},
            "iou": matrix.iou().tolist(),
            "dice": matrix.dice().tolist(),
        }

    def __repr__(self) -> str:
        """What is in it, the same in every run, so that executed notebooks can be compared."""
        return f"IoUPainter({self.height}x{self.width} pixels, {len(self.classes)} classes)"

    def snapshot(self) -> bytes:
        """Image, truth and prediction in a row with the scores that are not folded, PNG bytes."""
        painted, found = self.prediction, self.scores()
        palette = [(red, green, blue) for red, green, blue in self.palette]
        truth = self._truth
        panels: list[Any] = [] if self._image is None else [(self._image, "image", None)]
        panels.append((label_picture(truth, palette, hatch=True), "truth", truth))
        panels.append((label_picture(painted, palette, hatch=True), "prediction", painted))
        brush = drawable(self.classes[self.brush], self.brush)
        lines = [("of this prediction", "%")]
        lines += [("pixel accuracy", _percent(found["pixel_accuracy"]))]
        lines += [("mIoU (dataset)", _percent(found["miou"]["dataset"]))]
        lines += [(f"IoU of {brush}", _percent(found["iou"][self.brush]))]
        with rc_context(STYLE):
            patches = legend_patches([truth, painted], self.classes, palette)
            across = min(len(patches), 7, max(1, 180 // (longest(patches) + 8)))
            below = 0.22 * -(-len(patches) // across)
            tall = max(2.4, 3.2 * panel(truth.shape) + 0.25)
            figure = sized(3.2 * len(panels) + 2.6, tall + below)
            figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01)
            *axes, told = figure.subplots(
                1, len(panels) + 1, width_ratios=[3.2] * len(panels) + [2.6]
            )
            for axis, one in zip(axes, panels, strict=True):
                show(axis, *one)
            told.set_axis_off()
            for i, (what, value) in enumerate(lines):
                high, weight = 0.97 - 0.15 * i, "normal" if i else "bold"
                told.text(0.04, high, text.figure(what), va="top", weight=weight)
                told.text(1, high, value, va="top", ha="right", weight=weight)
            figure.legend(handles=patches, loc="outside lower center", ncols=across)
            return drawn(figure)


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f}"
