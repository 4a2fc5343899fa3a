"""Cars, vans and buses of a synthetic street: solids, drawn face by face, at any angle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from segkit.data.streets.canvas import NEAR, Canvas, Point
from segkit.data.streets.dice import Colour, Dice
from segkit.data.streets.surfaces import CAR

BLACK, TYRE, HUB = (0.04, 0.04, 0.05), (0.09, 0.09, 0.10), (0.50, 0.50, 0.52)
PAINTS = (
    (0.75, 0.76, 0.78), (0.55, 0.56, 0.58), (0.10, 0.10, 0.12), (0.60, 0.08, 0.08),
    (0.12, 0.20, 0.48), (0.90, 0.90, 0.90), (0.28, 0.30, 0.32), (0.14, 0.28, 0.20),
    (0.72, 0.60, 0.20), (0.35, 0.48, 0.62),
)  # fmt: skip


class Make(NamedTuple):
    """The shape of a vehicle, in metres; profiles are (ahead of the middle, up)."""

    length: float  # from end to end
    wide: float  # half the width of the body
    roof: float  # half the width of the roof
    # Rear bottom, front bottom, bonnet, cowl, rear deck.
    body: tuple[Point, Point, Point, Point, Point]
    # Foot and head of the windscreen, head and foot of the rear window.
    cabin: tuple[Point, Point, Point, Point]


HATCHBACK = Make(
    4.0, 0.86, 0.66,
    ((-2.0, 0.28), (2.0, 0.28), (2.0, 0.72), (0.9, 0.94), (-2.0, 0.92)),
    ((0.95, 0.93), (0.25, 1.44), (-1.6, 1.46), (-1.95, 0.92)),
)  # fmt: skip
SALOON = Make(
    4.6, 0.88, 0.66,
    ((-2.3, 0.28), (2.3, 0.28), (2.3, 0.70), (1.0, 0.90), (-2.3, 0.90)),
    ((1.0, 0.90), (0.3, 1.38), (-1.1, 1.40), (-1.75, 0.90)),
)  # fmt: skip
JEEP = Make(
    4.5, 0.92, 0.78,
    ((-2.25, 0.38), (2.25, 0.38), (2.25, 0.95), (1.1, 1.08), (-2.25, 1.06)),
    ((1.1, 1.07), (0.55, 1.74), (-2.1, 1.76), (-2.2, 1.06)),
)  # fmt: skip
VAN = Make(
    5.2, 0.98, 0.92,
    ((-2.6, 0.35), (2.6, 0.35), (2.6, 0.95), (2.0, 1.15), (-2.6, 1.15)),
    ((2.1, 1.14), (1.45, 2.10), (-2.55, 2.15), (-2.6, 1.14)),
)  # fmt: skip
BUS = Make(
    9.5, 1.22, 1.2,
    ((-4.75, 0.35), (4.75, 0.35), (4.75, 1.2), (4.75, 1.3), (-4.75, 1.3)),
    ((4.75, 1.29), (4.65, 2.95), (-4.7, 2.95), (-4.75, 1.29)),
)  # fmt: skip
MAKES = (HATCHBACK, HATCHBACK, HATCHBACK, SALOON, SALOON, JEEP, VAN)

# A wheel is an octagon of radius 1. Exact decimals: no sine has a say in a label.
_WHEEL = (
    (1, 0.41), (0.41, 1), (-0.41, 1), (-1, 0.41), (-1, -0.41), (-0.41, -1), (0.41, -1), (1, -0.41),
)  # fmt: skip


def _between(p: Point, q: Point, t: float) -> Point:
    return p[0] + (q[0] - p[0]) * t, p[1] + (q[1] - p[1]) * t


class _Vehicle:
    """A vehicle at (x, z) that heads along a unit vector, and what of it the camera sees.

    Its own axes, in metres: a to the right of its axis, y up, b ahead of its middle.
    """

    def __init__(self, canvas: Canvas, make: Make, x: float, z: float, heading: Point) -> None:
        self.canvas, self.make, self.x, self.z, self.heading = canvas, make, x, z, heading
        eye, (hx, hz) = canvas.camera, heading
        ex, ez = eye.offset - eye.bend * z * z - x, -z  # from the vehicle to the eye
        right, ahead = ex * hz - ez * hx, ex * hx + ez * hz
        self.side, self.front = (1 if right > 0 else -1), ahead > 0
        self.shows_flank, self.shows_cabin = abs(right) > make.wide, abs(right) > make.roof
        self.shows_end = abs(ahead) > make.length / 2
        self.scale = eye.focal / max(z, NEAR)
        self.near = self.scale > 5  # pixels a metre; finer parts of a farther one would be lost

    def face(
        self, corners: Sequence[tuple[float, float, float]], colour: Colour, gain: float = 1.0
    ) -> None:
        """Paint a convex face, its corners given as (a, y, b)."""
        project, (hx, hz), x, z = self.canvas.camera.project, self.heading, self.x, self.z
        points = [project(x + a * hz + b * hx, y, z - a * hx + b * hz) for a, y, b in corners]
        self.canvas.polygon(points, CAR, self.canvas.faded(colour, z, gain))

    def across(
        self, low: Point, high: Point, foot: float, head: float, colour: Colour, gain: float = 1.0
    ) -> None:
        """Paint a face from side to side: ``low`` and ``high`` (b, y), half widths foot, head."""
        (b0, y0), (b1, y1) = low, high
        self.face([(-foot, y0, b0), (foot, y0, b0), (head, y1, b1), (-head, y1, b1)], colour, gain)

    def wheels(self, side: int, radius: float, out: float, colour: Colour) -> None:
        """Paint the two wheels of a side, or their hubs."""
        a = side * self.make.wide * out
        for b in (-0.31 * self.make.length, 0.31 * self.make.length):
            self.face([(a, 0.33 + radius * v, b + radius * u) for u, v in _WHEEL], colour)

    def shadow(self) -> bool:
        """Darken the road under it; returns False where it is out of the frame."""
        eye, (hx, hz), half = self.canvas.camera, self.heading, self.make.length / 2
        across = (abs(hx) * half + abs(hz) * self.make.wide) * self.scale
        along = (abs(hz) * half + abs(hx) * self.make.wide) * self.scale
        foot = eye.project(self.x, 0, self.z)
        flat = max(along * eye.height / max(self.z, NEAR), 1.0)
        self.canvas.shadow(foot, across * 1.2, flat, 0.8)
        return -2.5 * across < foot[0] < eye.size[1] + 2.5 * across

    def body(self, paint: Colour) -> None:
        """Paint the wheels' far sides, the underside, the bonnet, the flank and the end."""
        rear, nose, bonnet, cowl, deck = self.make.body
        wide = self.make.wide
        for side in (-self.side, self.side) if self.near else (self.side,):
            self.wheels(side, 0.33, 0.96, TYRE)
        under = (0.45 if self.front else -0.45) * self.make.length
        self.across((under, 0.1), (under, 0.4), wide, wide, BLACK)
        if self.canvas.camera.height > bonnet[1]:
            self.across(bonnet, cowl, wide, wide, paint, 1.15)
            self.across(deck, self.make.cabin[3], wide, wide, paint, 1.1)
        if self.shows_flank:
            self.face([(self.side * wide, y, b) for b, y in self.make.body], paint, 0.82)
        if self.shows_end:
            low, high = (nose, bonnet) if self.front else (rear, deck)
            self.across(low, high, wide, wide, paint, 0.95)

    def cabin(self, paint: Colour, glass: Colour, panes: int, end_pane: bool) -> None:
        """Paint the roof, the screen that is seen, and the side with its panes."""
        screen_foot, screen_head, rear_head, rear_foot = self.make.cabin
        wide, roof = self.make.wide, self.make.roof
        if self.canvas.camera.height > rear_head[1]:
            self.across(screen_head, rear_head, roof, roof, paint, 1.2)
        foot, head = (screen_foot, screen_head) if self.front else (rear_foot, rear_head)
        self.across(foot, head, wide * 0.97, roof, paint, 0.9)
        if end_pane:
            low, high = _between(foot, head, 0.12), _between(foot, head, 0.88)
            self.across(low, high, wide * 0.86, roof * 0.9, glass, 1.25)
        if not self.shows_cabin:
            return
        wall = zip((wide * 0.97, roof, roof, wide * 0.97), self.make.cabin, strict=True)
        self.face([(self.side * a, y, b) for a, (b, y) in wall], paint, 0.86)
        parts = max(panes, 2)
        low_a, high_a = self.side * wide * 0.94, self.side * (roof + 0.02)
        for k in range(panes):
            corners = []
            for t, order in ((0.06 + 0.9 * k / parts, 1), (0.9 * (k + 1) / parts, -1)):
                head = _between(screen_head, rear_head, t)
                foot = _between(screen_foot, rear_foot, t)
                low, high = _between(foot, head, 0.14), _between(foot, head, 0.86)
                corners += [(low_a, low[1], low[0]), (high_a, high[1], high[0])][::order]
            self.face(corners, glass)

    def trim(self, lights: bool) -> None:
        """Paint the wheels of the side that is seen; lamps, plate and bumper of the end."""
        if self.shows_flank and self.near:
            self.wheels(self.side, 0.33, 1.01, TYRE)
            self.wheels(self.side, 0.17, 1.02, HUB)
        if not self.shows_end:
            return
        wide, b = self.make.wide, self.make.length * (0.505 if self.front else -0.505)
        low, high = (0.5, 0.66) if self.front else (0.6, 0.82)
        lamp = (1.0, 0.98, 0.85) if self.front else (0.75, 0.05, 0.05)
        for s in (-wide, wide):
            inner, outer = 0.62 * s, 0.96 * s
            corners = [(inner, low, b), (outer, low, b), (outer, high, b), (inner, high, b)]
            self.face(corners, lamp, 1.7 if lights else 0.85)
        if not self.near:
            return
        plate = (0.92, 0.92, 0.92) if self.front else (0.90, 0.75, 0.15)
        self.across((b, 0.42), (b, 0.53), 0.26, 0.26, plate, 0.95)
        self.across((b, 0.26), (b, 0.38), wide, wide, BLACK, 1.5)


def paint_vehicle(
    canvas: Canvas, dice: Dice, x: float, z: float, *, heading: Point, lights: bool, bus: bool
) -> None:
    """Paint a car, a van or a bus, and its shadow, with its middle at (x, z) metres.

    Args:
        canvas: where it is painted.
        dice: chooses the make and the colour.
        x: metres right of the centre line.
        z: metres ahead.
        heading: the unit vector (x, z) along which it drives.
        lights: whether its lamps are on.
        bus: whether it is a bus.
    """
    make = BUS if bus else dice.choice(MAKES)
    paint, glass = dice.vary(dice.choice(PAINTS), 0.08), dice.vary((0.13, 0.16, 0.19), 0.3)
    closed = dice.chance(0.5) and make is VAN  # a van without side windows
    vehicle = _Vehicle(canvas, make, x, z, heading)
    if vehicle.shadow():
        vehicle.body(paint)
        vehicle.cabin(paint, glass, 5 if bus else 1 if closed else 2, vehicle.front or not closed)
        vehicle.trim(lights)
