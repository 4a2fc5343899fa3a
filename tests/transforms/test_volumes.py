"""Patches of volumes: where they lie, and that image and labels stay together."""

import pytest
import torch

from segkit.outputs import IGNORE
from segkit.transforms.volumes import (
    IntensityJitter,
    RandomPatch,
    evaluate_volumes,
    standardize,
    train_volumes,
)


def coded(size=(9, 11, 8)):
    """A volume whose values are its places, labels that follow from them."""
    places = torch.stack(
        torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    )
    return places, (1 + (places[0] >= size[0] // 2)).to(torch.uint8)


def test_standardize():
    image = torch.stack([torch.randn(4, 5, 6) * 7 + 90, torch.full((4, 5, 6), 3.0)])
    made = standardize(image)
    assert made[0].mean().abs() < 1e-5
    assert abs(made[0].std(correction=0) - 1) < 1e-5
    assert not made[1].any()


@pytest.mark.parametrize("size", [(4, 5, 6), (9, 11, 8)])
def test_a_patch_is_a_part_of_the_volume(size):
    image, mask = coded()
    starts = set()
    for _ in range(50):
        patch, labels = RandomPatch(size, foreground=0)(image, mask)
        start = tuple(patch[:, 0, 0, 0].int().tolist())
        starts.add(start)
        place = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
        assert torch.equal(patch, image[(slice(None), *place)])
        assert torch.equal(labels, mask[place])
    assert {start[0] for start in starts} == set(range(9 - size[0] + 1))


def test_beyond_the_volume_is_void():
    image, mask = coded((3, 4, 5))
    patch, labels = RandomPatch((6, 8, 5), foreground=0.5)(image + 1, mask)
    assert (labels != IGNORE).sum() == 3 * 4 * 5  # the whole volume is inside
    assert not patch[:, labels == IGNORE].any()


def test_a_third_around_the_foreground_of_each_class_as_often():
    mask = torch.zeros(40, 40, 40, dtype=torch.uint8)
    mask[3, 3, 3], mask[30:36, 30:36, 30:36] = 1, 2
    image = torch.zeros(1, 40, 40, 40)
    cut = RandomPatch((5, 5, 5), foreground=1)
    held = [set(cut(image, mask)[1].unique().tolist()) - {0} for _ in range(60)]
    assert all(held)
    assert 15 < sum(1 in one for one in held) < 45
    none = RandomPatch((5, 5, 5), foreground=1)(image, torch.zeros_like(mask))[1]
    assert not none.any()


def test_scaling_turning_and_bending_move_image_and_labels_alike():
    size = (24, 26, 22)
    places, _ = coded(size)
    ids = (places[0] // 6).to(torch.uint8)
    cut = RandomPatch((16, 16, 16), 0, (0.8, 1.25), rotation=30, elastic=1.0, p=1)
    for _ in range(5):
        patch, labels = cut(places + 100, ids)
        known = (labels != IGNORE) & (patch[0] > 100)  # where nothing is blended with the outside
        edge = ((patch[0] - 100) % 6 - 3).abs() < 2.4  # not within a voxel of a border
        expected = ((patch[0] - 100) // 6).to(torch.uint8)
        sure = known & edge & (patch > 105).all(0)
        assert sure.sum() > 200
        assert (labels[sure] == expected[sure]).float().mean() > 0.98


def test_a_turn_by_nothing_is_the_volume():
    image, mask = coded()
    cut = RandomPatch((9, 11, 8), 0, (1.0, 1.0), rotation=1e-6, p=1)
    patch, labels = cut(image, mask)
    torch.testing.assert_close(patch, image, atol=1e-4, rtol=0)
    assert torch.equal(labels, mask)


def test_a_scale_is_a_scale():
    image, mask = coded((20, 20, 20))
    patch, _ = RandomPatch((5, 5, 5), 0, (2.0, 2.0), p=1)(image, mask)
    assert patch[0].diff(dim=0).mean().item() == pytest.approx(0.5, abs=1e-4)


def test_flips_are_along_their_axes():
    image, mask = coded()
    patch, labels = RandomPatch((9, 11, 8), 0, flip=(1, 0, 1))(image, mask)
    assert torch.equal(patch, image.flip(-3, -1))
    assert torch.equal(labels, mask.flip(-3, -1))


def test_intensity_keeps_the_order_of_values():
    image = torch.sort(torch.randn(4 * 5 * 6)).values.reshape(1, 4, 5, 6)
    made, _ = IntensityJitter(0.5)(image, torch.zeros(4, 5, 6, dtype=torch.uint8))
    assert not torch.equal(made, image)
    assert (made.flatten().diff() >= 0).all()


def test_presets_give_what_a_network_takes():
    image, mask = torch.randn(2, 9, 11, 8) * 50 + 700, coded()[1]
    for transform, size in (
        (train_volumes((8, 8, 8), (0.9, 1.1), flip=0.5, jitter=0.2, rotation=5), (8, 8, 8)),
        (evaluate_volumes(), (9, 11, 8)),
    ):
        images, labels = transform(image, mask)
        assert images.shape == (2, *size)
        assert images.dtype == torch.float32
        assert labels.shape == size
        assert labels.dtype == torch.int64
        assert images.abs().max() < 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": (4, 4)}, "depth, height, width"),
        ({"size": (4, 4, 0)}, "depth, height, width"),
        ({"flip": (0.5, 0.5)}, "one for each axis"),
        ({"foreground": 2}, "probabilities"),
        ({"scale": (2, 1)}, "lowest <= highest"),
        ({"rotation": -1}, "degrees"),
    ],
)
def test_refused(options, said):
    with pytest.raises(ValueError, match=said):
        RandomPatch(**{"size": (4, 4, 4), **options})


def test_images_are_refused():
    with pytest.raises(ValueError, match="a transform of volumes takes"):
        evaluate_volumes()(torch.zeros(3, 8, 8), torch.zeros(8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="below 1"):
        IntensityJitter(1.0)
