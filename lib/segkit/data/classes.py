"""Class names and palettes of the data sets."""

from __future__ import annotations

CAMVID_CLASSES: tuple[str, ...] = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
)
"""The 11 classes of CamVid as SegNet merged them, in the order of their ids."""

CAMVID_PALETTE: tuple[tuple[int, int, int], ...] = (
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (60, 40, 222),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)
"""The RGB colour of each CamVid class, 0..255, in the order of the ids."""

VOID_COLOUR: tuple[int, int, int] = (0, 0, 0)
"""The RGB colour in which pictures of labels show void pixels."""
