"""Boundary IoU, worked by hand and against distances counted pixel by pixel."""

import math

import pytest
import torch

from segkit.metrics import ConfusionMatrix, boundary_iou, inner_boundary

VOID = 255


def square(side=5, at=2, size=9):
    labels = torch.zeros(1, size, size, dtype=torch.long)
    labels[:, at : at + side, at : at + side] = 1
    return labels


def by_distance(region, width, void):
    """Pixels of the region with an outside pixel, or the image's edge, so many steps away."""
    height, breadth = region.shape
    found = torch.zeros_like(region)
    for y in range(height):
        for x in range(breadth):
            ys, xs = range(y - width, y + width + 1), range(x - width, x + width + 1)
            over = ys[0] < 0 or xs[0] < 0 or ys[-1] >= height or xs[-1] >= breadth
            square_of = (slice(max(0, ys[0]), ys[-1] + 1), slice(max(0, xs[0]), xs[-1] + 1))
            found[y, x] = region[y, x] and (over or bool((~region & ~void)[square_of].any()))
    return found


def test_worked_by_hand():
    """The rim of 5x5 is 16 pixels; moved by one column, the upper and lower rows share 4 each."""
    truth = square()
    ring = inner_boundary(truth == 1, 1)
    assert int(ring.sum()) == 16
    assert not ring[0, 4, 4]
    moved = truth.roll(1, 2)
    shared = int((ring & inner_boundary(moved == 1, 1)).sum())
    assert shared == 8
    score = boundary_iou(moved, truth, num_classes=2, width=1)[1]
    assert float(score) == pytest.approx(8 / (16 + 16 - 8))


def test_itself_is_1_and_nothing_shared_is_0():
    truth = square()
    assert boundary_iou(truth, truth, num_classes=3, width=2).tolist()[:2] == [1, 1]
    assert boundary_iou(1 - truth, truth, num_classes=2, width=1).tolist() == [0, 0]


def test_an_absent_class_is_nan_and_a_false_one_is_0():
    scores = boundary_iou(torch.full_like(square(), 2), square(), num_classes=4)
    assert scores[:3].tolist() == [0, 0, 0]
    assert math.isnan(scores[3])


@pytest.mark.parametrize("width", [1, 2, 3])
def test_is_what_distances_say(width):
    generator = torch.Generator().manual_seed(width)
    coarse = torch.randint(0, 3, (2, 2, 4, 5), generator=generator)
    truth, guess = coarse.repeat_interleave(3, 2).repeat_interleave(3, 3)
    truth = truth.masked_fill(torch.rand(truth.shape, generator=generator) < 0.1, VOID)
    void = truth == VOID
    expected = []
    for k in range(3):
        pairs = [
            (by_distance(t == k, width, v), by_distance((g == k) & ~v, width, v))
            for t, g, v in zip(truth, guess, void, strict=True)
        ]
        both = sum(int((t & p).sum()) for t, p in pairs)
        either = sum(int((t | p).sum()) for t, p in pairs)
        expected.append(both / either)
    found = boundary_iou(guess.to(torch.uint8), truth, num_classes=3, width=width)
    assert found.tolist() == pytest.approx(expected)


def test_a_band_as_wide_as_the_image_is_the_plain_iou():
    truth, guess = square(), square(4, 3)
    matrix = ConfusionMatrix(2)
    matrix.update(guess, truth)
    assert boundary_iou(guess, truth, num_classes=2, width=9).tolist() == matrix.iou().tolist()


def test_what_is_said_on_void_does_not_count():
    truth = square()
    truth[:, :, 5:] = VOID
    guess = square()
    other = guess.clone()
    other[:, :, 5:] = 0
    for width in (1, 2):
        one, two = (boundary_iou(p, truth, num_classes=2, width=width) for p in (guess, other))
        assert one.tolist() == two.tolist() == [1, 1]


def test_a_small_error_hurts_a_large_region_less_than_its_boundary():
    """The point of the paper: IoU forgets the contour of what is large."""
    truth, guess = square(80, 10, 100), square(80, 12, 100)
    matrix = ConfusionMatrix(2)
    matrix.update(guess, truth)
    assert matrix.iou()[1] > 0.9
    assert boundary_iou(guess, truth, num_classes=2)[1] < 0.5


def test_the_default_width_is_2_per_cent_of_the_diagonal():
    truth, guess = square(80, 10, 100), square(78, 11, 100)
    scores = [boundary_iou(guess, truth, num_classes=2, **width) for width in ({}, {"width": 3})]
    assert torch.equal(*scores)


def test_refuses():
    with pytest.raises(ValueError, match="at least 1 pixel"):
        boundary_iou(square(), square(), num_classes=2, width=0)
    with pytest.raises(ValueError, match="prediction holds"):
        boundary_iou(square() * 2, square(), num_classes=2)
    with pytest.raises(ValueError, match="a boundary is of"):
        boundary_iou(square()[None], square()[None], num_classes=2)
