"""The setting of a synthetic street: light, sky, ground and the far skyline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segkit.data.streets.canvas import Canvas
from segkit.data.streets.dice import Colour, Dice, noise_tile

# The ids of the classes, in the order of segkit.data.camvid.CLASSES.
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)


@dataclass(frozen=True, kw_only=True)
class Light:
    """The time of day and the weather."""

    sky: Colour  # at the zenith
    low: Colour  # of the sky at the horizon; also of the haze
    cloud: Colour
    clear: float  # metres at which haze takes half of a colour
    sun: float  # strength of direct sunlight, 0..1
    gain: float  # exposure of everything but the sky
    tint: Colour  # of the light
    lit: float  # share of the windows and of the cars that have their lights on, 0..1
    grain: float  # standard deviation of the sensor's noise, 0..1


SETBACK = 1.2  # metres; a house stands as far behind its neighbours, on paved ground

LIGHTS: tuple[Light, ...] = (
    Light(  # clear day
        sky=(0.36, 0.56, 0.86), low=(0.80, 0.87, 0.93), cloud=(0.96, 0.96, 0.97), clear=220,
        sun=1.0, gain=1.0, tint=(1.0, 0.98, 0.93), lit=0.0, grain=0.018,
    ),
    Light(  # overcast
        sky=(0.72, 0.75, 0.79), low=(0.86, 0.87, 0.88), cloud=(0.60, 0.62, 0.65), clear=140,
        sun=0.1, gain=0.84, tint=(0.97, 0.99, 1.02), lit=0.03, grain=0.022,
    ),
    Light(  # washed-out white sky
        sky=(0.93, 0.95, 0.97), low=(0.97, 0.97, 0.97), cloud=(0.88, 0.90, 0.93), clear=170,
        sun=0.5, gain=0.92, tint=(1.0, 1.0, 0.99), lit=0.0, grain=0.02,
    ),
    Light(  # evening sun
        sky=(0.45, 0.52, 0.72), low=(0.95, 0.80, 0.62), cloud=(0.93, 0.76, 0.66), clear=150,
        sun=0.9, gain=0.82, tint=(1.07, 0.96, 0.85), lit=0.08, grain=0.024,
    ),
    Light(  # dusk
        sky=(0.30, 0.34, 0.44), low=(0.52, 0.50, 0.52), cloud=(0.24, 0.26, 0.31), clear=120,
        sun=0.0, gain=0.5, tint=(0.92, 0.97, 1.10), lit=0.45, grain=0.03,
    ),
)  # fmt: skip


PAVING = ((0.52, 0.51, 0.49), (0.44, 0.44, 0.45), (0.55, 0.49, 0.44), (0.40, 0.40, 0.41))
ROOFS = ((0.45, 0.42, 0.40), (0.40, 0.34, 0.30), (0.50, 0.50, 0.50))  # far away


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The plan of a street, in metres."""

    half: float  # half the width of the carriageway
    walks: tuple[float, float]  # widths of the pavements, left and right
    crossroads: tuple[tuple[int, float, float], ...]  # (side, near z, far z), side -1 or 1
    zebra: float  # where a crossing begins, metres ahead; 0 for none
    marks: tuple[bool, bool]  # (centre dashes, edge lines) that are painted
    sunny: int  # the side from which the sun comes, -1 or 1
    shade: float  # how far the shadow of that side's houses reaches beyond their front

    def walk(self, side: int) -> float:
        """Width of the pavement of this side, -1 (left) or 1 (right)."""
        return self.walks[side > 0]

    def line(self, side: int) -> float:
        """Where the plots of this side begin: x of their front, with its sign."""
        return side * (self.half + self.walk(side))


def paint_sky(canvas: Canvas, light: Light, dice: Dice) -> None:
    """Fill the canvas with sky: a gradient down to the horizon, and clouds."""
    height, width = canvas.camera.size
    unit = canvas.camera.unit
    rows = (np.arange(height) + 0.5 - canvas.camera.row) / unit
    cols = (np.arange(width) + 0.5 - width / 2) / unit
    blend = np.clip(1 + rows * dice.uniform(1.8, 3.2), 0, 1)[:, None].astype(np.float32)
    i = ((rows + 1) * dice.uniform(180, 420)).astype(np.int64) + int(dice.uniform(0, 256))
    j = ((cols + 1) * dice.uniform(70, 160)).astype(np.int64) + int(dice.uniform(0, 256))
    cover, dense = np.float32(dice.uniform(0.25, 1.0)), np.float32(dice.uniform(1.5, 4))
    cloud = np.clip((noise_tile()[(i & 255)[:, None], j & 255] - cover) * dense, 0, 0.9)
    high, low, white = (np.asarray(c, np.float32) for c in (light.sky, light.low, light.cloud))
    clear = (high * (1 - blend) + low * blend)[:, None]  # (H, 1, 3)
    canvas.image[...] = clear + cloud[..., None] * (white - clear)
    canvas.labels[...] = SKY


