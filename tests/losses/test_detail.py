"""Detail guidance: the target worked out by hand, and its loss."""

import math

import pytest
import torch
from torch.nn import functional as F

from segkit.losses import AuxLoss, combine, cross_entropy
from segkit.losses.detail import Detail, detail_loss, detail_target
from segkit.outputs import SegOutput

V = 255


def target(rows, **options):
    return detail_target(torch.tensor([rows]), **options)[0, 0].int().tolist()


def released(labels):
    """The target of the authors' code, in its order of operations."""
    kernel = -torch.ones(1, 1, 3, 3)
    kernel[..., 1, 1] = 8
    total = torch.zeros(labels.shape[0], 1, *labels.shape[1:])
    for weight, stride in ((0.6, 1), (0.3, 2), (0.1, 4)):
        edges = F.conv2d(labels[:, None].float(), kernel, stride=stride, padding=1).clamp(min=0)
        edges = F.interpolate(edges, labels.shape[1:], mode="nearest")
        total += weight * (edges > 0.1)
    return (total > 0.1).float()


def test_an_edge_lies_on_the_side_of_the_larger_id():
    """Column 3 holds the edge at stride 1. At stride 2, columns 0, 2 and 4 see no larger side."""
    assert target([[0, 0, 0, 1, 1, 1]] * 3) == [[0, 0, 0, 1, 0, 0]] * 3
    assert target([[1, 1, 1, 0, 0, 0]] * 3) == [[0, 0, 1, 1, 0, 0]] * 3


def test_a_strided_edge_marks_a_whole_cell():
    """Column 2 is on the grid of stride 2 and larger than column 1: its cell is columns 2 and 3."""
    assert target([[0, 0, 3, 3, 3, 3]] * 4) == [[0, 0, 1, 1, 0, 0]] * 4


def test_the_coarsest_map_alone_is_no_detail():
    """Stride 4 with the weights of the paper is never decisive; with others it marks 4x4."""
    labels = [[0] * 4 + [2] * 4] * 8
    assert target(labels) == [[0] * 4 + [1, 1, 0, 0]] * 8
    only = target(labels, weights=(0.0, 0.0, 0.1))
    assert only == [[0] * 8] * 8  # 0.1 is not above 0.1
    assert target(labels, weights=(0.0, 0.0, 0.2)) == [[0] * 4 + [1] * 4] * 8


def test_a_single_pixel():
    labels = [[0] * 7 for _ in range(7)]
    labels[3][3] = 1
    expected = [[0] * 7 for _ in range(7)]
    expected[3][3] = 1
    assert target(labels) == expected


def test_the_laplacian_compares_with_the_mean_of_the_neighbours():
    """Class 1 between 0 and 3: 8 * 1 - (3 * 0 + 2 * 1 + 3 * 3) is below zero, so no edge."""
    rows = [[0, 0, 0, 1, 3, 3, 3, 3]] * 3
    assert target(rows, weights=(1.0, 0.0, 0.0)) == [[0, 0, 0, 0, 1, 0, 0, 0]] * 3
    assert (
        target([[0, 0, 0, 2, 3, 3, 3, 3]] * 3, weights=(1.0, 0.0, 0.0))
        == [[0, 0, 0, 1, 1, 0, 0, 0]] * 3
    )


def test_neither_void_nor_the_border_of_the_image_is_an_edge():
    assert target([[4, 4, 4, 4, V, V]] * 4) == [[0] * 6] * 4
    assert target([[4] * 6] * 5) == [[0] * 6] * 5
    # Beside void the labelled neighbours still count.
    assert target([[0, 0, 0, 1, V, V]] * 4) == [[0, 0, 0, 1, 0, 0]] * 4
    assert target([[V] * 6] * 4) == [[0] * 6] * 4
    # A cell of stride 2 does not reach into void: columns 2 and 3, of which 3 is void.
    assert target([[0, 0, 1, V, V, V]] * 4) == [[0, 0, 1, 0, 0, 0]] * 4


