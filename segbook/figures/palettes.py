"""Colours for classes that every eye can tell apart, and how far apart two colours are."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segbook.figures.pictures import Colour
from segkit.data import camvid, streets
from segkit.outputs import IGNORE

VISIONS = ("normal", "deuteranopia", "protanopia", "grey")
"""The ways of seeing that `colour_difference` knows."""

_SIMULATED = {
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
}
"""On linear RGB, severity 1. Source: Machado et al., "A Physiologically-based Model for Simulation
of Color Vision Deficiency", IEEE TVCG 2009, table of the supplementary page."""

_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
"""Linear sRGB to CIE XYZ under D65. Source: IEC 61966-2-1."""


def lab(colours: ArrayLike, vision: str = "normal") -> NDArray[np.float64]:
    """CIELAB of sRGB colours as an eye sees them.

    Args:
        colours: RGB in 0..255, shape (..., 3).
        vision: one of `VISIONS`; in ``"grey"`` a and b are 0.

    Returns:
        L in 0..100, a and b; shape (..., 3).

    Raises:
        ValueError: another vision.
    """
    if vision not in VISIONS:
        raise ValueError(f"vision={vision!r}; choose one of {', '.join(map(repr, VISIONS))}")
    encoded = np.asarray(colours, np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    if vision in _SIMULATED:
        linear = (linear @ np.transpose(_SIMULATED[vision])).clip(0, 1)
    xyz = linear @ (_TO_XYZ / _TO_XYZ.sum(1, keepdims=True)).T
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    found = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)
    if vision == "grey":
        found[..., 1:] = 0
    return found


def ciede2000(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """CIEDE2000 between CIELAB colours: 1 is just seen side by side, 12 at a glance.

    Args:
        first: shape (..., 3).
        second: shape (..., 3).

    Source: Sharma, Wu and Dalal, "The CIEDE2000 Color-Difference Formula", Color Research and
    Application 2005, equations 2 to 22.
    """
    (l1, a1, b1), (l2, a2, b2) = (
        np.moveaxis(np.asarray(one, np.float64), -1, 0) for one in (first, second)
    )
    c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 1.5 - 0.5 * np.sqrt(c7 / (c7 + 25.0**7))
    a1, a2 = g * a1, g * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    grey = c1 * c2 == 0
    turn = np.where(grey, 0, (h2 - h1 + 180) % 360 - 180)
    hue = np.where(grey, h1 + h2, (h1 + turn / 2) % 360)
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    off = (lightness - 50) ** 2
    d_l = (l2 - l1) / (1 + 0.015 * off / np.sqrt(20 + off))
    d_c = (c2 - c1) / (1 + 0.045 * chroma)
    d_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * chroma * t)
    theta = np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2)))
    rotation = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7)) * np.sin(theta)
    return np.sqrt(d_l**2 + d_c**2 + d_h**2 + rotation * d_c * d_h)


def colour_difference(
    first: ArrayLike, second: ArrayLike, vision: str = "normal"
) -> NDArray[np.float64]:
    """How different two colours look: CIEDE2000, and in grey the difference of lightness L.

    Args:
        first: RGB in 0..255, shape (..., 3).
        second: RGB in 0..255, shape (..., 3).
        vision: one of `VISIONS`; the two kinds of colour blindness are simulated in full severity.

    Returns:
        Shape (...): 0 for the same colour; below about 2 they cannot be told apart at a glance.

    Raises:
        ValueError: another vision.
    """
    one, two = lab(first, vision), lab(second, vision)
    return np.abs(one[..., 0] - two[..., 0]) if vision == "grey" else ciede2000(one, two)


_STREETS = dict(zip((name.lower() for name in camvid.CLASSES), streets.PALETTE, strict=True))
_NAMED: dict[str, Colour] = _STREETS | {
    "sidewalk": _STREETS["pavement"],
    "vegetation": _STREETS["tree"],
    "traffic sign": _STREETS["signsymbol"],
    "person": _STREETS["pedestrian"],
    "rider": _STREETS["bicyclist"],
    "wall": (50, 31, 69),
    "traffic light": (45, 29, 5),
    "terrain": (161, 170, 108),
    "truck": (239, 189, 165),
    "bus": (139, 156, 255),
    "train": (128, 109, 249),
    "motorcycle": (167, 63, 172),
    "bicycle": (255, 228, 221),
}
"""Colours of things in streets, by the names of CamVid and Cityscapes in small letters."""

_FIRST: tuple[Colour, ...] = (
    (0, 63, 123), (255, 247, 23), (242, 41, 37), (93, 174, 126), (79, 95, 102), (44, 229, 205),
    (66, 20, 21),
)  # fmt: skip
"""Colours for classes whose names say nothing; any two differ by 17, and in grey by 12."""


def distinct_palette(classes: int | Sequence[str]) -> list[Colour]:
    """A colour for each class, told apart with normal sight and without red or green, and in grey.

    Things in streets get the colours that `SyntheticStreets` has: a light sky, a dark road, a green
    tree. The others get, one after the other, the colour that is farthest from those before it.
    Of CamVid's classes any two differ by a CIEDE2000 of 12 or more with normal sight, deuteranopia
    and protanopia, and in grey any two that touch often (one in a hundred of all borders or more).
    Of Cityscapes' 19 any two differ by 10.8 in colour, and by 12 in grey those that touch in most
    streets.
    Of K other classes any two differ by 12 in grey, too, up to K = 7; in colour by 15 at K = 12, by
    10.9 at 20, 8.6 at 30 and 3 at 150: past 20 no palette is enough without borders and a legend.

    Args:
        classes: names of the classes, or their number; 1 to 255.

    Returns:
        K colours, RGB in 0..255, all different; the same in every call.

    Raises:
        ValueError: no class, or more than 255.

    Example:
        >>> distinct_palette(2)
        [(0, 63, 123), (255, 247, 23)]
        >>> distinct_palette(["Sky", "Road"])
        [(146, 200, 250), (77, 78, 81)]
    """
    names = ("",) * classes if isinstance(classes, int) else tuple(classes)
    if not 1 <= len(names) <= IGNORE:
        raise ValueError(f"{len(names)} classes; allowed are 1 to {IGNORE}")
    return list(_distinct(names))


@functools.lru_cache
def _distinct(names: tuple[str, ...]) -> tuple[Colour, ...]:
    found: dict[int, Colour] = {}
    for k, name in enumerate(names):
        colour = _NAMED.get(name.strip().lower())
        if colour is not None and colour not in found.values():
            found[k] = colour
    if not found:
        found = dict(enumerate(_FIRST[: len(names)]))
    steps = np.linspace(0, 255, 11).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    seen = [lab(grid, vision) for vision in VISIONS[:3]]
    white = (255, 255, 255)  # of the borders between classes
    nearest = np.full(len(grid), np.inf)

    def take(colour: Sequence[float]) -> None:
        for vision, candidates in zip(VISIONS, seen, strict=False):
            np.minimum(nearest, ciede2000(candidates, lab(colour, vision)), out=nearest)

    missing = [k for k in range(len(names)) if k not in found]
    if missing:
        for colour in (white, *found.values()):
            take(colour)
    for k in missing:
        red, green, blue = grid[nearest.argmax()].astype(int).tolist()
        found[k] = (red, green, blue)
        take(found[k])
    return tuple(found[k] for k in range(len(names)))
