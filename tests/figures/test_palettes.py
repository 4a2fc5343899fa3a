"""Colours of classes: how far apart they are for every eye, where classes touch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from segbook.figures import colour_difference, distinct_palette
from segbook.figures.palettes import VISIONS, ciede2000, lab
from segbook.figures.pictures import WRONG
from segkit.data import CamVid, SyntheticStreets, camvid, cityscapes, streets, voc
from segkit.outputs import IGNORE

ENOUGH = 12.0
OFTEN = 0.01
"""Two classes touch often if a hundredth of all borders between classes, counted in pairs of
neighbouring pixels (left and right, above and below; void left out), are between these two."""

CITYSCAPES_TOUCH = {
    "building": "wall fence pole traffic_light traffic_sign vegetation sky person car truck bus "
    "train sidewalk rider bicycle",
    "vegetation": "wall fence pole traffic_light traffic_sign terrain sky car truck sidewalk",
    "road": "sidewalk terrain car truck bus train rider motorcycle bicycle",
    "sidewalk": "wall fence pole terrain person motorcycle bicycle",
    "sky": "pole traffic_light",
    "rider": "bicycle motorcycle",
    "person": "fence bicycle",
    "pole": "traffic_light",
    "wall": "fence",
    "car": "bicycle motorcycle terrain",
}
"""By what a street is, not counted: Cityscapes may not be handed on."""


def borders(masks, num_classes: int) -> np.ndarray:
    """Pairs of neighbouring pixels by their two classes, (K, K), each pair once, as shares."""
    count = np.zeros((num_classes, num_classes), np.int64)
    for mask in masks:
        ids = np.asarray(mask).astype(np.int64)
        for one, two in ((ids[1:], ids[:-1]), (ids[:, 1:], ids[:, :-1])):
            counted = (one != two) & (one != IGNORE) & (two != IGNORE)
            low, high = np.minimum(one, two)[counted], np.maximum(one, two)[counted]
            np.add.at(count, (low, high), 1)
    return count / count.sum()


def often(shares: np.ndarray) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for i, j in np.argwhere(shares >= OFTEN)]


def least(palette, pairs, vision: str) -> float:
    colours = np.array(palette)
    first, second = np.array(pairs).T
    return float(colour_difference(colours[first], colours[second], vision).min())


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
        ((50, -1, 2), (50, 0, 0), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
        ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
    ],
)
def test_ciede2000_of_the_published_pairs(first, second, expected):
    """Table 1 of Sharma, Wu and Dalal."""
    assert ciede2000(first, second) == pytest.approx(expected, abs=5e-5)
    assert ciede2000(second, first) == pytest.approx(expected, abs=5e-5)


def test_what_an_eye_sees():
    assert lab((255, 0, 0)) == pytest.approx([53.24, 80.09, 67.20], abs=0.01)
    greys = [(value,) * 3 for value in (0, 90, 255)]
    for vision in VISIONS:
        assert lab(greys, vision)[:, 1:] == pytest.approx(0, abs=0.01)
        assert lab(greys, vision) == pytest.approx(lab(greys), abs=0.01)
    red, green = (200, 60, 0), (96, 106, 0)
    assert colour_difference(red, green) > 30
    assert colour_difference(red, green, "deuteranopia") < 10
    assert colour_difference((255, 255, 255), (0, 0, 0), "grey") == pytest.approx(100)
    with pytest.raises(ValueError, match="vision='tritanopia'; choose one of 'normal'"):
        colour_difference(red, green, "tritanopia")


def test_classes_that_touch_often_differ_on_the_painted_streets():
    painted = SyntheticStreets("val", length=24)
    pairs = often(borders((painted.raw(i)[1] for i in range(24)), 11))
    assert len(pairs) >= 15
    assert painted.palette == tuple(distinct_palette(painted.classes)) == streets.PALETTE
    for vision in VISIONS:
        assert least(painted.palette, pairs, vision) >= ENOUGH, vision
    # CamVid's own colours do not: this is what the test can tell.
    assert least(camvid.PALETTE, pairs, "deuteranopia") < 4


@pytest.mark.data
@pytest.mark.parametrize("split", ["train", "test"])
def test_classes_that_touch_often_differ_on_camvid(camvid_root, split):
    data = CamVid(camvid_root, split, cache=False)
    pairs = often(borders((data.raw(i)[1] for i in range(0, len(data), 12)), 11))
    assert len(pairs) >= 12
    for vision in VISIONS:
        assert least(distinct_palette(data.classes), pairs, vision) >= ENOUGH, vision


@pytest.mark.parametrize("vision", VISIONS[:3])
def test_any_two_classes_differ_in_colour(vision):
    eleven, nineteen = (
        list(itertools.combinations(range(len(names)), 2))
        for names in (camvid.CLASSES, cityscapes.CLASSES)
    )
    assert least(distinct_palette(camvid.CLASSES), eleven, vision) >= ENOUGH
    assert least(distinct_palette(cityscapes.CLASSES), nineteen, vision) >= 10.8
    wrong = [(WRONG, one) for one in distinct_palette(camvid.CLASSES)]
    assert min(colour_difference(*pair, vision) for pair in wrong) >= ENOUGH


def test_classes_of_cityscapes_that_touch_differ():
    names = cityscapes.CLASSES
    pairs = [
        (names.index(one), names.index(other.replace("_", " ")))
        for one, others in CITYSCAPES_TOUCH.items()
        for other in others.split()
    ]
    for vision in VISIONS:
        assert least(distinct_palette(names), pairs, vision) >= ENOUGH, vision


@pytest.mark.parametrize(
    ("num_classes", "in_colour", "in_grey"),
    [(2, 75, 60), (4, 17, 12), (7, 17, 12), (12, 15, 0), (20, 10.9, 0), (30, 8.6, 0), (150, 3, 0)],
)
def test_any_number_of_classes(num_classes, in_colour, in_grey):
    palette = distinct_palette(num_classes)
    assert palette == distinct_palette([f"class {k}" for k in range(num_classes)])
    assert palette[:4] == distinct_palette(4)[:num_classes]
    pairs = list(itertools.combinations(range(num_classes), 2))
    assert min(least(palette, pairs, vision) for vision in VISIONS[:3]) >= in_colour
    assert least(palette, pairs, "grey") >= in_grey


def test_names_that_say_what_it_is_keep_their_colour():
    sky, road, tree = distinct_palette(["Sky", "road", "vegetation"])
    assert distinct_palette(["thing", "Road", "SKY"])[1:] == [road, sky]
    assert sky[2] > sky[0] > road[0]  # light and blue
    assert tree[1] > max(tree[0], tree[2])
    twice = distinct_palette(["tree", "vegetation", "tree"])
    assert len(set(twice)) == 3
    assert twice[0] == tree


def test_it_ends_where_ids_end():
    many = distinct_palette(255)
    assert len(set(many)) == 255
    assert {type(value) for colour in many for value in colour} == {int}
    assert len(set(distinct_palette(voc.CLASSES))) == 21
    for wrong in (0, 256, []):
        with pytest.raises(ValueError, match="allowed are 1 to 255"):
            distinct_palette(wrong)
