"""The composition of a synthetic street: what stands where, painted from far to near."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from segkit.data.streets import furniture, surfaces
from segkit.data.streets.canvas import Camera, Canvas, Point
from segkit.data.streets.dice import Dice, grain_tile
from segkit.data.streets.houses import make_house, paint_facade, paint_fence, paint_hedge
from segkit.data.streets.people import paint_cyclist, paint_person
from segkit.data.streets.surfaces import SETBACK, Layout, Light
from segkit.data.streets.vehicles import paint_vehicle
from segkit.outputs import IGNORE

FAR = 65.0  # metres; the plots reach as far
RAILS = ((0.16, 0.18, 0.17), (0.36, 0.26, 0.18), (0.45, 0.46, 0.46), (0.12, 0.22, 0.16))
BONNETS = ((0.10, 0.10, 0.12), (0.50, 0.52, 0.55), (0.16, 0.20, 0.36), (0.40, 0.10, 0.10))


class _Scene:
    """What stands in a scene, waiting to be painted from far to near."""

    def __init__(self, canvas: Canvas, layout: Layout, light: Light, dice: Dice) -> None:
        self.canvas, self.layout, self.light, self.dice = canvas, layout, light, dice
        self.things: list[tuple[float, Callable[[], None]]] = []

    def add(self, z: float, painter: Callable[..., None], *args: object, **options: object) -> None:
        """Put a painter down at the distance z, metres."""
        self.things.append((z, lambda: painter(self.canvas, *args, **options)))

    def paint(self) -> None:
        """Paint all, the farthest first."""
        for _, painter in sorted(self.things, key=lambda thing: -thing[0]):
            painter()


def _plots(scene: _Scene, side: int, leafy: float) -> None:
    """Line one side of the street with houses and gardens, from the camera to the far end."""
    dice, layout, light = scene.dice, scene.layout, scene.light
    line = layout.line(side)
    gaps = [(near, far) for s, near, far in layout.crossroads if s == side]
    rail = dice.vary(dice.choice(RAILS))
    green = dice.vary((0.24, 0.33, 0.13), 0.15)
    tone = 0.62 + 0.38 * (side != layout.sunny) if light.sun > 0.3 else 0.85
    hidden = 0.0  # how high the house before this plot hides its near end
    z = 1.5
    while z < FAR:
        for near, far in gaps:
            if near - 4 < z < far:
                z, hidden = far, 0.0
        end = z + dice.uniform(6, 14) * (1 + z / 80)
        end = min([end, *(near for near, _ in gaps if near > z)])
        if dice.chance(leafy):
            for _ in range(int(dice.uniform(1, 3.5))):
                share = dice.uniform()  # trees stand behind the fence, the far ones first
                where, x = z + share * (end - z), line + side * dice.uniform(1.5, 5)
                scene.add(end + 0.1 + 0.1 * share, furniture.paint_tree, dice, x, where)
            back = _wall(side, line + side * 7, z, end)
            front = _wall(side, line, z, end)
            kind, seed = dice.choice([0, 1, 2, 3]), int(dice.uniform(0, 256))
            high, low = dice.uniform(1.6, 3.2), dice.uniform(1.0, 1.8)
            scene.add(end + 0.3, paint_hedge, *back, top=high, colour=green, seed=seed)
            if kind == 3:
                scene.add(end, paint_hedge, *front, top=low, colour=green, seed=seed)
            else:
                scene.add(end, paint_fence, *front, top=low, kind=kind, colour=rail)
            hidden = 0.0
        else:
            house = make_house(dice, light)
            x = line + side * dice.choice([0.0, 0.0, 0.4, SETBACK])
            if house.eaves > hidden:
                gable = ((x + side * 9, z), (x, z))
                blank = dice.chance(0.5)
                scene.add(end, paint_facade, house, *gable[::-side], gain=0.8, blank=blank)
            scene.add(end, paint_facade, house, *_wall(side, x, z, end), gain=tone)
            hidden = house.eaves if x == line else 0.0
        z = end


def _wall(side: int, x: float, near: float, far: float) -> tuple[Point, Point]:
    """The ends of a wall along the street, the one seen on the left first."""
    return ((x, near), (x, far)) if side < 0 else ((x, far), (x, near))


def _furniture(scene: _Scene) -> None:
    """Put lamps, posts, signs, trees, bins and railings on the pavements."""
    dice, layout = scene.dice, scene.layout
    for side in (-1, 1):
        kerb = side * (layout.half + 0.45)
        spacing, z = dice.uniform(16, 30), dice.uniform(6, 20)
        lit = scene.light.lit > 0.3
        while z < 50:
            scene.add(z, furniture.paint_lamp, dice, kerb, z, side=side, lit=lit)
            z += spacing
        for painter, most in (
            (furniture.paint_sign, 2.2),
            (furniture.paint_post, 1.3),
            (furniture.paint_bin, 1.6),
        ):
            for _ in range(int(dice.uniform(0, most + 0.5))):
                where = 5 + 30 * dice.uniform() * dice.uniform()
                scene.add(where, painter, dice, kerb + side * dice.uniform(0, 0.5), where)
        if dice.chance(0.25):
            where = dice.uniform(7, 22)
            scene.add(where, furniture.paint_signal, dice, kerb, where)
        if layout.walk(side) > 2 and dice.chance(0.3):
            z, spacing = dice.uniform(6, 14), dice.uniform(7, 13)
            size = dice.uniform(0.55, 0.85)
            while z < 50:
                scene.add(z, furniture.paint_tree, dice, kerb + side * 0.6, z, size=size)
                z += spacing
        if dice.chance(0.18):
            near = dice.uniform(4, 14)
            for _ in range(int(dice.uniform(2, 6))):  # in parts: some are hidden, others hide
                rail = _wall(side, kerb, near, near + 2.4)
                grey = (0.5, 0.51, 0.52)
                scene.add(near + 1.2, paint_fence, *rail, top=1.05, kind=0, colour=grey)
                near += 2.4


def _traffic(scene: _Scene) -> None:
    """Put vehicles, cyclists and people into the street."""
    dice, layout = scene.dice, scene.layout

    def vehicle(x: float, z: float, slope: float, toward: int, bus: bool = False) -> None:
        # The tangent half-angle gives an exact unit vector without a sine.
        square = slope * slope
        heading = (2 * slope / (1 + square), toward * (1 - square) / (1 + square))
        lights = dice.chance(scene.light.lit * 1.5)
        scene.add(z, paint_vehicle, dice, x, z, heading=heading, lights=lights, bus=bus)

    for side in (-1, 1):  # driven on the left: one sees rears there, fronts on the right
        parked = layout.half > 3.4 and dice.chance(0.5)
        lane = layout.half / 2 - 0.6 * parked
        z = dice.uniform(7, 24)
        while z < 50:
            bus = z > 13 and dice.chance(0.1)
            if dice.chance(0.62):
                x = side * lane + dice.uniform(-0.3, 0.3)
                vehicle(x, z, dice.uniform(-0.02, 0.02), -side, bus)
            z += dice.uniform(7, 22) + 6 * bus
        z, last = dice.uniform(5.5, 14), dice.uniform(20, 50)
        while parked and z < last:
            if dice.chance(0.8):
                x = side * (layout.half - 0.75)
                vehicle(x, z, dice.uniform(-0.015, 0.015), dice.sign())
            z += dice.uniform(5.2, 7.5)
    for side, near, far in layout.crossroads:  # turning out of a side street
        if dice.chance(0.5):
            x = side * dice.uniform(layout.half - 2, layout.half + 3)
            vehicle(x, (near + far) / 2, side * -dice.uniform(0.6, 1.0), 1)
    for side in (-1, 1):
        for _ in range(int(dice.uniform(0, 4.4))):
            z = 5 + 32 * dice.uniform() * dice.uniform()
            x = side * (layout.half + dice.uniform(0.5, max(layout.walk(side) - 0.3, 0.6)))
            for k in range(dice.choice([1, 1, 2])):  # friends walk abreast
                scene.add(z, paint_person, dice, x + 0.55 * k * side, z)
    if layout.zebra:
        for _ in range(int(dice.uniform(0, 3.5))):
            z = layout.zebra + dice.uniform(0.3, 2.2)
            scene.add(z, paint_person, dice, dice.uniform(-layout.half, layout.half), z)
    if dice.chance(0.4):
        z, side = 5.5 + 16 * dice.uniform() * dice.uniform(), dice.sign()
        scene.add(z, paint_cyclist, dice, side * (layout.half - 0.9), z, across=False)
    if dice.chance(0.2):
        z = dice.uniform(7, 18)
        scene.add(z, paint_cyclist, dice, dice.uniform(-layout.half, layout.half), z, across=True)


def _bonnet(canvas: Canvas, light: Light, dice: Dice) -> None:
    """Show the camera car's own bonnet at the bottom edge; it is void."""
    eye = canvas.camera
    colour = dice.vary(dice.choice(BONNETS))
    rise = dice.uniform(0.03, 0.075) * eye.unit
    centre = eye.size[1] / 2 + dice.uniform(-0.08, 0.08) * eye.unit
    floor = eye.size[0] / 2 + 0.4 * eye.unit  # the lower edge of the 5:4 scene
    canvas.ellipse((centre, floor), 0.52 * eye.unit, rise, IGNORE, colour)
    gloss = [0.5 * c + 0.2 * s for c, s in zip(colour, light.sky, strict=True)]
    canvas.ellipse((centre, floor), 0.45 * eye.unit, rise * 0.7, IGNORE, gloss)


