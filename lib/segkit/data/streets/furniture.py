"""What stands in a synthetic street: trees, lamps, posts, signs and bins, on flat boards."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from segkit.data.streets.canvas import NEAR, Canvas, Point
from segkit.data.streets.dice import Colour, Dice
from segkit.data.streets.surfaces import POLE, SIGN, TREE
from segkit.outputs import IGNORE

LEAVES = (
    (0.22, 0.34, 0.12), (0.30, 0.40, 0.15), (0.17, 0.27, 0.13),
    (0.42, 0.38, 0.14), (0.36, 0.27, 0.16),
)  # fmt: skip

METAL = ((0.30, 0.31, 0.32), (0.50, 0.51, 0.52), (0.16, 0.17, 0.17), (0.22, 0.28, 0.24))

PRINTS = (  # colours of hoardings and bins
    (0.12, 0.13, 0.18), (0.45, 0.12, 0.14), (0.62, 0.58, 0.50),
    (0.80, 0.80, 0.80), (0.16, 0.32, 0.55), (0.75, 0.45, 0.15),
)  # fmt: skip

BLACK = (0.06, 0.06, 0.07)


class Board:
    """An upright drawing board that faces the camera; its own coordinates are metres from its foot.

    Args:
        canvas: where it is drawn.
        x: of its foot, metres right of the centre line.
        z: of its foot, metres ahead.
        label: the class of what is drawn.
        facing: 1, or -1 to mirror left and right.
        scale: the size of what is drawn, 1 is life size.
    """

    def __init__(
        self, canvas: Canvas, x: float, z: float, label: int, *, facing: int = 1, scale: float = 1.0
    ) -> None:
        self.canvas, self.z, self.label = canvas, z, label
        self.foot = canvas.camera.project(x, 0, z)
        self.up = canvas.camera.focal / max(z, NEAR) * scale
        self.across = self.up * facing
        self.hairline = canvas.camera.unit / 160

    def at(self, a: float, y: float) -> Point:
        """Pixel of the point ``a`` metres across and ``y`` metres up."""
        return self.foot[0] + a * self.across, self.foot[1] - y * self.up

    def box(self, left: float, bottom: float, right: float, top: float, colour: Colour) -> None:
        """Paint a rectangle."""
        (c0, r1), (c1, r0) = self.at(left, bottom), self.at(right, top)
        colour = self.canvas.faded(colour, self.z)
        self.canvas.box(min(c0, c1), r0, max(c0, c1), r1, self.label, colour)

    def post(self, a: float, bottom: float, top: float, width: float, colour: Colour) -> None:
        """Paint an upright bar; a distant one keeps the width of a hair, 1/160 of the frame."""
        wide = max(width, self.hairline / self.up) / 2
        self.box(a - wide, bottom, a + wide, top, colour)

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        """Paint a convex polygon."""
        pixels = [self.at(a, y) for a, y in points]
        self.canvas.polygon(pixels, self.label, self.canvas.faded(colour, self.z))

    def limb(self, start: Point, end: Point, width: float, colour: Colour) -> None:
        """Paint a straight bar from one point to another."""
        da, dy = end[0] - start[0], end[1] - start[1]
        wide = max(width, 0.8 * self.hairline / self.up) / 2 / sqrt(da * da + dy * dy)
        a, y = -dy * wide, da * wide
        ends = ((start, 1), (end, 1), (end, -1), (start, -1))
        self.shape([(p[0] + a * sign, p[1] + y * sign) for p, sign in ends], colour)

    def disc(
        self, a: float, y: float, ra: float, ry: float, colour: Colour, hole: float = 0.0
    ) -> None:
        """Paint an ellipse, or a ring."""
        colour, rx, ry = self.canvas.faded(colour, self.z), ra * self.up, ry * self.up
        self.canvas.ellipse(self.at(a, y), rx, ry, self.label, colour, hole=hole)

    def shadow(self, ra: float, depth: float, strength: float) -> None:
        """Darken the ground ``ra`` metres to each side of the foot, ``depth`` fore and aft."""
        flat = self.canvas.camera.height / max(self.z, NEAR)  # how the ground is foreshortened
        self.canvas.shadow(self.foot, ra * self.up, max(depth * self.up * flat, 1.0), strength)


def paint_tree(canvas: Canvas, dice: Dice, x: float, z: float, *, size: float = 1.0) -> None:
    """Paint a tree: a trunk, some boughs, a ragged crown of a few blobs."""
    board = Board(canvas, x, z, TREE, scale=size)
    height, spread = dice.uniform(4.5, 9), dice.uniform(1.3, 2.6)
    clear = dice.uniform(1.8, 3.0)  # height of the trunk below the crown
    bark, leaves = dice.vary((0.24, 0.19, 0.15)), dice.vary(dice.choice(LEAVES), 0.15)
    board.shadow(spread * 0.8, spread * 0.8, 0.35)
    width = dice.uniform(0.22, 0.42)
    board.post(0, 0, height * 0.7, width, bark)
    for side in (-1, 1):
        tip = (side * spread * 0.6, clear + (height - clear) * 0.5)
        board.limb((0, clear * 0.9), tip, width / 2, bark)
    middle, half = (clear + height) / 2, (height - clear) / 2
    blobs = [(0.0, middle, spread * 0.8, half)]
    for _ in range(4):
        a, y = dice.uniform(-0.7, 0.7) * spread, middle + dice.uniform(-0.6, 0.6) * half
        blobs.append((a, y, spread * dice.uniform(0.4, 0.7), half * dice.uniform(0.35, 0.6)))
    pixels = [(*board.at(a, y), ra * board.up, ry * board.up) for a, y, ra, ry in blobs]
    start, ragged = int(dice.uniform(0, 256)), dice.uniform(0.6, 1.3)
    canvas.foliage(pixels, TREE, canvas.faded(leaves, z), start, ragged)


def paint_lamp(canvas: Canvas, dice: Dice, x: float, z: float, *, side: int, lit: bool) -> None:
    """Paint a street lamp on the side -1 (left) or 1 (right), its arm over the road."""
    board = Board(canvas, x, z, POLE, facing=-side)
    height, metal = dice.uniform(5.5, 8.5), dice.vary(dice.choice(METAL))
    arm = dice.choice([0.0, 1.1, 1.8])
    board.post(0, 0, height, 0.13, metal)
    board.post(0, 0, 1.0, 0.2, metal)
    lamp = (1.6, 1.45, 1.0) if lit else (0.75, 0.75, 0.72)
    if arm:
        board.limb((0, height), (arm, height + 0.3), 0.09, metal)
        board.box(arm - 0.1, height + 0.2, arm + 0.5, height + 0.4, lamp)
    else:
        board.disc(0, height + 0.15, 0.2, 0.3, lamp)


def paint_post(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """Paint a plain post: a mast for wires, or a bollard."""
    board = Board(canvas, x, z, POLE)
    if dice.chance(0.5):
        wood, height = dice.vary((0.30, 0.25, 0.20)), dice.uniform(6.5, 9)
        board.post(0, 0, height, 0.2, wood)
        board.box(-0.8, height - 0.7, 0.8, height - 0.58, wood)
    else:
        metal = dice.vary(dice.choice(METAL))
        board.post(0, 0, 1.0, 0.15, metal)
        board.box(-0.08, 0.75, 0.08, 0.88, (0.8, 0.8, 0.75))


def paint_sign(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """Paint a sign on its post: a ring, a triangle, a blue disc, a direction board, a hoarding."""
    board = Board(canvas, x, z, POLE)
    kind = dice.choice(("ring", "ring", "triangle", "blue", "board", "hoarding"))
    height, white = dice.uniform(2.1, 2.9), (0.92, 0.92, 0.90)
    red, blue = dice.vary((0.78, 0.08, 0.10)), dice.vary((0.10, 0.25, 0.65))
    board.post(0, 0, height + 0.3, 0.08, dice.vary(dice.choice(METAL)))
    board.label = SIGN
    if kind == "ring":
        board.disc(0, height, 0.36, 0.36, red)
        board.disc(0, height, 0.25, 0.25, white)
        board.box(-0.12, height - 0.08, 0.12, height + 0.08, BLACK)
    elif kind == "triangle":
        board.shape([(-0.45, height - 0.3), (0.45, height - 0.3), (0, height + 0.48)], red)
        board.shape([(-0.28, height - 0.2), (0.28, height - 0.2), (0, height + 0.28)], white)
    elif kind == "blue":
        board.disc(0, height, 0.36, 0.36, blue)
        board.limb((-0.15, height - 0.15), (0.15, height + 0.15), 0.1, white)
    elif kind == "board":
        plate = dice.choice([blue, (0.08, 0.35, 0.2), white, (0.8, 0.65, 0.1)])
        board.box(-0.75, height - 0.35, 0.75, height + 0.45, plate)
        ink = BLACK if plate is white else white
        board.box(-0.6, height + 0.15, 0.5, height + 0.28, ink)
        board.box(-0.6, height - 0.18, 0.3, height - 0.05, ink)
    else:
        plate = dice.vary(dice.choice(PRINTS), 0.3)
        board.box(-0.6, 0.6, 0.6, 2.5, white)
        board.box(-0.52, 0.7, 0.52, 2.4, plate)
        board.box(-0.4, 1.7, 0.4, 2.2, white)
        board.disc(0, 1.2, 0.3, 0.3, (0.9, 0.7, 0.2))


def paint_signal(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """Paint a traffic light: a post (Pole) and its head (SignSymbol)."""
    board = Board(canvas, x, z, POLE)
    board.post(0, 0, 2.4, 0.11, dice.vary(dice.choice(METAL)))
    board.label = SIGN
    board.box(-0.2, 2.2, 0.2, 3.25, BLACK)
    on = dice.choice((0, 0, 2, 2, 1))
    lamps = ((0.25, 1.5, 0.7), (1.5, 1.0, 0.2), (1.6, 0.2, 0.15))
    for k, lamp in enumerate(lamps):
        colour = lamp if k == on else [0.12 * c for c in lamp]
        board.disc(0, 2.4 + 0.32 * k, 0.13, 0.13, colour)


def paint_bin(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """Paint a litter bin or a crate: a thing of no class, so its pixels are void."""
    board = Board(canvas, x, z, IGNORE)
    colour = dice.vary(dice.choice(PRINTS), 0.2)
    half, top = dice.uniform(0.25, 0.5), dice.uniform(0.7, 1.2)
    board.shadow(half * 1.3, half, 0.5)
    board.shape([(-half * 0.9, 0), (half * 0.9, 0), (half, top), (-half, top)], colour)
    board.box(-half * 1.1, top - 0.1, half * 1.1, top, tuple(0.6 * c for c in colour))
