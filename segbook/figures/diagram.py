"""A network as a diagram: its parts in proportion, coloured by stride, from what was built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from torch import nn

from segbook import text
from segbook.figures.flow import LIMIT, Flow, Part, Shape, trace

COLOURS = {1: "#F7F0A8", 2: "#C7E9B4", 4: "#7FCDBB", 8: "#41B6C4", 16: "#1D91C0", 32: "#225EA8"}
"""By stride: each darker than the one before, so that they are told apart without colour, too."""
COARSER, GRIDS = "#0C2C84", "#B9B9B9"
"""Of larger strides; and of the few cells that a whole image is pooled into."""
INK, GREY, LINE = "#222222", "#5F5F5F", "#555555"
FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
LETTER, LEADING = 6.4, 12.5  # of text of 10.5 pixels
GAP, MARGIN = 24.0, 14.0


@dataclass(frozen=True)
class Diagram:
    """A network's diagram; a notebook shows it as SVG.

    Attributes:
        svg: without scripts, fonts or links, so that it may stand in an ``<img>``.
        flow: what is drawn: the parts, their shapes, what they take from each other.
        title: the network's class or the given name.
    """

    svg: str
    flow: Flow = field(repr=False)
    title: str

    def __repr__(self) -> str:
        """What is drawn, the same in every run."""
        return f"Diagram({describe(self.flow, self.title)})"

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        alt = {"alt": describe(self.flow, self.title)}
        data = {"image/svg+xml": self.svg, "text/plain": repr(self)}
        return data, {"image/svg+xml": alt}


def diagram(
    model: nn.Module, size: Sequence[int] | None = None, *, name: str = "", limit: int = LIMIT
) -> Diagram:
    """Draw a network: how tensors flow through its parts, from the image to the logits.

    The network is run once without values, on the meta device, in evaluation; nothing of it is
    changed. A box is a part: as high as the square root of its map, as wide as the logarithm of its
    channels, in the colour of its stride; parts of one stride stand in one row. Below a box stand
    its name, its channels, its share of the parameters and the rates of its atrous kernels. Norms,
    activations and pooling belong to the part before them. Heads that only work in training are
    named, not drawn.

    Args:
        model: any network of images or volumes; its first convolution says how many channels.
        size: of the image in pixels, (H, W) or (D, H, W); None is 360x480, or 128x128x128.
        name: title; "" is the network's class.
        limit: parts up to which modules are opened into their children: fewer is coarser.

    Raises:
        ValueError: a size that does not fit, or a network that cannot run without values.

    Example:
        >>> from segkit import create_model
        >>> diagram(create_model("unet_padded", num_classes=3), (64, 64))
        Diagram(UNet: 14 parts, 31.0 M parameters, strides 1 to 16)
    """
    flow = trace(model, size, limit=limit)
    title = text.one_line(name or type(model).__name__)
    return Diagram(_Drawing(flow, title).svg(), flow, title)


def describe(flow: Flow, title: str) -> str:
    """One line for who does not see it."""
    count = sum(part.kind == "module" for part in flow.parts)
    strides = sorted({s.stride for p in flow.parts for s in p.shapes if not pooled(s)})
    return (
        f"{title}: {count} part{'s' * (count != 1)}, {number(flow.parameters)} parameters, "
        f"strides {strides[0]} to {strides[-1]}"
    )


def pooled(shape: Shape) -> bool:
    """Whether it is a grid of a few cells over the whole image rather than a map."""
    return bool(shape.size) and max(shape.size) <= 8 and shape.stride > 32


def number(count: int) -> str:
    """A count in three digits."""
    for unit, sign in ((1e6, " M"), (1e3, " K")):
        if count >= unit:
            return (
                f"{count / unit:.3g}{sign}" if count < 100 * unit else f"{count / unit:.0f}{sign}"
            )
    return str(count)


def colour(shape: Shape) -> str:
    """Of a shape's box."""
    return GRIDS if pooled(shape) else COLOURS.get(shape.stride, COARSER)


@dataclass(eq=False)
class _Box:
    """A shape of a part and where it stands: its middle, its width and height, its lane."""

    part: Part
    shape: Shape
    width: float
    height: float
    lane: _Lane
    x: float = 0.0

    @property
    def y(self) -> float:
        return self.lane.y


@dataclass(eq=False)
class _Lane:
    """A line of boxes of one stride."""

    stride: int
    boxes: list[_Box] = field(default_factory=list)
    y: float = 0.0
    arcs: int = 0

    def end(self) -> float:
        return max((box.x + _slot(box) / 2 for box in self.boxes), default=-1e9)


