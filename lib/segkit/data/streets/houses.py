"""What lines a synthetic street: houses, fences and hedges, as upright walls in perspective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segkit.data.streets.canvas import Canvas, Point
from segkit.data.streets.dice import Colour, Dice, noise_tile
from segkit.data.streets.surfaces import BUILDING, FENCE, SIGN, TREE, Light

WALLS = (
    (0.56, 0.33, 0.25), (0.48, 0.30, 0.24), (0.66, 0.52, 0.36), (0.74, 0.70, 0.60),
    (0.82, 0.80, 0.76), (0.52, 0.52, 0.52), (0.42, 0.42, 0.44), (0.60, 0.57, 0.50),
    (0.38, 0.33, 0.30),
)  # fmt: skip

ROOFS = ((0.30, 0.30, 0.33), (0.46, 0.27, 0.20), (0.36, 0.32, 0.30))
PLINTHS = ((0.20, 0.20, 0.22), (0.12, 0.22, 0.20), (0.45, 0.13, 0.12), (0.70, 0.68, 0.62))
DOORS = ((0.45, 0.12, 0.10), (0.10, 0.20, 0.40), (0.15, 0.30, 0.20), (0.85, 0.85, 0.85))
BOARDS = (
    (0.16, 0.24, 0.6), (0.7, 0.12, 0.12), (0.1, 0.38, 0.22), (0.85, 0.7, 0.12), (0.9, 0.9, 0.88),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class House:
    """How a facade looks; lengths in metres."""

    eaves: float  # height of the wall
    roof: float  # height of the roof above it, 0 for a flat one
    storey: float  # height of a storey
    bay: float  # distance between the windows of a row
    pane: tuple[float, float]  # (width, height) of a window as shares of bay and storey
    shop: bool  # whether the ground floor is a shop, with a sign board over it
    # (24, 3): wall, frame, roof, plinth, door, three spare ones, and 16 panes of glass.
    colours: np.ndarray
    sign: Colour  # of the sign board
    start: int  # which part of the noise the wall shows


def make_house(dice: Dice, light: Light) -> House:
    """Design a house."""
    storeys = dice.choice([2, 2, 3, 3, 4, 5])
    storey = dice.uniform(2.7, 3.4)
    shop = dice.chance(0.38)
    wall = dice.vary(dice.choice(WALLS), 0.12)
    frame = dice.choice([(0.88, 0.88, 0.86), (0.3, 0.28, 0.26), tuple(0.8 * c for c in wall)])
    roof = dice.vary(dice.choice(ROOFS))
    plinth, door = dice.vary(dice.choice(PLINTHS)), dice.vary(dice.choice(DOORS))
    red, green, blue = (c * t for c, t in zip(light.low, (0.8, 0.95, 1.1), strict=True))
    panes = []
    for _ in range(16):  # lit, or a dim mirror of the sky
        lit, dim = dice.chance(light.lit), dice.uniform(0.12, 0.5)
        panes.append((1.6, 1.3, 0.75) if lit else (dim * red, dim * green, dim * blue))
    return House(
        eaves=storeys * storey + dice.uniform(0.1, 0.8),
        roof=dice.choice([0.0, dice.uniform(0.8, 2.2)]),
        storey=storey,
        bay=dice.uniform(1.7, 3.4),
        pane=(dice.uniform(0.36, 0.7), dice.uniform(0.42, 0.62)),
        shop=shop,
        colours=np.asarray([wall, frame, roof, plinth, door, wall, wall, wall, *panes], np.float32),
        sign=dice.vary(dice.choice(BOARDS)),
        start=int(dice.uniform(0, 256)),
    )


def paint_facade(
    canvas: Canvas, house: House, start: Point, end: Point, *, gain: float, blank: bool = False
) -> None:
    """Paint one wall of a house, between two points (x, z); a blank one has no windows."""
    patch = canvas.wall(start, end, 0, house.eaves + house.roof)
    if patch is None:
        return
    storey = patch.up / house.storey
    floor = storey.astype(np.int64)
    bay = patch.along / house.bay
    column = bay.astype(np.int64)
    across, above = np.abs(bay - column - 0.5), storey - floor - 0.28
    code = np.zeros(patch.mask.shape, np.int64)
    if not blank:
        pane = 8 + (floor * 11 + column * 7 & 15)
        wide, tall = house.pane
        wide = np.full(across.shape, wide / 2)
        inside = (across < wide) & (above > 0) & (above < tall)
        sill = (across < wide + 0.05) & (above > -0.04) & (above < tall + 0.04)
        np.copyto(code, 1, where=sill)
        np.copyto(code, pane, where=inside)
        if house.shop:
            glass = (across < 0.44) & (patch.up > 0.5) & (patch.up < 2.3)
            code = np.where(patch.up < 2.9, np.where(glass, pane, 3), code)
        else:
            code[(patch.up < 2.1) & (across < wide + 0.05) & (column % 3 == 1)] = 4
            code[patch.up < 0.35] = 3
    code[patch.up > house.eaves] = 2
    i = (patch.up * 14).astype(np.int64) + house.start & 255
    grain = noise_tile(7)[i, (patch.along * 14).astype(np.int64) & 255]
    shade = house.colours.take(code, 0)
    shade *= (np.float32(0.86 * gain) + np.float32(0.28 * gain) * grain)[..., None]
    canvas.fill_wall(patch, BUILDING, shade)
    if house.shop and not blank:
        board = canvas.wall(start, end, 2.5, 3.0)
        if board:
            words = ((board.along * 2.3) % 1 < 0.55) & (board.along % 5 > 1.6)
            letters = words & (np.abs(board.up - 2.75) < 0.12)
            colours = np.asarray([house.sign, [1 - 0.8 * c for c in house.sign]]) * gain
            canvas.fill_wall(board, SIGN, colours.astype(np.float32)[letters.astype(np.int64)])


def paint_fence(
    canvas: Canvas, start: Point, end: Point, *, top: float, kind: int, colour: Colour
) -> None:
    """Paint a fence: kind 0 thin bars between rails, 1 boards, 2 a mesh."""
    patch = canvas.wall(start, end, 0, top)
    if patch is None:
        return
    rails = (patch.up > top - 0.1) | (np.abs(patch.up - 0.2) < 0.05)
    posts = patch.along % 2.4 < 0.12
    if kind == 0:
        see = rails | posts | ((patch.along * 5) % 1 < 0.3)
    elif kind == 1:
        see = np.ones(patch.mask.shape, bool)
    else:
        slant = (patch.up * 4 + patch.along * 4) % 1
        back = (patch.up * 4 - patch.along * 4) % 1
        see = rails | posts | (slant < 0.24) | (back < 0.24)
    board = 1 - 0.3 * ((patch.along * 4) % 1 < 0.25) if kind == 1 else np.ones(patch.along.shape)
    shade = board.astype(np.float32)[:, None] * np.asarray(colour, np.float32)
    canvas.fill_wall(patch, FENCE, np.broadcast_to(shade, (*patch.mask.shape, 3)), see)


def paint_hedge(
    canvas: Canvas, start: Point, end: Point, *, top: float, colour: Colour, seed: int
) -> None:
    """Paint a hedge, its top ragged."""
    patch = canvas.wall(start, end, 0, top)
    if patch is None:
        return
    tile = noise_tile(6)
    i, j = ((part * 30).astype(np.int64) + seed & 255 for part in (patch.up, patch.along))
    edge = tile[seed, (patch.along * 20).astype(np.int64) & 255] * 0.4
    light = ((0.45 + 0.7 * tile[i, j]) * (0.7 + 0.3 * patch.up / top)).astype(np.float32)
    shade = light[..., None] * np.asarray(colour, np.float32)
    canvas.fill_wall(patch._replace(mask=patch.mask & (patch.up < top - edge)), TREE, shade)
