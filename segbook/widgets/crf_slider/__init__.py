"""The CRF slider: what a fully connected CRF makes of a prediction, round by round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from tqdm.auto import tqdm

from segbook import text
from segbook.figures.filmstrip import image_miou
from segbook.figures.overlays import blend, legend_patches, longest, show
from segbook.figures.pictures import (
    WRONG,
    Colour,
    Picture,
    array,
    check_classes,
    label_map,
    picture,
)
from segbook.figures.style import panel, sized, styled
from segbook.widgets.sent import drawn, jpeg, packed, plain
from segbook.widgets.widget import Widget, sources
from segkit.crf import refine
from segkit.outputs import IGNORE

TERMS = ("both", "appearance", "smoothness")
PRESETS: dict[str, dict[str, float]] = {
    "DeepLab": {},
    "any colour": {"appearance_colour": 30.0},
    "near only": {"appearance_position": 8.0},
}
"""Settings of `segkit.crf.refine`: DeepLab's own, colours that hardly matter, a short reach."""
DEFAULTS: dict[str, float] = {
    "appearance_weight": 4.0,
    "appearance_position": 49.0,
    "appearance_colour": 5.0,
    "smoothness_weight": 3.0,
    "smoothness_position": 3.0,
}
"""Those of `segkit.crf.refine`, in the order in which they are shown: w1, θα, θβ, w2, θγ."""
MOST = (240, 320)
"""Height and width in pixels up to which a round takes about a tenth of a second on one core."""