def paint_ground(canvas: Canvas, layout: Layout, light: Light, dice: Dice) -> None:
    """Paint all below the horizon: carriageway, markings, kerbs, pavements, side streets, lawns."""
    eye = canvas.camera
    height, width = eye.size
    grey = dice.uniform(0.30, 0.44)
    asphalt = dice.vary((grey, grey, grey * 1.02), 0.06)
    paving = dice.vary(dice.choice(PAVING))
    kerb, white = dice.vary((0.60, 0.60, 0.58), 0.08), dice.vary((0.84, 0.84, 0.80), 0.08)
    yellow, verge = (0.80, 0.68, 0.25), dice.vary((0.30, 0.38, 0.16))
    start, repair = int(dice.uniform(0, 256)), dice.uniform(0.7, 0.92)
    dash, gap = dice.uniform(0, 6), dice.choice([4.0, 6.0, 9.0])

    r0 = min(max(int(eye.row + 1), 0), height - 1)
    z = np.minimum(eye.focal * eye.height / (np.arange(r0, height) + 0.5 - eye.row), 400)[:, None]
    x = (np.arange(width) + 0.5 - eye.col) * (z / eye.focal) + (eye.offset - eye.bend * z * z)
    away = np.abs(x)
    walk = np.where(x < 0, layout.walks[0], layout.walks[1])
    fine = eye.height * z / eye.focal / eye.unit * 160 * 0.12  # lines stay visible when far

    ground = np.full(x.shape, 0, np.int64)  # an index into the colours below
    for _ in range(3):  # where the road was mended
        middle, half = dice.uniform(-layout.half, layout.half), dice.uniform(0.3, 1.4)
        near, long = dice.uniform(4, 30), dice.uniform(0.7, 6)
        ground[(np.abs(x - middle) < half) & (z > near) & (z < near + long)] = 1
    ground[away > layout.half] = 4
    ground[away > layout.half + 0.18] = 5
    ground[away > layout.half + walk + SETBACK] = 6
    if layout.marks[0]:
        ground[(away < 0.07 + fine * 0.3) & ((z + dash) % gap < gap * 0.5) & (z < 60)] = 2
    if layout.marks[1]:
        ground[(np.abs(away - layout.half + 0.4) < 0.06 + fine * 0.2) & (z < 40)] = 3
    if layout.zebra:
        crossing = (z > layout.zebra) & (z < layout.zebra + 2.6) & (away < layout.half)
        ground[crossing] = np.where((x[crossing] + 40) % 1.2 < 0.6, 2, 0)
    for side, near, far in layout.crossroads:
        ground[(z > near) & (z < far) & (x * side > layout.half - 0.1)] = 0

    colours = np.asarray(
        [asphalt, [repair * c for c in asphalt], white, yellow, kerb, paving, verge], np.float32
    )
    labels = np.asarray([ROAD, ROAD, ROAD, ROAD, PAVEMENT, PAVEMENT, TREE], np.uint8)
    tile = noise_tile(7)
    blotch = tile[(z * 6).astype(np.int64) + start & 255, (x * 9).astype(np.int64) + start & 255]
    tone = np.float32(0.9) + np.float32(0.2) * blotch
    slabs = (ground == 5) & (((x * 1.6) % 1 < 0.07) | ((z * 1.6) % 1 < 0.09)) & (z < 14)
    tone[slabs] *= 0.82
    if light.sun > 0.3:
        edge = layout.half + 2 - layout.shade + 1.2 * tile[(z * 3).astype(np.int64) & 255, start]
        tone[x * layout.sunny > edge] *= 1 - 0.45 * light.sun
    tone[ground == 6] *= 0.75
    share = (z / (z + 300)).astype(np.float32)
    image = colours.take(ground, 0)
    image *= (tone * (1 - share))[..., None]
    image += share[..., None] * np.asarray(light.low, np.float32)
    canvas.image[r0:] = image
    canvas.labels[r0:] = labels[ground]


def paint_skyline(canvas: Canvas, light: Light, dice: Dice) -> None:
    """Close the view with far roofs and trees, 90 m away."""
    eye = canvas.camera
    width = eye.size[1]
    count = 36  # blocks
    rise = np.array([dice.uniform(0.006, 0.04) + 0.07 * dice.chance(0.08) for _ in range(count)])
    roofs = [dice.vary(roof) for roof in ROOFS]
    green = np.array([dice.chance(0.45) for _ in range(count)])
    greys = [dice.choice(roofs) for _ in range(count)]
    leaves = dice.vary((0.25, 0.31, 0.17))
    start = int(dice.uniform(0, 256))
    u = (np.arange(width) + 0.5 - width / 2) / eye.unit + 0.5
    part = np.clip((u * count).astype(np.int64), 0, count - 1)
    ragged = noise_tile()[start, (u * 400).astype(np.int64) % 256] * 0.03
    top = eye.row - eye.unit * (rise[part] + np.where(green[part], ragged, 0))
    r0 = min(max(int(top.min()), 0), eye.size[0] - 1)
    r1 = min(max(int(eye.row + eye.focal * eye.height / 90) + 1, r0 + 1), eye.size[0])
    mask = (np.arange(r0, r1) + 0.5)[:, None] >= top
    colours = [canvas.faded(leaves if g else c, 90) for g, c in zip(green, greys, strict=True)]
    shade = np.broadcast_to(np.asarray(colours, np.float32)[part], (*mask.shape, 3))
    window = (slice(r0, r1), slice(0, width))
    canvas.fill(window, mask, BUILDING, shade)
    canvas.fill(window, mask & green[part], TREE, shade)