def _develop(canvas: Canvas, light: Light, dice: Dice) -> np.ndarray:
    """Take the photograph: tint, exposure, a soft lens, grain; returns uint8 (3, H, W)."""
    height, width = canvas.labels.shape
    image = canvas.image
    gain = np.asarray(light.tint) * light.gain * dice.uniform(0.86, 1.14)
    sky = canvas.labels == 0
    image *= np.where(sky[..., None], np.float32(1), gain.astype(np.float32))
    soft = np.float32(dice.uniform(0.10, 0.24))  # how much each neighbour bleeds in
    image[:, 1:-1] += soft * (image[:, :-2] + image[:, 2:] - 2 * image[:, 1:-1])
    image[1:-1] += soft * (image[:-2] + image[2:] - 2 * image[1:-1])
    i, j = int(dice.uniform(0, 256)), int(dice.uniform(0, 256))
    rows, cols = np.arange(i, i + height) & 255, np.arange(j, j + width) & 255
    image += np.float32(light.grain) * grain_tile().take(rows, 0).take(cols, 1)
    image *= 255
    np.clip(image, 0, 255, out=image)
    return np.ascontiguousarray(image.astype(np.uint8).transpose(2, 0, 1))


def draw_street(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene.

    Args:
        rng: where its contents come from; the same state gives the same scene at every size.
        size: (H, W) in pixels, each 16 or more. Another shape than 5:4 shows a crop of the scene.

    Returns:
        The image, uint8 (3, H, W), and its labels, uint8 (H, W): 0..10, or 255 for void.
    """
    dice = Dice(rng)
    light = surfaces.LIGHTS[dice.choice([0, 0, 1, 1, 2, 2, 3, 4])]
    half = dice.uniform(3.0, 4.6)
    camera = Camera(
        size,
        focal=dice.uniform(0.72, 1.05),
        height=dice.uniform(1.25, 1.9),
        offset=-half / 2 + dice.uniform(-0.4, 0.9),
        shift=dice.uniform(-0.16, 0.16),
        horizon=dice.uniform(-0.07, 0.03),
        bend=dice.choice([0.0, 0.0, dice.uniform(-0.004, 0.004)]),
    )
    crossroads = []
    for side in (-1, 1):
        if dice.chance(0.3):
            near = dice.uniform(9, 28)
            crossroads.append((side, near, near + dice.uniform(5.5, 8)))
    layout = Layout(
        half=half,
        walks=(dice.uniform(1.5, 3.4), dice.uniform(1.5, 3.4)),
        crossroads=tuple(crossroads),
        zebra=dice.uniform(7, 22) if dice.chance(0.18) else 0.0,
        marks=(dice.chance(0.8), dice.chance(0.45)),
        sunny=dice.sign(),
        shade=dice.uniform(0, 5),
    )
    canvas = Canvas(camera, haze=light.low, clear=light.clear)
    surfaces.paint_sky(canvas, light, dice)
    surfaces.paint_ground(canvas, layout, light, dice)
    surfaces.paint_skyline(canvas, light, dice)
    scene = _Scene(canvas, layout, light, dice)
    for side in (-1, 1):
        _plots(scene, side, leafy=dice.choice([0.1, 0.35, 0.8]))
    _furniture(scene)
    _traffic(scene)
    scene.paint()
    if dice.chance(0.45):
        _bonnet(canvas, light, dice)
    return _develop(canvas, light, dice), canvas.labels
