"""The painter of the streets: perspective, occlusion, and shapes that cover what they should."""

import numpy as np
import pytest

from segkit.data.streets.canvas import Camera, Canvas
from segkit.data.streets.dice import Dice, grain_tile, noise_tile
from segkit.data.streets.houses import paint_fence
from segkit.data.streets.people import paint_person
from segkit.data.streets.scene import _Scene
from segkit.data.streets.surfaces import CAR, FENCE, LIGHTS, PEDESTRIAN
from segkit.data.streets.vehicles import paint_vehicle


def canvas(size: tuple[int, int] = (120, 150), **eye: float) -> Canvas:
    camera = Camera(size, **{"focal": 1.0, "height": 1.5, "offset": 0.0, **eye})
    return Canvas(camera, haze=(1.0, 1.0, 1.0), clear=1e9)


def extent(labels: np.ndarray, k: int) -> tuple[int, int, int]:
    """Height, lowest row and number of the pixels of a class."""
    rows = np.flatnonzero((labels == k).any(1))
    return rows[-1] - rows[0] + 1, rows[-1], (labels == k).sum()


def test_twice_as_far_is_half_as_tall():
    found = []
    for z in (5.0, 10.0):
        scene = canvas((240, 300))
        paint_person(scene, Dice(np.random.default_rng(0)), 0.0, z)
        found.append(extent(scene.labels, PEDESTRIAN))
    (near, foot, size), (far, higher, less) = found
    assert near / far == pytest.approx(2, rel=0.05)
    assert size / less == pytest.approx(4, rel=0.15)
    assert foot == pytest.approx(120 + 300 * 1.5 / 5, abs=2)  # on the ground plane
    assert higher == pytest.approx(120 + 300 * 1.5 / 10, abs=2)


def test_the_near_hides_the_far_in_whatever_order_they_are_added():
    pictures = []
    for order in ((12.0, 7.0), (7.0, 12.0)):
        scene = _Scene(canvas(), None, LIGHTS[0], None)
        for z in order:
            if z == 7.0:
                dice, heading = Dice(np.random.default_rng(1)), (0.0, 1.0)
                car = {"heading": heading, "lights": False, "bus": True}
                scene.add(z, paint_vehicle, dice, 0.0, z, **car)
            else:
                scene.add(z, paint_person, Dice(np.random.default_rng(2)), 0.3, z)
        scene.paint()
        pictures.append(scene.canvas.labels)
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] == CAR).any()
    assert not (pictures[0] == PEDESTRIAN).any()


@pytest.mark.parametrize("seed", range(8))
def test_polygon_is_what_its_edges_enclose(seed):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 6))
    middle, radius = rng.uniform(-10, 130, 2), rng.uniform(5, 60)
    points = middle + radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    scene = canvas()
    scene.polygon([tuple(p) for p in points], 7, (1, 0, 0))
    rows, cols = np.mgrid[:120, :150] + 0.5
    inside = np.ones((120, 150), bool)
    for (xa, ya), (xb, yb) in zip(points, np.roll(points, -1, 0), strict=True):
        inside &= (xb - xa) * (rows - ya) - (yb - ya) * (cols - xa) >= 0
    assert ((scene.labels == 7) == inside).all()
    assert (scene.image[inside] == (1, 0, 0)).all()
    assert (scene.image[~inside] == 0).all()


def test_a_wall_shrinks_towards_the_vanishing_point():
    patch = canvas().wall((-3.0, 4.0), (-3.0, 40.0), 0.0, 3.0)
    height = patch.mask.sum(0)
    assert (np.diff(height) <= 0).all()
    assert height.tolist() == pytest.approx((150 * 3 * patch.near).tolist(), abs=1)
    assert 0 <= patch.along[0] < patch.along[-1] <= 36
    assert (patch.along + 4).tolist() == pytest.approx((1 / patch.near).tolist())
    assert -0.1 < patch.up[patch.mask].min() < patch.up[patch.mask].max() < 3.1
    assert canvas().wall((-3.0, 40.0), (-3.0, 4.0), 0.0, 3.0) is None  # from behind


def test_one_sees_through_a_fence_that_is_labelled_whole():
    scene = canvas((240, 300))
    scene.image[:] = 0.5
    paint_fence(scene, (-2.0, 8.0), (2.0, 8.0), top=1.4, kind=0, colour=(0.0, 0.0, 0.0))
    fence = scene.labels == FENCE
    seen = (scene.image[fence] == 0.5).all(1).mean()
    assert fence.sum() == pytest.approx(150 * 52, rel=0.05)
    assert 0.3 < seen < 0.8


def test_noise_is_uniform_and_has_no_seam():
    tile = noise_tile()
    assert np.histogram(tile, 8, (0, 1))[0].tolist() == [tile.size // 8] * 8
    seam = np.abs(tile[0] - tile[-1]).mean(), np.abs(tile[:, 0] - tile[:, -1]).mean()
    assert max(seam) < 2 * np.abs(np.diff(tile, axis=0)).mean()
    assert abs(grain_tile().mean()) < 0.01
    assert grain_tile().std() == pytest.approx(1, abs=0.01)
