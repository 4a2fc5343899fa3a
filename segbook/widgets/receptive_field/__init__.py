"""The receptive-field pointer: what a unit could see of the image, and what it looks at."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from segbook import text
from segbook.figures.pictures import picture
from segbook.figures.style import panel, sized, styled
from segbook.widgets.receptive_field.fields import (
    View,
    dilated,
    gradients,
    inner_share,
    stamp,
    views,
)
from segbook.widgets.sent import drawn, jpeg, packed
from segbook.widgets.widget import Widget, sources

HOTTEST = 417
"""Pixels along the side of the noise that gradients are taken of, at most."""
COLOUR = (213, 94, 0)


class ReceptiveField(Widget):
    """Point at the image: a box around all that a unit could see, heat where its gradient is.

    The box follows from kernels, strides, dilations and paddings. The heat is the gradient of a
    unit in the middle of its map with respect to noise, which every unit away from the border
    shares; the root of it is shown. Both are there without a kernel.

    Args:
        model: a network with a ``backbone``, a backbone, or layers in a row (a list or an
            ``nn.Sequential``); it is not changed. A backbone's maps are c2 to c5, a layer's number
            counts from 1.
        image: to point at, shape (3, H, W) or (H, W, 3), uint8 or in 0..1.
        dilations: rates by which the taps of layers in a row are moved apart, to choose from.
        images: how many pictures of noise the gradient is averaged over.
        seed: of the noise.

    Attributes:
        depth: which map is looked at, from 0; as all below, it may be set and follows the hand.
        dilation: one of `dilations`.
        heat: whether the gradient is shown.
        point: (x, y) in pixels of the image.

    Raises:
        ValueError: no layers, a rate below 1, rates with a backbone, a transposed convolution.

    Example:
        >>> import numpy as np
        >>> layers = [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)]
        >>> ReceptiveField(layers, np.zeros((40, 60, 3), np.uint8))
        ReceptiveField(40x60 pixels, layer 1: 3x3, layer 2: 5x5)
    """

    _esm, _css = sources("receptive_field")
    title = "Receptive field"
    state = ("photograph", "height", "width", "names", "dilations", "fields")
    state += ("depth", "dilation", "heat", "point")

    photograph = traitlets.Bytes(read_only=True).tag(sync=True)
    height = traitlets.Int(read_only=True).tag(sync=True)
    width = traitlets.Int(read_only=True).tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    dilations = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    fields = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    depth = traitlets.Int(0).tag(sync=True)
    dilation = traitlets.Int(1).tag(sync=True)
    heat = traitlets.Bool(True).tag(sync=True)
    point = traitlets.List(traitlets.Int(), [0, 0], minlen=2, maxlen=2).tag(sync=True)

    def __init__(
        self,
        model: nn.Module | Sequence[nn.Module],
        image: ArrayLike,
        *,
        dilations: Sequence[int] = (1,),
        images: int = 3,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        self._picture = picture(image)
        height, width = self._picture.shape[:2]
        if not height or not width:
            raise ValueError(f"the image has {height}x{width} pixels; give one with some")
        layers = _layers(model)
        rates = list(dict.fromkeys(dilations))
        if not rates or min(rates) < 1 or (layers is None and rates != [1]):
            raise ValueError(
                f"dilations are {rates}; give rates of 1 or more, and more than one for layers in "
                "a row only: a backbone is dilated when it is built (output_stride)"
            )
        found: list[dict[str, Any]] = []
        self._heats: list[NDArray] = []
        for rate in rates:
            names, run, channels = _maps(model, layers, rate)
            for name, view, heat in zip(
                names, *_measured(run, channels, images, seed), strict=True
            ):
                entry, shown = _entry(name, rate, view, heat)
                found.append(entry)
                self._heats.append(shown)
        super().__init__(**settings)
        self.set_trait("photograph", jpeg(self._picture))
        self.set_trait("height", height)
        self.set_trait("width", width)
        self.set_trait("dilations", rates)
        self.set_trait("fields", found)
        self.set_trait("names", [entry["name"] for entry in found[: len(found) // len(rates)]])
        if "point" not in settings:
            self.point = [width // 2, height // 2]
        for name, allowed in (("depth", range(len(self.names))), ("dilation", rates)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)}; it is one of {list(allowed)}")

    def __repr__(self) -> str:
        """What is in it, the same in every run."""
        shown = self.fields[: len(self.names)]
        sizes = ", ".join(f"{entry['name']}: {_size(entry)}" for entry in shown)
        return f"ReceptiveField({self.height}x{self.width} pixels, {sizes})"

    def snapshot(self) -> bytes:
        """Up to four depths side by side.

        Returns:
            PNG bytes.
        """
        count = len(self.names)
        chosen = sorted({round(i * (count - 1) / 3) for i in range(4)})
        start = self.dilations.index(self.dilation) * count
        return drawn(_side_by_side(self, [start + i for i in chosen]))


def _layers(model: nn.Module | Sequence[nn.Module]) -> list[nn.Module] | None:
    """Layers in a row, or None for a network or a backbone."""
    if isinstance(model, nn.Sequential) or not isinstance(model, nn.Module):
        layers = list(model)
        if not layers or not all(isinstance(layer, nn.Module) for layer in layers):
            raise ValueError("there are no layers; give a list of modules, or a backbone")
        return layers
    return None


def _maps(
    model: Any, layers: list[nn.Module] | None, rate: int
) -> tuple[list[str], Callable[[Tensor], list[Tensor]], int]:
    """Names of the maps, what computes them, and how many channels an image has."""
    if layers is None:
        network = copy.deepcopy(getattr(model, "backbone", model)).float().cpu().eval()
        names = ["c2", "c3", "c4", "c5"]

        def run(images: Tensor) -> list[Tensor]:
            return list(network(images))
    else:
        row = [layer.float().cpu().eval() for layer in dilated(layers, rate)]
        network = nn.ModuleList(row)
        counted = [i for i, layer in enumerate(row) if _sees(layer)]
        names = [f"layer {i + 1}" for i in range(len(counted))]

        def run(images: Tensor) -> list[Tensor]:
            maps, x = [], images
            for layer in row:
                x = layer(x)
                maps.append(x)
            return [maps[i] for i in counted]

    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    if not names:
        raise ValueError("no layer has a kernel; give convolutions or pooling")
    return names, run, 3 if first is None else first.in_channels


def _sees(layer: nn.Module) -> bool:
    """Whether it looks at more than one place or is a convolution."""
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    return any(isinstance(module, kinds) for module in layer.modules())


def _measured(
    run: Callable[[Tensor], list[Tensor]], channels: int, images: int, seed: int
) -> tuple[list[View], list[NDArray]]:
    found = views(run, channels, "cpu")
    finite = [max(view.size) for view in found if math.isfinite(max(view.size))]
    coarsest = max(view.stride for view in found)
    side = min(max([*finite, 32]) + 4 * coarsest, HOTTEST)
    step = max(32, int(coarsest))
    side = math.ceil(side / step) * step + 1  # odd: the middle unit lies in the middle
    with torch.random.fork_rng(devices=[]):
        return found, gradients(run, channels, int(side), images, seed)


def _entry(name: str, rate: int, view: View, heat: NDArray) -> tuple[dict[str, Any], NDArray]:
    """What the script needs of a map, and its heat over the box of the middle unit."""
    side = heat.shape[0]
    # The middle unit as `gradients` takes it, and where its box begins in the noise.
    size = view.size
    units = math.ceil(side / view.stride) if math.isfinite(view.stride) else 1
    middle = units // 2
    spans = [
        (round(middle * view.stride + first), round(middle * view.stride + last))
        if math.isfinite(first)
        else (0, side - 1)
        for first, last in (view.rows, view.columns)
    ]
    (top, bottom), (left, right) = [(max(a, 0), min(b, side - 1)) for a, b in spans]
    box = top, left, bottom - top + 1, right - left + 1
    share = inner_share(heat, box)
    shown = heat[top : bottom + 1, left : right + 1]
    cells, cell = stamp(shown)
    whole = not math.isfinite(max(size))
    return {
        "name": text.one_line(name),
        "dilation": rate,
        "stride": view.stride,
        "whole": whole,
        "height": 0 if whole else int(size[0]),
        "width": 0 if whole else int(size[1]),
        # Of the unit at 0, 0: where its box begins, and where the heat does.
        "top": 0.0 if whole else view.rows[0],
        "left": 0.0 if whole else view.columns[0],
        "heat_top": float(top - middle * view.stride),
        "heat_left": float(left - middle * view.stride),
        "stamp": packed(cells),
        "rows": cells.shape[0],
        "columns": cells.shape[1],
        "cell": cell,
        "inner": share,
    }, cells


def _size(entry: dict[str, Any]) -> str:
    return "the whole image" if entry["whole"] else f"{entry['height']}x{entry['width']}"


def _placed(entry: dict[str, Any], point: Sequence[int]) -> tuple[float, float]:
    """Row and column, in pixels, that the unit nearest to a point has as its own; as the script."""
    stride = entry["stride"]
    middle = (0, 0)
    if not entry["whole"]:
        middle = (
            entry["top"] + (entry["height"] - 1) / 2,
            entry["left"] + (entry["width"] - 1) / 2,
        )
    return (
        stride * math.floor((point[1] - middle[0]) / stride + 0.5),
        stride * math.floor((point[0] - middle[1]) / stride + 0.5),
    )


@styled
def _side_by_side(widget: ReceptiveField, chosen: list[int]) -> Figure:
    height, width = widget.height, widget.width
    room = panel((height, width))
    figure = sized(3.1 * len(chosen), 3.1 * room + 0.75, layout="constrained")
    axes = figure.subplots(1, len(chosen), squeeze=False)[0]
    grey = np.repeat(widget._picture.mean(2, keepdims=True), 3, 2) * 0.6 + 95
    for ax, index in zip(axes, chosen, strict=True):
        entry, cells = widget.fields[index], widget._heats[index]
        row, column = _placed(entry, widget.point)
        ax.imshow(grey.clip(0, 255).astype(np.uint8), extent=(0, width, height, 0))
        rgba = np.zeros((*cells.shape, 4))
        rgba[..., :3] = np.array(COLOUR) / 255
        rgba[..., 3] = 0.92 * cells / 255
        top, left = row + entry["heat_top"], column + entry["heat_left"]
        low, right = top + entry["cell"] * entry["rows"], left + entry["cell"] * entry["columns"]
        ax.imshow(rgba, extent=(left, right, low, top), interpolation="nearest")
        if not entry["whole"]:
            corner = column + entry["left"], row + entry["top"]
            for colour, thick in (("black", 2.4), ("white", 1.2)):
                box = Rectangle(corner, entry["width"], entry["height"], fill=False)
                box.set(edgecolor=colour, linewidth=thick)
                ax.add_patch(box)
        ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
        seen = "\n".join(
            (
                f"{entry['name']}, stride {entry['stride']:g}: {_size(entry)}",
                f"{100 * entry['inner']:.0f} % of the gradient in the middle half",
            )
        )
        ax.set_title(seen, fontsize=8.5)
    return figure