class _Drawing:
    """Places the parts and writes them as SVG."""

    def __init__(self, flow: Flow, title: str) -> None:
        self.flow, self.title = flow, title
        self.boxes: dict[tuple[Part, Shape], _Box] = {}
        self.lanes: dict[int, list[_Lane]] = {}
        for part in flow.parts:
            self._place(part)
        self._arrange()

    def _place(self, part: Part) -> None:
        """From left to right: behind what it takes from, and behind its lane's last box."""
        taken = [self.boxes[source] for source in part.sources]
        boxes = []
        for shape in part.shapes:
            row = 64 if pooled(shape) else shape.stride
            width, height = _extent(part, shape)
            boxes.append(_Box(part, shape, width, height, self._lane(part, row, taken)))
        x = max(
            [MARGIN + max(_slot(box) for box in boxes) / 2]
            + [
                before.x + before.width / 2 + max(GAP + box.width / 2, 17 + _slot(box) / 2)
                for before in taken
                for box in boxes
            ]
            + [box.lane.end() + 8 + _slot(box) / 2 for box in boxes]
        )
        for box in boxes:
            box.x = x
            box.lane.boxes.append(box)
            self.boxes[part, box.shape] = box

    def _lane(self, part: Part, row: int, taken: list[_Box]) -> _Lane:
        """The lane that ends in something the part comes from, or a new one."""
        lanes = self.lanes.setdefault(row, [])
        earlier = _ancestors(part)
        direct = [box.part for box in taken]
        fitting = [lane for lane in lanes if lane.boxes[-1].part in earlier]
        fitting.sort(key=lambda lane: lane.boxes[-1].part not in direct)
        if not fitting:
            fitting = [_Lane(row)]
            lanes += fitting
        return fitting[0]

    def _arrange(self) -> None:
        """Lanes below each other, finest on top, with room for what is written under them."""
        self._detours = {}
        for lane in self._ordered():
            for box in lane.boxes:
                for source, shape in box.part.sources:
                    start = self.boxes[source, shape]
                    if start.lane is lane and self._between(start, box):
                        self._detours.setdefault((start, box), len(self._detours))
        y = 40.0
        for lane in self._ordered():
            arcs = [key for key in self._detours if key[0].lane is lane]
            lane.arcs = len(arcs)
            for level, key in enumerate(sorted(arcs, key=lambda key: key[1].x - key[0].x)):
                self._detours[key] = level
            tallest = max(box.height for box in lane.boxes)
            y += tallest / 2 + 9 * len(arcs)
            lane.y = y
            lines = max(len(_caption(box, self.flow)) for box in lane.boxes)
            y += tallest / 2 + 8 + LEADING * lines + 8
        self.bottom = y
        self.right = max(lane.end() for lane in self._ordered()) + MARGIN

    def _ordered(self) -> list[_Lane]:
        return [lane for row in sorted(self.lanes) for lane in self.lanes[row]]

    def _between(self, start: _Box, end: _Box) -> bool:
        """Whether a straight line in the start's lane would run into a box."""
        return any(start.x < box.x < end.x for box in start.lane.boxes)

    def svg(self) -> str:
        """The whole picture."""
        legend, high = self._legend()
        width, height = math.ceil(max(self.right, 420)), math.ceil(self.bottom + high + MARGIN)
        title = escape(describe(self.flow, self.title))
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-label="{_quoted(title)}" '
            f'font-family="{FONT}" font-size="10.5" fill="{INK}">',
            f"<title>{title}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">'
            f'<path d="M0 .8 7.5 4 0 7.2z" fill="{LINE}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="6" fill="#fff"/>',
            f'<text x="{MARGIN}" y="22" font-size="13" font-weight="bold">{escape(self.title)}'
            f'<tspan font-weight="normal" font-size="11" fill="{GREY}" dx="8">'
            f"{self._subtitle()}</tspan></text>",
            *(self._outline(part) for part in self.flow.parts if len(part.shapes) > 1),
            f'<g fill="none" stroke="{LINE}" stroke-width="1.2" marker-end="url(#tip)">',
            *self._arrows(),
            "</g>",
            *(line for part in self.flow.parts for line in self._part(part)),
            *legend,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"

    def _subtitle(self) -> str:
        size = _size(self.flow.parts[0].shapes[0])
        return f"{number(self.flow.parameters)} parameters, an image of {size} pixels"

    def _arrows(self) -> list[str]:
        paths = []
        for part in self.flow.parts:
            for source, shape in part.sources:
                start = self.boxes[source, shape]
                own = [self.boxes[part, each] for each in part.shapes]
                end = min(own, key=lambda box: abs(math.log2(box.lane.stride / start.lane.stride)))
                paths.append(f'<path d="{self._path(start, end)}"/>')
        return paths

    def _path(self, start: _Box, end: _Box) -> str:
        """Straight in a lane, over what is in the way, else along the freer of the two lanes."""
        x1, y1, x2, y2 = start.x + start.width / 2, start.y, end.x - end.width / 2, end.y
        if start.lane is end.lane:
            if (start, end) not in self._detours:
                return f"M{x1:.1f} {y1:.1f}H{x2:.1f}"
            tall = max(b.height for b in start.lane.boxes if start.x <= b.x <= end.x)
            top = y1 - tall / 2 - 5 - 9 * self._detours[start, end]
            out, back = x1 + 9, x2 - 11
            return (
                f"M{x1:.1f} {y1:.1f}C{out:.1f} {y1:.1f} {x1 + 3:.1f} {top:.1f} "
                f"{x1 + 14:.1f} {top:.1f}H{x2 - 16:.1f}"
                f"C{x2 - 5:.1f} {top:.1f} {back:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
            )
        bend = min(x2 - x1, 30.0)
        late = not any(start.x < box.x < end.x for box in start.lane.boxes)
        if late:
            turn = x2 - bend
            return (
                f"M{x1:.1f} {y1:.1f}H{turn:.1f}C{turn + bend * 0.6:.1f} {y1:.1f} "
                f"{x2 - bend * 0.6:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
            )
        turn = x1 + bend
        return (
            f"M{x1:.1f} {y1:.1f}C{x1 + bend * 0.6:.1f} {y1:.1f} {turn - bend * 0.6:.1f} {y2:.1f} "
            f"{turn:.1f} {y2:.1f}H{x2:.1f}"
        )

    def _outline(self, part: Part) -> str:
        """Around the boxes of one part that gives several maps."""
        boxes = [self.boxes[part, shape] for shape in part.shapes]
        top, low, wide = boxes[0], boxes[-1], max(box.width for box in boxes) + 8
        high = low.y - top.y + (top.height + low.height) / 2 + 8
        return (
            f'<rect x="{top.x - wide / 2:.1f}" y="{top.y - top.height / 2 - 4:.1f}" '
            f'width="{wide:.1f}" height="{high:.1f}" rx="4" fill="#F3F3F3" stroke="#9A9A9A" '
            'stroke-dasharray="3 2"/>'
        )

    def _part(self, part: Part) -> list[str]:
        """Its boxes with what is written in and under them."""
        boxes = [self.boxes[part, shape] for shape in part.shapes]
        lines = [f"<g><title>{escape(_hover(part, self.flow))}</title>"]
        for box in boxes:
            lines += self._box(box)
        return [*lines, "</g>"]

    def _box(self, box: _Box) -> list[str]:
        x, y, shape = box.x, box.y, box.shape
        left, top = x - box.width / 2, y - box.height / 2
        fill = colour(shape)
        if box.part.kind == "join":
            lines = [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{box.width / 2}" fill="#fff" '
                f'stroke="{LINE}" stroke-width="1.2"/>',
                f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" font-size="12">'
                f"{box.part.name}</text>",
            ]
        else:
            dash = ' stroke-dasharray="2 2"' if box.part.kind != "module" else ""
            lines = [
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" '
                f'height="{box.height:.1f}" rx="1.5" fill="{fill}" stroke="{INK}" '
                f'stroke-width=".8"{dash}/>'
            ]
        caption = _caption(box, self.flow)
        for row, (words, style) in enumerate(caption):
            lines.append(
                f'<text x="{x:.1f}" y="{y + box.height / 2 + 12 + LEADING * row:.1f}" '
                f'text-anchor="middle" {style} stroke="#fff" stroke-width="3" '
                f'paint-order="stroke">{escape(words)}</text>'
            )
        return lines

    def _legend(self) -> tuple[list[str], float]:
        """Strides with their colours, symbols, sizes, and what is not drawn; and its height."""
        shapes = {s for p in self.flow.parts if p.kind != "join" for s in p.shapes}
        strides = sorted({shape.stride for shape in shapes if not pooled(shape)})
        entries = [(COLOURS.get(stride, COARSER), f"/{stride}") for stride in strides]
        if any(pooled(shape) for shape in shapes):
            entries.append((GRIDS, "pooled"))
        y = self.bottom + 10
        lines = [f'<text x="{MARGIN}" y="{y:.1f}" fill="{GREY}">stride</text>']
        x = MARGIN + 40
        for fill, words in entries:
            lines.append(
                f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="11" height="11" fill="{fill}" '
                f'stroke="{INK}" stroke-width=".6"/>'
                f'<text x="{x + 15:.1f}" y="{y:.1f}">{words}</text>'
            )
            x += 28 + LETTER * len(words)
        names = {
            "+": "sum",
            "\u2225": "concatenation",
            "\u00d7": "product",
            "\N{BULLET}": "other operation",
        }
        used = {part.name for part in self.flow.parts if part.kind == "join"}
        joins = ", ".join(f"{sign} {word}" for sign, word in names.items() if sign in used)
        notes = ["height: root of the map's; width: log of the channels; %: of the parameters"]
        notes += [joins] * bool(joins)
        if self.flow.idle:
            notes.append("only in training: " + ", ".join(map(text.one_line, self.flow.idle)))
        for note in notes:
            y += 15
            lines.append(f'<text x="{MARGIN}" y="{y:.1f}" fill="{GREY}">{escape(note)}</text>')
        return lines, y - self.bottom


