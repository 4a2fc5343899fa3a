"""The stride explorer: what is left of a truth when a network sees it in cells of s pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib import rc_context
from numpy.typing import ArrayLike, NDArray

from segbook import text
from segbook.figures.overlays import legend_patches, longest, show
from segbook.figures.pictures import Colour, array, check_classes, label_map, label_picture
from segbook.figures.style import STYLE, panel, sized
from segbook.widgets.sent import check_index, drawn, packed, plain
from segbook.widgets.widget import Widget, sources
from segkit.metrics import ConfusionMatrix, oracle_labels
from segkit.outputs import IGNORE


class StrideExplorer(Widget):
    """A truth beside what a perfect network of a stride makes of it, with the IoU of each class.

    A slider sets the stride; the pointer reads both classes of a pixel. The oracle
    (`segkit.metrics.oracle_labels`) is computed for every stride beforehand, so that the browser
    answers at once and without a kernel.

    Args:
        mask: class ids, shape (H, W), 255 for void, or a sequence or batch of maps, which then may
            be paged through.
        classes: the K class names.
        palette: K colours, RGB in 0..255.
        strides: in pixels, ascending.
        names: a name for each map.

    Attributes:
        stride: the one that is shown; as all below, it may be set and follows the slider.
        index: which of the maps is shown, from 0.

    Raises:
        ValueError: no map, fewer than two classes, an id without a class, strides that do not
            ascend from 1.

    Example:
        >>> import numpy as np
        >>> palette = ((128, 64, 128), (0, 0, 0))
        >>> StrideExplorer(np.eye(8, dtype=int), classes=("road", "pole"), palette=palette)
        StrideExplorer(1 mask of 8x8 pixels, 2 classes, strides 2, 4, 8, 16, 32, 64)
    """

    _esm, _css = sources("stride_explorer")
    title = "Stride explorer"
    state = ("samples", "overall", "classes", "palette", "strides", "ignore", "stride", "index")

    samples = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    overall = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    palette = traitlets.List(traitlets.List(traitlets.Int()), read_only=True).tag(sync=True)
    strides = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    ignore = traitlets.Int(IGNORE, read_only=True).tag(sync=True)
    stride = traitlets.Int().tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        mask: ArrayLike | Sequence[ArrayLike],
        *,
        classes: Sequence[str],
        palette: Sequence[Colour],
        strides: Sequence[int] = (2, 4, 8, 16, 32, 64),
        names: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        check_classes(classes, palette)
        # Maps of different sizes are a list, of which numpy could make no array.
        given: Any = mask
        if not (isinstance(given, list | tuple) and given and array(given[0]).ndim == 2):
            given = array(given)
            given = [given] if given.ndim == 2 else list(given)
        self._masks = [label_map(one, len(classes), what="masks") for one in given]
        if not self._masks or not all(ids.size for ids in self._masks):
            raise ValueError("there is no mask, or no pixel in one; give at least one of each")
        if names is not None and len(names) != len(self._masks):
            raise ValueError(f"{len(self._masks)} masks but {len(names)} names; give one each")
        steps = list(strides)
        if not steps or steps != sorted(set(steps)):
            raise ValueError(f"strides are {steps}; give at least one, ascending from 1 pixel")
        self._oracles: list[list[NDArray]] = []  # of each mask at each stride
        scores = []
        all_of = [ConfusionMatrix(len(classes)) for _ in steps]
        for ids in self._masks:
            truth = torch.from_numpy(ids)
            found = [oracle_labels(truth, stride, len(classes)) for stride in steps]
            # Void is not counted, whatever the oracle says there: it stays void to the eye.
            self._oracles.append(
                [np.where(ids == IGNORE, IGNORE, one).astype(np.uint8) for one in found]
            )
            one_of = [ConfusionMatrix(len(classes)) for _ in steps]
            for labels, one, every in zip(found, one_of, all_of, strict=True):
                one.update(labels[None], truth[None])
                every.update(labels[None], truth[None])
            scores.append([_scores(one) for one in one_of])
        super().__init__()
        self.set_trait("strides", steps)
        self.set_trait("classes", [text.one_line(name) for name in classes])
        self.set_trait("palette", plain(palette))
        self.set_trait("overall", [_scores(every) for every in all_of])
        samples = [
            {
                "name": "" if names is None else text.one_line(names[i]),
                "height": ids.shape[0],
                "width": ids.shape[1],
                "truth": packed(ids),
                "oracles": [packed(labels) for labels in self._oracles[i]],
                "scores": scores[i],
            }
            for i, ids in enumerate(self._masks)
        ]
        self.set_trait("samples", samples)
        self.stride = steps[min(2, len(steps) - 1)]
        for name, value in settings.items():
            setattr(self, name, value)

    @traitlets.validate("stride")
    def _stride_exists(self, proposal: dict) -> int:
        if proposal["value"] not in self.strides:
            raise ValueError(f"there is no stride {proposal['value']}; allowed are {self.strides}")
        return proposal["value"]

    @traitlets.validate("index")
    def _index_exists(self, proposal: dict) -> int:
        return check_index(proposal["value"], len(self._masks), "mask")

    def __repr__(self) -> str:
        """What is in it, the same in every run, so that executed notebooks can be compared."""
        height, width = self._masks[0].shape
        count, number = len(self._masks), len(self.classes)
        masks = f"{count} mask{'s' * (count > 1)} of {height}x{width} pixels"
        strides = f"stride{'s' * (len(self.strides) > 1)} {', '.join(map(str, self.strides))}"
        return f"StrideExplorer({masks}, {number} class{'es' * (number > 1)}, {strides})"

    def snapshot(self) -> bytes:
        """The truth and the oracles of at most seven strides with their mIoU, PNG bytes."""
        truth, sample = self._masks[self.index], self.samples[self.index]
        palette = [(red, green, blue) for red, green, blue in self.palette]
        every = -(-len(self.strides) // 7)
        shown = list(zip(self.strides, self._oracles[self.index], sample["scores"], strict=True))
        panels = [(truth, f"truth {sample['name']}".strip())]
        for stride, labels, score in shown[::every]:
            mean = "" if score["miou"] is None else f"mIoU {100 * score['miou']:.1f}"
            panels.append((labels, f"stride {stride}: {mean}"))
        columns = min(4, len(panels))
        rows = -(-len(panels) // columns)
        with rc_context(STYLE):
            patches = legend_patches([ids for ids, _ in panels], self.classes, palette)
            across = min(len(patches), 7, max(1, 180 // (longest(patches) + 8)))
            below = 0.22 * -(-len(patches) // across)
            tall = rows * (2.95 * panel(truth.shape) + 0.25)
            figure = sized(3 * columns, tall + below)
            figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01)
            axes = list(figure.subplots(rows, columns, squeeze=False).flat)
            for axis, (ids, name) in zip(axes, panels, strict=False):
                show(axis, label_picture(ids, palette, hatch=True), name, ids)
            for axis in axes[len(panels) :]:
                axis.set_axis_off()
            figure.legend(handles=patches, loc="outside lower center", ncols=across)
            return drawn(figure)


def _scores(matrix: ConfusionMatrix) -> dict[str, Any]:
    """IoU of each class and their mean, 0..1, None where there is nothing to score."""
    values = [matrix.miou(), *matrix.iou().tolist()]
    mean, *iou = [None if math.isnan(value) else value for value in values]
    return {"miou": mean, "iou": iou}