def test_inside_the_image_and_without_void_it_is_the_target_of_the_release():
    blocks = torch.randint(0, 19, (2, 8, 10))
    labels = blocks.repeat_interleave(6, dim=1).repeat_interleave(5, dim=2)  # (2, 48, 50)
    ours, theirs = detail_target(labels), released(labels)
    inside = (..., slice(4, -4), slice(4, -4))
    assert torch.equal(ours[inside], theirs[inside])
    assert 0.1 < ours.mean() < 0.6
    assert not torch.equal(ours, theirs)  # the release has edges along the image's border


@pytest.mark.parametrize("size", [(33, 47), (32, 64), (5, 3)])
def test_target_has_the_size_of_the_labels(size):
    labels = torch.randint(0, 3, (2, *size), dtype=torch.uint8)
    given = detail_target(labels)
    assert given.shape == (2, 1, *size)
    assert given.dtype == torch.float32
    assert set(given.unique().tolist()) <= {0.0, 1.0}


def test_target_is_the_same_under_autocast():
    labels = torch.randint(0, 200, (1, 32, 48))
    expected = detail_target(labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(detail_target(labels), expected)


def test_loss_by_hand():
    """Logits 0: log 2 for each pixel; Dice of probability 1/2 on 24 pixels, 4 of them details."""
    labels = torch.tensor([[[0, 0, 0, 1, 1, 1]] * 4])
    value = Detail(torch.zeros(1, 1, 1, 1))
    expected = math.log(2) + 1 - (2 * 0.5 * 4 + 1) / (12 + 4 + 1)
    assert detail_loss(value, labels).item() == pytest.approx(expected, rel=1e-6)
    # Void pixels are in neither term: two columns less.
    labels[..., :2] = V
    expected = math.log(2) + 1 - (2 * 0.5 * 4 + 1) / (8 + 4 + 1)
    assert detail_loss(value, labels).item() == pytest.approx(expected, rel=1e-6)


def test_loss_vanishes_for_the_right_answer_only():
    labels = torch.randint(0, 3, (2, 12, 16)).repeat_interleave(2, 1).repeat_interleave(2, 2)
    logits = 60 * detail_target(labels) - 30
    assert detail_loss(Detail(logits), labels) < 1e-5
    assert detail_loss(Detail(-logits), labels) > 10


def test_dice_is_taken_per_image():
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[0, :, 4:] = 1
    value = torch.randn(2, 1, 8, 8)
    alone = [detail_loss(Detail(value[i : i + 1]), labels[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(detail_loss(Detail(value), labels), sum(alone) / 2)


def test_nothing_labelled_is_zero_with_a_gradient_of_zero():
    logits = torch.randn(1, 1, 4, 4, requires_grad=True)
    loss = detail_loss(Detail(logits), torch.full((1, 32, 32), V))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_void_pixels_get_no_gradient():
    logits = torch.randn(1, 1, 8, 8, requires_grad=True)
    labels = torch.randint(0, 3, (1, 8, 8))
    labels[:, :3] = V
    detail_loss(Detail(logits), labels).backward()
    assert not logits.grad[:, :, :3].any()
    assert logits.grad[:, :, 3:].all()


def test_half_precision_logits_are_widened():
    labels = torch.randint(0, 3, (2, 16, 16))
    logits = torch.randn(2, 1, 2, 2).bfloat16()
    loss = detail_loss(Detail(logits), labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, detail_loss(Detail(logits.float()), labels))


def test_combine_gives_it_the_labels_at_full_size():
    labels = torch.randint(0, 3, (2, 16, 24))
    value = Detail(torch.randn(2, 1, 2, 3))
    output = SegOutput(torch.randn(2, 3, 16, 24), {"detail": value})
    _, parts = combine(cross_entropy, {"detail": AuxLoss(1.0, detail_loss)})(output, labels)
    torch.testing.assert_close(parts["detail"], detail_loss(value, labels))


def test_refuses():
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    with pytest.raises(ValueError, match="class ids"):
        detail_target(labels.float())
    with pytest.raises(ValueError, match=r"labels\[None\]"):
        detail_target(labels[0])
    with pytest.raises(ValueError, match=r"\(B, 1, h, w\)"):
        detail_loss(Detail(torch.zeros(2, 3, 8, 8)), labels)
    with pytest.raises(ValueError, match="same batch"):
        detail_loss(Detail(torch.zeros(1, 1, 8, 8)), labels)