class CrfSlider(Widget):
    """A prediction after 0, 1, 2 ... rounds of mean field, with either kernel or both.

    All rounds are computed here and sent as label maps, so that it works without a kernel.

    Args:
        image: the picture, uint8 or float in 0..1, (3, H, W) or (H, W, 3).
        probs: probabilities of the classes before the CRF, (K, H, W), each pixel's sum 1: of
            logits (K, H, W) ``logits.softmax(0)``.
        labels: the truth, class ids (H, W), 255 for void; with it there are IoU.
        classes: the K class names.
        palette: K colours, RGB in 0..255.
        iterations: the last round.
        presets: by name, settings of `segkit.crf.refine` that differ from DeepLab's: the weights
            and widths of both kernels. Widths of positions are in pixels of ``image``. None takes
            three.
        full_size: compute on all pixels; else a large image is halved, thirded ... first, and the
            widths of positions with it.
        progress: show a bar while it is computed.

    Attributes:
        round: how many rounds are shown, 0 for the network's own prediction.
        terms: ``"both"`` kernels, the ``"appearance"`` or the ``"smoothness"`` alone.
        preset: the name of the settings.
        layer: ``"labels"``, ``"changed"`` (pixels that are no longer what they were, in violet)
            or, with a truth, ``"error"``.
        opacity: of the colours over the image, 0..1.

    Raises:
        ValueError: shapes that differ, ``probs`` that are no probabilities, settings that `refine`
            does not know or allow.

    Example:
        >>> image, probs = np.zeros((3, 8, 8), np.uint8), np.full((2, 8, 8), 0.5, np.float32)
        >>> colours = ((128, 64, 128), (70, 130, 180))
        >>> CrfSlider(image, probs, classes=("road", "sky"), palette=colours, progress=False)
        CrfSlider(8x8 pixels, 2 classes, rounds 0 to 10, DeepLab, any colour, near only)
    """

    _esm, _css = sources("crf_slider")
    title = "CRF slider"
    state = ("image", "size", "maps", "presets", "values", "rounds", "truth", "classes", "palette")
    state += ("ignore", "layers", "round", "terms", "preset", "layer", "opacity")

    image = traitlets.Bytes(read_only=True).tag(sync=True)
    size = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    maps = traitlets.Dict(read_only=True).tag(sync=True)
    presets = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    values = traitlets.List(traitlets.List(traitlets.Float()), read_only=True).tag(sync=True)
    rounds = traitlets.Int(read_only=True).tag(sync=True)
    truth = traitlets.Bytes(None, allow_none=True, read_only=True).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    palette = traitlets.List(traitlets.List(traitlets.Int()), read_only=True).tag(sync=True)
    ignore = traitlets.Int(IGNORE, read_only=True).tag(sync=True)
    layers = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    round = traitlets.Int(0).tag(sync=True)
    terms = traitlets.Enum(TERMS, "both").tag(sync=True)
    preset = traitlets.Unicode().tag(sync=True)
    layer = traitlets.Unicode("labels").tag(sync=True)
    opacity = traitlets.Float(0.7, min=0, max=1).tag(sync=True)

    def __init__(
        self,
        image: ArrayLike,
        probs: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        classes: Sequence[str],
        palette: Sequence[Colour],
        iterations: int = 10,
        presets: Mapping[str, Mapping[str, float]] | None = None,
        full_size: bool = False,
        progress: bool = True,
        **settings: Any,
    ) -> None:
        check_classes(classes, palette)
        seen = picture(image)
        given = torch.as_tensor(array(probs), dtype=torch.float32)
        given = given[0] if given.ndim == 4 and len(given) == 1 else given
        if given.ndim != 3 or given.shape != (len(classes), *seen.shape[:2]):
            raise ValueError(
                f"probs have shape {tuple(given.shape)}; with {len(classes)} classes and this "
                f"image it must be {(len(classes), *seen.shape[:2])}"
            )
        if iterations < 1:
            raise ValueError(f"iterations={iterations}: give 1 or more")
        truth = None
        if labels is not None:
            truth = label_map(labels, len(classes), size=seen.shape[:2], what="labels")
        presets = PRESETS if presets is None else presets
        for name, changed in presets.items():
            if unknown := sorted(set(changed) - set(DEFAULTS)):
                raise ValueError(
                    f"preset {name!r} sets {', '.join(unknown)}; allowed are {', '.join(DEFAULTS)}"
                )
        if not presets:
            raise ValueError("presets are empty; give one, or None for three")
        factor = 1
        if not full_size:
            factor = max(1, *(math.ceil(a / b) for a, b in zip(seen.shape, MOST, strict=False)))
        self._seen, self._truth, given = _smaller(seen, truth, given, factor)
        self._maps: dict[tuple[str, str], NDArray[np.uint8]] = _computed(
            self._seen, given, presets, iterations, factor, progress
        )
        names = {name: text.one_line(name) for name in presets}
        first = next(iter(names.values()))
        for name, value in {
            "presets": [*names.values()],
            "values": [[float(v) for v in (DEFAULTS | {**p}).values()] for p in presets.values()],
            "rounds": iterations,
            "layers": ["labels", "changed", *(["error"] if truth is not None else [])],
        }.items():
            self.set_trait(name, value)
        super().__init__(**{"preset": first, "round": iterations} | settings)
        self.set_trait("size", [*self._seen.shape[:2]])
        self.set_trait("image", jpeg(self._seen, 90))
        self.set_trait("classes", [text.one_line(name) for name in classes])
        self.set_trait("palette", plain(palette))
        if self._truth is not None:
            self.set_trait("truth", packed(self._truth))
        self.set_trait(
            "maps",
            {f"{names[name]}/{terms}": packed(ids) for (name, terms), ids in self._maps.items()},
        )
        self._names = {shown: name for name, shown in names.items()}

    @traitlets.validate("round", "preset", "layer")
    def _exists(self, proposal: dict) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        allowed = {"round": range(self.rounds + 1), "preset": self.presets, "layer": self.layers}
        if value not in allowed[name]:
            shown = f"0..{self.rounds}" if name == "round" else ", ".join(allowed[name])
            raise ValueError(f"there is no {name} {value!r}; allowed are {shown}")
        return value

    def __repr__(self) -> str:
        """What is in it, the same in every run, so that executed notebooks can be compared."""
        height, width = self.size
        return (
            f"CrfSlider({height}x{width} pixels, {len(self.classes)} classes, rounds 0 to "
            f"{self.rounds}, {', '.join(self.presets)})"
        )

    def labels(self, round: int | None = None) -> NDArray[np.uint8]:
        """The class ids after a round, by the terms and the preset that are chosen.

        Args:
            round: 0 for the network's own; None for what is shown.

        Returns:
            uint8 (h, w), of the size that was computed on.
        """
        return self._maps[self._names[self.preset], self.terms][
            self.round if round is None else round
        ]

    def snapshot(self) -> bytes:
        """Before, after one round and after the last, and the pixels that changed.

        Returns:
            PNG bytes.
        """
        return drawn(self._drawn())

    @styled
    def _drawn(self) -> Figure:
        palette: list[Colour] = [(red, green, blue) for red, green, blue in self.palette]
        before = self.labels(0)
        panels: list[tuple[str, Picture]] = [("image", self._seen)]
        maps = [before]
        if self._truth is not None:
            maps.append(self._truth)
            panels.append(("truth", blend(self._seen, self._truth, palette, self.opacity)))
        for count in sorted({0, 1, self.rounds}):
            ids = self.labels(count)
            maps.append(ids)
            title = "the network's" if count == 0 else f"round {count}"
            if self._truth is not None:
                title += f": mIoU {100 * image_miou(ids, self._truth, len(palette)):.1f}"
            panels.append((title, blend(self._seen, ids, palette, self.opacity)))
        changed = self.labels(self.rounds) != before
        grey = np.repeat(self._seen.mean(2, keepdims=True) / 3 + 170, 3, 2).astype(np.uint8)
        grey[changed] = WRONG
        panels.append((f"{100 * changed.mean():.1f} % of the pixels changed", grey))
        patches = legend_patches(maps, self.classes, palette)
        of_legend = min(len(patches), max(1, 150 // (longest(patches) + 8)))
        columns = 3
        rows = -(-len(panels) // columns)
        each = 9.6 / columns * panel(before.shape) + 0.27
        figure = sized(9.6, each * rows + 0.25 + 0.22 * -(-len(patches) // of_legend))
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, (title, shown) in zip(grid, panels, strict=False):
            show(axes, shown, title)
        kernels = {"both": "both kernels"}.get(self.terms, f"{self.terms} alone")
        figure.suptitle(text.figure(f"CRF, {self.preset}, {kernels}"), x=0.005, ha="left")
        figure.legend(handles=patches, loc="outside lower center", ncols=of_legend)
        return figure


def _smaller(
    seen: Picture, truth: NDArray | None, probs: torch.Tensor, factor: int
) -> tuple[Picture, NDArray | None, torch.Tensor]:
    """Image, truth and probabilities at a fraction of their size; what is left over is cut off."""
    if factor == 1:
        return seen, truth, probs
    height, width = (size // factor * factor for size in seen.shape[:2])
    tensor = torch.from_numpy(seen[:height, :width].copy()).permute(2, 0, 1).float()
    image = F.avg_pool2d(tensor, factor).round().byte().permute(1, 2, 0).contiguous().numpy()
    half = slice(factor // 2, height, factor), slice(factor // 2, width, factor)
    probs = F.avg_pool2d(probs[:, :height, :width], factor)
    return image, None if truth is None else np.ascontiguousarray(truth[half]), probs


def _computed(
    seen: Picture,
    probs: torch.Tensor,
    presets: Mapping[str, Mapping[str, float]],
    iterations: int,
    factor: int,
    progress: bool,
) -> dict[tuple[str, str], NDArray[np.uint8]]:
    """Labels (rounds + 1, h, w) by preset and terms."""
    image = torch.from_numpy(np.ascontiguousarray(seen.transpose(2, 0, 1)))
    wanted = [(name, terms) for name in presets for terms in TERMS]
    found = {}
    for name, terms in tqdm(wanted, "mean field", disable=not progress, leave=False):
        options: dict[str, Any] = DEFAULTS | {**presets[name]}
        for width in ("appearance_position", "smoothness_position"):
            options[width] = options[width] / factor
        for other in set(TERMS) - {"both", terms} if terms != "both" else ():
            options[f"{other}_weight"] = 0.0
        rounds = refine(image, probs, iterations=iterations, every_round=True, **options)
        found[name, terms] = rounds.argmax(1).byte().numpy()
    return found
