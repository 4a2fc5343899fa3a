"""The attention pointer: point at a pixel and see whom it attends to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import matplotlib
import numpy as np
import traitlets
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from segbook import text
from segbook.figures.overlays import show
from segbook.figures.pictures import Colour, Picture, array, check_classes, label_map, picture
from segbook.figures.style import panel, sized, styled
from segbook.widgets.sent import drawn, jpeg, packed, plain
from segbook.widgets.widget import Widget, sources
from segkit.outputs import IGNORE

HEAT = "magma"
"""The colour map: its lightness rises evenly, which every eye and every printer keeps."""
FAINTEST = 0.2
"""Of the heat's opacity, what lies over a place that is not attended to: it stays to be seen."""
Pixel = tuple[int, int]
Asked = Callable[[int, int], ArrayLike]


class AttentionPointer(Widget):
    """An image, and over it what the pixel under the pointer attends to.

    One of three kinds, by what is given:

    - ``attention``: weights between all places of a grid, as of a non-local block or SegFormer.
    - ``attention`` and ``regions``: a pixel asks K regions, as in OCRNet; shown is the sum of the
      regions' maps, weighted as the pixel weights them, or one region's map.
    - ``maps``: a number at each place, as UAFM's alpha; read under the pointer.

    Weights are sent as 8 bits with a scale for each query, so that it works without a kernel.

    Args:
        image: see `segbook.figures.picture`: uint8 or float, (3, H, W) or (H, W, 3).
        attention: (N, M) or (heads, N, M) weights of N = h * w queries over M keys, each row's sum
            1; or a function of a query's row and column in the grid that gives (h', w') or (heads,
            h', w'). With ``regions``: (N, K) or (K, h, w) weights over the regions.
        grid: (h, w) of the queries; needed with (N, ...) weights and with a function.
        keys: (h', w') of the keys, where that is another grid, as in SegFormer.
        regions: (K, h, w) maps, not negative, of where each region is.
        maps: (h, w), or a list of maps, of any sizes, which then may be chosen by name.
        names: of the K regions or of the maps.
        labels: class ids (H, W) of the image's pixels, 255 for void: tells the shares by class.
        classes: names of the classes of ``labels``.
        palette: their colours, RGB in 0..255.
        pixels: (x, y) of pixels that ask in the static picture; None takes three.
        asking: what stands at these pixels, for the static picture's titles.
        most_bytes: of weights that are sent. Where there are more, fewer queries may be asked and
            neighbouring keys are added up.

    Attributes:
        pixel: (x, y) of the image that asks; a click sets it.
        head: which head is shown, from 0; -1 for their mean.
        shown: which region or map is shown, from 0; -1 for the regions' weighted sum.
        opacity: of the heat over the image, 0..1.

    Raises:
        ValueError: not one of the three kinds, shapes that do not fit, weights that are negative,
            not finite or whose rows do not sum to 1.

    Example:
        >>> import numpy as np
        >>> AttentionPointer(np.zeros((8, 12, 3), np.uint8), np.full((6, 6), 1 / 6), grid=(2, 3))
        AttentionPointer(8x12 pixels, 2x3 queries, 2x3 keys)
    """

    _esm, _css = sources("attention_pointer")
    title = "Attention pointer"
    state = (
        "kind",
        "image",
        "size",
        "grid",
        "key_grid",
        "heads",
        "weights",
        "scales",
        "maps",
        "names",
    )
    state += ("places", "classes", "palette", "ignore", "colours", "pixel", "head", "shown")
    state += ("opacity",)

    kind = traitlets.Enum(("pairs", "regions", "maps"), read_only=True).tag(sync=True)
    image = traitlets.Bytes(read_only=True).tag(sync=True)
    size = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    grid = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    key_grid = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    heads = traitlets.Int(1, read_only=True).tag(sync=True)
    weights = traitlets.Bytes(packed(()), read_only=True).tag(sync=True)
    scales = traitlets.Bytes(packed(()), read_only=True).tag(sync=True)
    maps = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    places = traitlets.Bytes(packed(()), read_only=True).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    palette = traitlets.List(traitlets.List(traitlets.Int()), read_only=True).tag(sync=True)
    ignore = traitlets.Int(IGNORE, read_only=True).tag(sync=True)
    colours = traitlets.Bytes(read_only=True).tag(sync=True)
    pixel = traitlets.Tuple(traitlets.Int(), traitlets.Int()).tag(sync=True)
    head = traitlets.Int(-1).tag(sync=True)
    shown = traitlets.Int(-1).tag(sync=True)
    opacity = traitlets.Float(0.75, min=0, max=1).tag(sync=True)

    def __init__(
        self,
        image: ArrayLike,
        attention: ArrayLike | Asked | None = None,
        *,
        grid: tuple[int, int] | None = None,
        keys: tuple[int, int] | None = None,
        regions: ArrayLike | None = None,
        maps: ArrayLike | Sequence[ArrayLike] | None = None,
        names: Sequence[str] = (),
        labels: ArrayLike | None = None,
        classes: Sequence[str] = (),
        palette: Sequence[Colour] = (),
        pixels: Sequence[Pixel] | None = None,
        asking: Sequence[str] = (),
        most_bytes: int = 2_000_000,
        **settings: Any,
    ) -> None:
        if (attention is None) == (maps is None) or (regions is not None and attention is None):
            raise ValueError(
                "give attention, or attention and regions, or maps: weights between places, a "
                "pixel's weights over regions, or numbers to read"
            )
        self._seen: Picture = picture(image)
        height, width = self._seen.shape[:2]
        self._labels = None
        if labels is not None:
            check_classes(classes, palette)
            self._labels = label_map(labels, len(classes), size=(height, width))
        self._weights: NDArray[np.float32] | None = None
        self._maps: list[NDArray[np.float32]] = []
        fields: dict[str, Any] = {}
        if maps is not None:
            given: Any = (
                maps if isinstance(maps, list | tuple) and _is_list_of_maps(maps) else [maps]
            )
            self._maps = [_map(one) for one in given]
            kind = "maps"
        elif regions is not None:
            kind = "regions"
            self._maps = [_map(one) for one in _without_batch(regions, 3, "regions")]
            if any(one.min() < 0 for one in self._maps):
                raise ValueError("regions hold negative numbers; give maps after their softmax")
            over = _without_batch(attention, 0, "attention")
            if over.ndim == 3:
                grid = grid or (over.shape[1], over.shape[2])
                over = over.reshape(len(over), -1).T
            grid = _checked_grid(grid)
            if over.shape != (expected := (grid[0] * grid[1], len(self._maps))):
                raise ValueError(
                    f"attention has shape {over.shape}; with {expected[1]} regions and a grid of "
                    f"{grid} it must be {expected} or ({expected[1]}, {grid[0]}, {grid[1]})"
                )
            fields = self._quantised(over[None]) | {"grid": list(grid)}
        else:
            kind = "pairs"
            grid = _checked_grid(grid)
            over, grid, keys = _fewer(attention, grid, keys, most_bytes)
            fields = self._quantised(over) | {"grid": list(grid), "key_grid": list(keys)}
        if names and len(names) != len(self._maps):
            raise ValueError(f"{len(names)} names but {len(self._maps)} maps; give one each")
        self._pixels = [
            *(pixels or _three_pixels(self._labels, height, width)[: 1 if kind == "maps" else 3])
        ]
        for x, y in self._pixels:
            if not (0 <= x < width and 0 <= y < height):
                raise ValueError(f"there is no pixel ({x}, {y}) in {height}x{width}")
        if asking and len(asking) != len(self._pixels):
            raise ValueError(f"{len(asking)} askers are named but {len(self._pixels)} pixels ask")
        self._asking = [text.one_line(name) for name in asking]
        for name, value in {"kind": kind, "size": [height, width], **fields}.items():
            self.set_trait(name, value)
        several = names or [f"map {i + 1}" for i in range(len(self._maps))]
        self.set_trait("names", [text.one_line(name) for name in several])
        start = {"pixel": tuple(self._pixels[0]), "shown": 0 if kind == "maps" else -1}
        super().__init__(**start | settings)
        self.set_trait("image", jpeg(self._seen, 90))
        self.set_trait("classes", [text.one_line(name) for name in classes])
        self.set_trait("palette", plain(palette))
        self.set_trait("colours", _heat_colours(kind).tobytes())
        self.set_trait("maps", [_sent_map(one) for one in self._maps])
        if self._labels is not None and kind == "pairs":
            self.set_trait("places", packed(_at_cells(self._labels, self.key_grid)))

    def _quantised(self, weights: NDArray[np.float32]) -> dict[str, Any]:
        """Weights (heads, N, M) as 8 bits, each row with a scale: what is sent is drawn."""
        if not np.isfinite(weights).all() or weights.min(initial=0) < 0:
            raise ValueError("attention holds negative or not finite weights; give its softmax")
        off = np.abs(weights.sum(2) - 1).max(initial=0)
        if off > 0.02:
            raise ValueError(
                f"a query's weights sum to 1 off by {off:.3g}; give the softmax over the last axis "
                "(of (K, h, w): over the first)"
            )
        scales = weights.max(2, keepdims=True).astype(np.float32)
        sent = (weights / scales * 255).round().astype(np.uint8)
        self._weights = sent.astype(np.float32) / 255 * scales
        return {"weights": packed(sent), "scales": packed(scales), "heads": len(sent)}

    @traitlets.validate("pixel")
    def _pixel_exists(self, proposal: dict) -> Pixel:
        (x, y), (height, width) = proposal["value"], self.size or (1, 1)
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"there is no pixel ({x}, {y}) in {height}x{width}")
        return x, y

    @traitlets.validate("head", "shown")
    def _choice_exists(self, proposal: dict) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        count = self.heads if name == "head" else len(self._maps)
        lowest = 0 if name == "shown" and self.kind == "maps" else -1
        if not lowest <= value < count:
            raise ValueError(f"there is no {name} {value}; allowed are {lowest}..{count - 1}")
        return value

    def __repr__(self) -> str:
        """What is in it, the same in every run, so that executed notebooks can be compared."""
        height, width = self.size
        what = f"{len(self._maps)} map{'s' * (len(self._maps) > 1)}"
        if self.kind != "maps":
            what = f"{self.grid[0]}x{self.grid[1]} queries, "
            what += f"{self.key_grid[0]}x{self.key_grid[1]} keys" if self.key_grid else ""
            what += f"{len(self._maps)} regions" if self._maps else ""
            what += f", {self.heads} heads" if self.heads > 1 else ""
        return f"AttentionPointer({height}x{width} pixels, {what})"

    def asked(self, pixel: Pixel) -> NDArray[np.float32]:
        """What a pixel attends to, by the head that is chosen.

        Args:
            pixel: (x, y) of the image.

        Returns:
            Weights of the keys, float32 (h', w'); of the regions, (K,).
        """
        if self._weights is None:
            raise ValueError("maps have no queries; read maps instead")
        (x, y), (height, width), (rows, columns) = pixel, self.size, self.grid
        query = y * rows // height * columns + x * columns // width
        of_heads = self._weights[:, query]
        weights = of_heads.mean(0) if self.head < 0 else of_heads[self.head]
        return weights if self.kind == "regions" else weights.reshape(self.key_grid)

    def snapshot(self) -> bytes:
        """Each asker from near, and below it whom it attends to; or the maps beside the image.

        Returns:
            PNG bytes.
        """
        return drawn(self._drawn_maps() if self.kind == "maps" else self._drawn_asks())

    @styled
    def _drawn_asks(self) -> Figure:
        columns = min(len(self._pixels), 3)
        rows = 2 * -(-len(self._pixels) // columns)
        each = 9.6 / max(columns, 2) * panel(self._seen.shape[:2]) + 0.27
        figure = self._figure(each * rows + 0.55)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.ravel():
            axes.set_axis_off()
        for k, (x, y) in enumerate(self._pixels):
            near, far = grid[2 * (k // columns) : 2 * (k // columns) + 2, k % columns]
            named = self._asking[k] if self._asking else f"x {x}, y {y}"
            seen, (left, top) = _around(self._seen, (x, y))
            show(near, seen, f"{k + 1}: {named}")
            weights = self.asked((x, y))
            # The root: of thousands of weights most are far below the largest.
            values = weights**0.5 if self.kind == "pairs" else _weighted(weights, self._maps)
            show(far, self._heated(values, 0.0, values.max()), self._told(weights))
            for axes, place in ((near, (x - left, y - top)), (far, (x, y))):
                _ring(axes, place)
        what = (
            "root of the weight, so that small ones show"
            if self.kind == "pairs"
            else "w times its region's map, summed"
        )
        self._scale_below(figure, 0.0, 1.0, f"{what}; 1 is the largest in a picture")
        return figure

    def _told(self, weights: NDArray) -> str:
        """Of whom most is heard: two classes or regions, in percent."""
        shares, names = weights, self.names
        if self.kind == "pairs":
            if self._labels is None:
                return f"at most {100 * weights.max():.2g} % on a cell"
            places, names = _at_cells(self._labels, self.key_grid), self.classes
            shares = np.array([weights[places == k].sum() for k in range(len(names))])
        best = np.argsort(-shares, kind="stable")[:2]
        told = [f"{100 * shares[k]:.0f} % {names[k]}" for k in best]
        verb = "hears " if self.kind == "pairs" else "regions: "
        return verb + ", ".join(told[: 1 + bool(shares[best[-1]] >= 0.01)])

    @styled
    def _drawn_maps(self) -> Figure:
        columns = min(len(self._maps) + 1, 4)
        rows = -(-(len(self._maps) + 1) // columns)
        figure = self._figure((9.6 / columns * panel(self._seen.shape[:2]) + 0.27) * rows + 0.55)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        show(grid[0], self._seen, "image")
        low, high = _scale(self._maps)
        for axes, name, values in zip(grid[1:], self.names, self._maps, strict=False):
            show(axes, self._heated(values, low, high), name)
        self._scale_below(figure, low, high, "value of the map")
        return figure

    def _figure(self, height: float) -> Figure:
        figure = sized(9.6, height)
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.04, wspace=0.01, hspace=0.01)
        return figure

    def _scale_below(self, figure: Figure, low: float, high: float, label: str) -> None:
        scale = ScalarMappable(Normalize(low, high), HEAT)
        below = {"orientation": "horizontal", "fraction": 0.05, "aspect": 60}
        figure.colorbar(scale, ax=figure.axes, label=label, **below)

    def _heated(self, values: NDArray, low: float, high: float) -> Picture:
        height, width = self._seen.shape[:2]
        share = ((values - low) / (high - low or 1)).clip(0, 1)
        cells = Image.fromarray(_heat_colours(self.kind)[(255 * share).round().astype(int)])
        large = np.asarray(cells.resize((width, height), Image.Resampling.NEAREST))
        alpha = self.opacity * large[..., 3:] / 255
        grey = self._seen.mean(2, keepdims=True)
        return (grey * (1 - alpha) + large[..., :3] * alpha).round().astype(np.uint8)


def _around(image: Picture, pixel: Pixel) -> tuple[Picture, Pixel]:
    """A third of an image's sides around a pixel, and where its corner (x, y) lies."""
    corner = []
    for place, size in zip(pixel, image.shape[1::-1], strict=True):
        side = -(-size // 3)
        corner.append(min(max(place - side // 2, 0), size - side))
    (left, top), (height, width) = corner, image.shape[:2]
    return image[top : top + -(-height // 3), left : left + -(-width // 3)], (left, top)


def _ring(axes: Axes, pixel: Pixel) -> None:
    axes.plot(*pixel, "o", markersize=10, mfc="none", mec="white", markeredgewidth=2)
    axes.plot(*pixel, "o", markersize=12, mfc="none", mec="black", markeredgewidth=0.8)


def _is_list_of_maps(maps: Sequence[Any]) -> bool:
    return bool(maps) and array(maps[0]).ndim >= 2


def _map(values: ArrayLike) -> NDArray[np.float32]:
    found = array(values).astype(np.float32)
    found = found.reshape(found.shape[-2:]) if found.ndim > 2 and found.size else found
    if found.ndim != 2 or not found.size or not np.isfinite(found).all():
        raise ValueError(f"a map has shape {array(values).shape}; needed are finite numbers (h, w)")
    return found


def _without_batch(values: Any, dimensions: int, what: str) -> NDArray[np.float32]:
    """An array without a leading batch of one; of so many dimensions, where that is not 0."""
    found = array(values).astype(np.float32)
    if found.ndim == 4 and len(found) == 1:
        found = found[0]
    if dimensions and found.ndim != dimensions:
        raise ValueError(f"{what} have shape {found.shape}; needed are (K, h, w)")
    return found


def _checked_grid(grid: tuple[int, int] | None) -> tuple[int, int]:
    if grid is None or len(grid) != 2 or min(grid) < 1:
        raise ValueError(f"grid is {grid}; give (h, w) of the map whose places are the queries")
    return int(grid[0]), int(grid[1])


def _fewer(
    attention: Any, grid: tuple[int, int], keys: tuple[int, int] | None, most_bytes: int
) -> tuple[NDArray[np.float32], tuple[int, int], tuple[int, int]]:
    """Weights (heads, N, M) that take no more bytes, and the two grids that are left."""
    height, width = grid
    ask = cast(Asked, attention) if callable(attention) else None
    if ask:
        first = array(ask(0, 0))
        keys = (first.shape[-2], first.shape[-1]) if first.ndim in (2, 3) else None
        if keys is None:
            raise ValueError(f"attention(0, 0) has shape {first.shape}; needed is (h', w')")
        heads = first.size // (keys[0] * keys[1])
    else:
        whole = _without_batch(attention, 0, "attention")
        given = whole.shape
        whole = whole[None] if whole.ndim == 2 else whole
        keys = _checked_grid(keys or grid)
        expected = height * width, keys[0] * keys[1]
        if whole.ndim != 3 or whole.shape[1:] != expected:
            raise ValueError(
                f"attention has shape {given}; with queries on {grid} and keys "
                f"on {keys} it must be {expected} or (heads, {expected[0]}, {expected[1]})"
            )
        heads = len(whole)
    for every, side in _coarser():
        rows, columns = (range(min(every // 2, size - 1), size, every) for size in grid)
        fewer = -(-keys[0] // side), -(-keys[1] // side)
        if heads * len(rows) * len(columns) * fewer[0] * fewer[1] <= max(most_bytes, heads):
            break
    found = []
    for row, column in itertools.product(rows, columns):
        one = (
            array(ask(row, column)).astype(np.float32) if ask else whole[:, row * width + column]
        ).reshape(heads, *keys)
        for axis in (1, 2):
            one = np.add.reduceat(one, np.arange(0, one.shape[axis], side), axis)
        found.append(one.reshape(heads, -1))
    return np.stack(found, 1), (len(rows), len(columns)), fewer


def _coarser() -> Iterator[tuple[int, int]]:
    """Steps between queries, and sides of the squares in which keys are added up."""
    for i in itertools.count():
        yield 1 + (i + 1) // 2, 1 + i // 2


def _at_cells(labels: NDArray, grid: Sequence[int]) -> NDArray[np.uint8]:
    """The class in the middle of each cell of a grid."""
    rows, columns = (
        ((np.arange(count) + 0.5) * size / count).astype(int)
        for count, size in zip(grid, labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]


def _three_pixels(labels: NDArray | None, height: int, width: int) -> list[Pixel]:
    """Pixels of the three largest classes, well inside them; else along the lower diagonal."""
    if labels is None:
        return [(width * k // 4, height * k // 4) for k in (2, 1, 3)]
    found = []
    counts = np.bincount(labels[labels != IGNORE].ravel(), minlength=1)
    for k in np.argsort(-counts, kind="stable")[:3]:
        rows, columns = np.nonzero(labels == k)
        if len(rows):
            away = np.abs(rows - np.median(rows)) + np.abs(columns - np.median(columns))
            found.append((int(columns[away.argmin()]), int(rows[away.argmin()])))
    return found or [(width // 2, height // 2)]


def _weighted(weights: NDArray, maps: Sequence[NDArray]) -> NDArray:
    return np.tensordot(weights, np.stack([one / (one.max() or 1) for one in maps]), 1)


def _scale(maps: Sequence[NDArray]) -> tuple[float, float]:
    """From the lowest to the highest number of all maps, so that they can be compared."""
    return float(min(one.min() for one in maps)), float(max(one.max() for one in maps))


def _sent_map(values: NDArray) -> dict[str, Any]:
    """A map as 16 bits between its lowest and its highest number: three digits to read."""
    low, high = float(values.min()), float(values.max())
    sent = ((values - low) / (high - low or 1) * 65535).round().astype("<u2")
    height, width = values.shape
    return {"height": height, "width": width, "low": low, "high": high, "values": packed(sent)}


def _heat_colours(kind: str) -> NDArray[np.uint8]:
    """RGBA of shares in 0..255: maps cover the image, attention the less, the less there is."""
    colours = matplotlib.colormaps[HEAT](np.arange(256))
    if kind != "maps":
        colours[:, 3] = np.linspace(FAINTEST, 1, 256)
    return (colours * 255).round().astype(np.uint8)