def _ancestors(part: Part) -> set[Part]:
    found: set[Part] = set()
    waiting = [part]
    while waiting:
        for source, _ in waiting.pop().sources:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return found


def _extent(part: Part, shape: Shape) -> tuple[float, float]:
    """Width and height of a box in pixels."""
    if part.kind == "join":
        return 17.0, 17.0
    height = 14.0 if pooled(shape) else max(10.0, 78 / math.sqrt(shape.stride))
    return 5 + 3.6 * math.log2(max(shape.channels, 1) + 1), height


def _size(shape: Shape) -> str:
    return "\N{MULTIPLICATION SIGN}".join(map(str, shape.size))


def _slot(box: _Box) -> float:
    """Room that a box takes with what is written under it."""
    longest = max((len(words) for words, _ in _caption(box, None)), default=0)
    return max(box.width + 8, LETTER * longest)


def _caption(box: _Box, flow: Flow | None) -> list[tuple[str, str]]:
    """What is written under a box, line by line, with its style."""
    part, shape = box.part, box.shape
    if part.kind == "join":
        return []
    cells = f" of {_size(shape)}" if pooled(shape) else f" /{shape.stride}"
    lines = [(f"{shape.channels}{cells}", f'fill="{GREY}"')]
    if shape is part.shapes[-1] or shape == part.shapes[-1]:
        lines = [
            (line, 'font-weight="bold"') for line in _wrapped(text.one_line(part.name))
        ] + lines
        if part.kind == "module" and flow is not None:
            share = 100 * part.parameters() / max(flow.parameters, 1)
            if share >= 1:
                lines.append((f"{share:.0f} %", f'fill="{GREY}"'))
        if rates := _rates(part):
            lines.append((rates, f'fill="{GREY}"'))
    return lines


