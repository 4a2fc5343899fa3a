"""The main loss and the auxiliary ones, by name; labels at another resolution; class weights."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.losses import (
    AuxLoss,
    combine,
    cross_entropy,
    dice,
    inverse_log_frequency_weights,
    labels_at,
    median_frequency_weights,
)
from segkit.outputs import SegOutput

VOID = 255


def batch():
    labels = torch.randint(0, 3, (2, 8, 16))
    labels[:, :2] = VOID
    return torch.randn(2, 3, 8, 16, requires_grad=True), labels


def test_total_is_the_weighted_sum_and_parts_are_not_weighted():
    logits, labels = batch()
    c3, c4 = torch.randn(2, 3, 4, 8, requires_grad=True), torch.randn(2, 3, 2, 4)
    loss = combine(cross_entropy, {"c3": AuxLoss(0.5), "c4": AuxLoss(2.0, dice)})
    total, parts = loss(SegOutput(logits, {"c4": c4, "c3": c3}), labels)
    # Stride 2 takes pixel 1 of each pair, stride 4 pixel 2 of each four: those nearest the centre.
    expected = {
        "main": cross_entropy(logits, labels),
        "c3": cross_entropy(c3, labels[:, 1::2, 1::2]),
        "c4": dice(c4, labels[:, 2::4, 2::4]),
    }
    assert parts.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(parts[name], expected[name].detach())
        assert not parts[name].requires_grad
    torch.testing.assert_close(total, expected["main"] + 0.5 * expected["c3"] + 2 * expected["c4"])
    assert total.requires_grad


def test_a_network_without_aux():
    logits, labels = batch()
    total, parts = combine(cross_entropy, {})(SegOutput(logits, {}), labels)
    assert torch.equal(total, cross_entropy(logits, labels))
    assert list(parts) == ["main"]


@pytest.mark.parametrize(
    ("given", "losses", "words"),
    [
        (["c4"], [], r"\['c4'\].*\[\]"),
        ([], ["c4"], r"\[\].*\['c4'\].*eval"),
        (["c3", "c4"], ["boundary", "c4"], r"\['c3', 'c4'\].*\['boundary', 'c4'\]"),
    ],
)
def test_keys_that_do_not_match_are_named_on_both_sides(given, losses, words):
    logits, labels = batch()
    loss = combine(cross_entropy, {name: AuxLoss(1.0) for name in losses})
    with pytest.raises(ValueError, match=words):
        loss(SegOutput(logits, {name: logits for name in given}), labels)


def test_main_is_not_the_name_of_an_aux():
    with pytest.raises(ValueError, match="rename"):
        combine(cross_entropy, {"main": AuxLoss(1.0)})


class Regions(NamedTuple):
    scores: Tensor
    centres: Tensor


def test_a_tuple_of_tensors_gets_the_labels_at_full_size():
    logits, labels = batch()
    seen = []

    def of_regions(value, labels):
        seen.append((value, labels))
        return value.scores.sum()

    regions = Regions(torch.ones(3), torch.zeros(2))
    loss = combine(cross_entropy, {"regions": AuxLoss(0.1, of_regions)})
    _, parts = loss(SegOutput(logits, {"regions": regions}), labels)
    assert parts["regions"] == 3
    assert seen[0][0] is regions
    assert seen[0][1] is labels
    with pytest.raises(ValueError, match="'regions' is a Regions"):
        combine(cross_entropy, {"regions": AuxLoss(1.0)})(
            SegOutput(logits, {"regions": regions}), labels
        )


@pytest.mark.parametrize("size", [(8, 16), (4, 4), (3, 5), (1, 1), (11, 16), (20, 37)])
def test_labels_at_takes_the_nearest_centre(size):
    labels = torch.arange(8 * 16).reshape(1, 8, 16)  # each pixel is its own number
    expected = F.interpolate(labels[:, None].double(), size=size, mode="nearest-exact")[:, 0].long()
    assert torch.equal(labels_at(labels, size), expected)


def test_labels_at_makes_no_new_label():
    labels = torch.tensor([0, 1, VOID])[torch.randint(0, 3, (2, 30, 40))].to(torch.uint8)
    small = labels_at(labels, (7, 11))
    assert small.dtype == torch.uint8
    assert set(small.unique().tolist()) <= {0, 1, VOID}
    assert (small == VOID).any()


def test_inverse_log_frequency_by_hand():
    weights = inverse_log_frequency_weights([600, 400, 0])
    # 1 / log(1.1 + .6), 1 / log(1.1 + .4), 1 / log(1.1)
    expected = [1 / math.log(1.7), 1 / math.log(1.5), 1 / math.log(1.1)]
    assert weights.tolist() == pytest.approx(expected)
    assert weights.dtype == torch.float32
    shares = inverse_log_frequency_weights(torch.tensor([0.6, 0.4, 0.0]))
    torch.testing.assert_close(shares, weights)
    # ENet's own c bounds the weights by 1 / log(1.02) = 50.5
    assert inverse_log_frequency_weights([1, 0], c=1.02)[1].item() == pytest.approx(
        50.498, abs=1e-2
    )


def test_median_frequency_by_hand():
    # Images of 100 pixels. Class 0: 300 of 400; class 1: 20 of 100; class 2: 50 of 100 pixels.
    weights = median_frequency_weights([300, 20, 50], [4, 1, 1])
    # Frequencies .75, .2, .5; median .5
    assert weights.tolist() == pytest.approx([0.5 / 0.75, 0.5 / 0.2, 1.0])
    # The size of the images cancels.
    sized = median_frequency_weights([300, 20, 50], [400, 100, 100])
    torch.testing.assert_close(sized, weights)


def test_median_frequency_leaves_out_classes_that_never_occur():
    # Frequencies .75 and .25 of one image each: median .5
    weights = median_frequency_weights([75, 0, 25], [1, 0, 1])
    assert weights.tolist() == pytest.approx([0.5 / 0.75, 0, 2.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: inverse_log_frequency_weights([1, 2], c=1.0), "c is 1.0"),
        (lambda: inverse_log_frequency_weights([1, -2]), r"frequencies are \[1.0, -2.0\]"),
        (lambda: inverse_log_frequency_weights([0, 0]), "not all of them 0"),
        (lambda: inverse_log_frequency_weights([1, math.nan]), "frequencies are"),
        (lambda: median_frequency_weights([1, 2], [1, 0]), "contradict"),
        (lambda: median_frequency_weights([1, 2], [1, 1, 1]), "contradict"),
    ],
)
def test_counts_that_mean_nothing_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
