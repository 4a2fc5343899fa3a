"""Who moves in a synthetic street: people on foot and on bicycles."""

from __future__ import annotations

from segkit.data.streets.canvas import Canvas
from segkit.data.streets.dice import Dice
from segkit.data.streets.furniture import BLACK, Board
from segkit.data.streets.surfaces import BICYCLIST, PEDESTRIAN

CLOTHES = (
    (0.12, 0.13, 0.18), (0.20, 0.22, 0.32), (0.45, 0.12, 0.14), (0.62, 0.58, 0.50),
    (0.30, 0.34, 0.26), (0.80, 0.80, 0.80), (0.16, 0.32, 0.55), (0.75, 0.45, 0.15),
    (0.28, 0.22, 0.20),
)  # fmt: skip

SKIN = ((0.85, 0.66, 0.55), (0.72, 0.52, 0.40), (0.45, 0.30, 0.22), (0.90, 0.74, 0.64))

HAIR = ((0.10, 0.08, 0.07), (0.35, 0.22, 0.12), (0.70, 0.58, 0.35), (0.5, 0.5, 0.5))


def paint_person(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """Paint someone who walks or stands, an adult or a child."""
    scale = dice.uniform(0.62, 0.75) if dice.chance(0.15) else dice.uniform(0.92, 1.06)
    board = Board(canvas, x, z, PEDESTRIAN, facing=dice.sign(), scale=scale)
    coat, trousers = dice.vary(dice.choice(CLOTHES), 0.2), dice.vary(dice.choice(CLOTHES[:5]), 0.2)
    skin, hair = dice.choice(SKIN), dice.choice(HAIR)
    stride, swing = dice.uniform(0.03, 0.32), dice.uniform(0.0, 0.25)
    dark = tuple(0.8 * c for c in coat)
    board.shadow(0.4, 0.4, 0.6)
    board.limb((-stride, 0.02), (-0.05, 0.85), 0.15, tuple(0.85 * c for c in trousers))
    board.limb((stride, 0.02), (0.05, 0.85), 0.15, trousers)
    board.limb((-0.17, 1.38), (-0.2 - swing, 0.85), 0.11, dark)
    hem = dice.choice([0.8, 0.75, 0.55])
    right = [(0.2, hem), (0.22, 1.42), (0.1, 1.5)]
    board.shape([(-0.2, hem), *right, (-0.1, 1.5), (-0.22, 1.42)], coat)
    board.limb((0.17, 1.38), (0.2 + swing, 0.88), 0.11, dark)
    if dice.chance(0.3):  # a bag
        board.box(0.15 + swing, 0.5, 0.42 + swing, 0.85, dice.choice(CLOTHES))
    board.disc(0, 1.63, 0.115, 0.15, skin)
    board.disc(0, 1.69, 0.12, 0.11, hair)


def paint_cyclist(canvas: Canvas, dice: Dice, x: float, z: float, *, across: bool) -> None:
    """Paint someone on a bicycle, seen from the side (``across`` the road) or from behind."""
    board = Board(canvas, x, z, BICYCLIST, facing=dice.sign())
    coat, trousers = dice.vary(dice.choice(CLOTHES), 0.2), dice.vary(dice.choice(CLOTHES[:5]), 0.2)
    skin = dice.choice(SKIN)
    frame = dice.vary(dice.choice([(0.6, 0.1, 0.1), (0.1, 0.2, 0.5), (0.1, 0.1, 0.1)]))
    helmet = dice.choice([*HAIR, (0.9, 0.9, 0.9), (0.7, 0.1, 0.1)])
    board.shadow(0.8 if across else 0.35, 0.3, 0.6)
    if not across:
        board.post(0, 0, 0.7, 0.07, BLACK)
        board.limb((-0.12, 0.3), (-0.12, 0.95), 0.15, trousers)
        board.limb((0.12, 0.45), (0.12, 0.95), 0.15, trousers)
        board.limb((-0.3, 1.0), (0.3, 1.0), 0.05, BLACK)
        right = [(0.19, 0.88), (0.23, 1.42), (0.1, 1.52)]
        board.shape([(-0.19, 0.88), *right, (-0.1, 1.52), (-0.23, 1.42)], coat)
        board.limb((-0.2, 1.4), (-0.32, 1.02), 0.1, coat)
        board.limb((0.2, 1.4), (0.32, 1.02), 0.1, coat)
        board.disc(0, 1.66, 0.12, 0.15, skin)
        board.disc(0, 1.71, 0.13, 0.12, helmet)
        return
    hole = max(0.0, 1 - max(0.07, board.hairline / board.up) / 0.34)
    for a in (-0.52, 0.52):
        board.disc(a, 0.34, 0.34, 0.34, BLACK, hole=hole)
    board.limb((-0.52, 0.34), (-0.12, 0.85), 0.06, frame)
    board.limb((-0.12, 0.85), (0.4, 0.85), 0.06, frame)
    board.limb((-0.05, 0.32), (0.4, 0.8), 0.06, frame)
    board.limb((0.52, 0.34), (0.38, 1.02), 0.06, frame)
    board.limb((-0.12, 0.95), (0.18, 0.68), 0.16, trousers)
    board.limb((0.18, 0.68), (0.02, 0.2), 0.12, trousers)
    board.shape([(-0.25, 0.88), (0.02, 0.9), (0.3, 1.38), (0.12, 1.5), (-0.05, 1.42)], coat)
    board.limb((0.18, 1.38), (0.42, 1.02), 0.09, coat)
    board.disc(0.28, 1.58, 0.13, 0.15, skin)
    board.disc(0.26, 1.65, 0.14, 0.11, helmet)