def _rates(part: Part) -> str:
    """The distances between the taps of its kernels, where they have holes; else ""."""
    found = [
        rate
        for module in part.modules
        for each in module.modules()
        if isinstance(each, nn.Conv2d | nn.Conv3d)
        for size, rate in zip(each.kernel_size, each.dilation, strict=False)
        if size > 1
    ]
    if max(found, default=1) == 1:
        return ""
    least = min(found)
    return f"rate {least}" if least == max(found) else f"rates {least}\N{EN DASH}{max(found)}"


def _wrapped(name: str) -> list[str]:
    """A long name's last parts on two lines, broken after a dot or an underscore."""
    while len(name) > 22 and "." in name:
        name = name.partition(".")[2]
    if len(name) <= 9:
        return [name]
    cuts = [i + 1 for i, sign in enumerate(name[:-3]) if sign in "._" and i > 1]
    if not cuts:
        return [name]
    cut = min(cuts, key=lambda i: abs(i - len(name) / 2))
    return [name[:cut], name[cut:]]


def _hover(part: Part, flow: Flow) -> str:
    """What a pointer over a part reads."""
    shapes = ", ".join(
        f"{s.channels} channels" + (f" of {_size(s)}" if s.size else "") + f" at stride {s.stride}"
        for s in part.shapes
    )
    if part.kind != "module":
        return f"{part.name}: {shapes}"
    kinds = ", ".join(dict.fromkeys(type(module).__name__ for module in part.modules))
    share = 100 * part.parameters() / max(flow.parameters, 1)
    path = text.one_line(part.path)
    return f"{path} ({kinds}): {shapes}; {part.parameters():,} parameters, {share:.1f} %"


def _quoted(escaped: str) -> str:
    return escaped.replace('"', "&quot;")
