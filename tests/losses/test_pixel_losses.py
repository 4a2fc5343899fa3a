"""Cross-entropy, its hard-pixel form and focal: values worked by hand.

A logit is log(p) throughout, so that softmax gives back the probabilities that are written down.
"""

import math

import pytest
import torch
from torch.nn import functional as F

from segkit.losses import (
    bootstrapped_cross_entropy,
    cross_entropy,
    focal,
    ohem_cross_entropy,
)
from segkit.losses.cross_entropy import hard_pixels

VOID = 255


def row_of(true_probabilities):
    """Two-class logits (1, 2, 1, W) that give class 0 the listed probabilities."""
    p = torch.tensor(true_probabilities, dtype=torch.float64)
    return torch.stack([p, 1 - p]).log().reshape(1, 2, 1, -1)


def test_cross_entropy_by_hand():
    logits = row_of([0.5, 0.25, 0.9])
    labels = torch.tensor([[[0, 1, VOID]]])
    # -(log 0.5 + log 0.75) / 2; the third pixel is void
    expected = -(math.log(0.5) + math.log(0.75)) / 2
    assert cross_entropy(logits, labels).item() == pytest.approx(expected, abs=1e-12)


def test_cross_entropy_weights_make_a_weighted_mean():
    logits = row_of([0.5, 0.25])
    labels = torch.tensor([[[0, 1]]])
    weight = torch.tensor([1.0, 3.0], dtype=torch.float64)
    # (1 * -log 0.5 + 3 * -log 0.75) / (1 + 3)
    expected = -(math.log(0.5) + 3 * math.log(0.75)) / 4
    assert cross_entropy(logits, labels, weight=weight).item() == pytest.approx(expected)
    assert cross_entropy(logits, labels, weight=9 * weight).item() == pytest.approx(expected)


def test_cross_entropy_label_smoothing_by_hand():
    logits = row_of([0.8])
    labels = torch.tensor([[[0]]])
    # The target is 0.8 + 0.2 / 2 = 0.9 for class 0 and 0.2 / 2 = 0.1 for class 1.
    expected = -(0.9 * math.log(0.8) + 0.1 * math.log(0.2))
    assert cross_entropy(logits, labels, label_smoothing=0.2).item() == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_torchs_own(smoothing, weighted):
    logits = torch.randn(2, 5, 7, 6)
    labels = torch.randint(0, 5, (2, 7, 6))
    labels[0, :3] = VOID
    weight = torch.rand(5) + 0.1 if weighted else None
    expected = F.cross_entropy(logits, labels, weight, ignore_index=VOID, label_smoothing=smoothing)
    ours = cross_entropy(logits, labels, weight=weight, label_smoothing=smoothing)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("ignore", [-100, -1, 0, 7, 255])
def test_any_label_can_be_void(ignore):
    logits = row_of([0.5, 0.25, 0.9])
    labels = torch.tensor([[[1, 1, ignore]]])
    # -(log 0.5 + log 0.75) / 2 whichever number means void, even one that names a class
    expected = -(math.log(0.5) + math.log(0.75)) / 2
    assert cross_entropy(logits, labels, ignore=ignore).item() == pytest.approx(expected)


def test_ohem_keeps_exactly_the_pixels_below_the_threshold():
    losses = -torch.tensor([[[0.1, 0.69, 0.71, 0.95, 0.2]]]).log()
    labelled = torch.tensor([[[True, True, True, True, False]]])
    kept = hard_pixels(losses, labelled, threshold=0.7, keep=1 / 16)
    # 0.1 and 0.69 are below 0.7; 0.2 is void. 1/16 of 4 pixels is one: enough are kept.
    assert kept.tolist() == [[[True, True, False, False, False]]]


def test_ohem_keeps_the_hardest_share_when_too_few_are_hard():
    losses = -torch.tensor([[[0.99, 0.8, 0.9, 0.6, 0.75, 0.85, 0.95, 0.97, 0.01]]]).log()
    labelled = torch.tensor([[[True] * 8 + [False]]])
    kept = hard_pixels(losses, labelled, threshold=0.7, keep=3 / 8)
    # One pixel (0.6) is below 0.7, but 3/8 of 8 labelled ones must stay: 0.6, 0.75 and 0.8.
    assert kept.flatten().nonzero().flatten().tolist() == [1, 3, 4]


def test_ohem_rounds_the_share_up_and_keeps_ties():
    losses = torch.tensor([[[0.1, 0.1, 0.1, 0.05, 0.0]]])
    labelled = torch.ones(1, 1, 5, dtype=torch.bool)
    # 0.3 * 5 = 1.5, so two must stay; the third has the same loss as the second.
    kept = hard_pixels(losses, labelled, threshold=0.7, keep=0.3)
    assert kept.flatten().tolist() == [True, True, True, False, False]
    # 0.07 * 100 is 7.000000000000001 in floating point; seven pixels are meant.
    losses = torch.arange(100.0).reshape(1, 1, 100) / 1000
    kept = hard_pixels(losses, losses >= 0, threshold=0.7, keep=0.07)
    assert kept.flatten().nonzero().flatten().tolist() == list(range(93, 100))


def test_ohem_by_hand():
    logits = row_of([0.1, 0.6, 0.8, 0.9])
    labels = torch.zeros(1, 1, 4, dtype=torch.int64)
    # Only 0.1 and 0.6 are below 0.7: -(log 0.1 + log 0.6) / 2.
    expected = -(math.log(0.1) + math.log(0.6)) / 2
    assert ohem_cross_entropy(logits, labels).item() == pytest.approx(expected)
    # With at least three of four kept, 0.8 joins them.
    expected = -(math.log(0.1) + math.log(0.6) + math.log(0.8)) / 3
    assert ohem_cross_entropy(logits, labels, keep=0.75).item() == pytest.approx(expected)


def test_ohem_weights_change_the_mean_but_not_the_choice():
    logits = row_of([0.1, 0.8])
    labels = torch.tensor([[[0, 1]]])  # true-class probabilities 0.1 and 0.2
    weight = torch.tensor([1.0, 1e-3], dtype=torch.float64)
    expected = -(math.log(0.1) + 1e-3 * math.log(0.2)) / 1.001
    assert ohem_cross_entropy(logits, labels, weight=weight).item() == pytest.approx(expected)


def test_ohem_of_everything_is_cross_entropy():
    logits, labels = torch.randn(2, 4, 5, 6), torch.randint(0, 4, (2, 5, 6))
    labels[1, 2:] = VOID
    weight = torch.rand(4) + 0.1
    torch.testing.assert_close(
        ohem_cross_entropy(logits, labels, weight=weight, keep=1.0),
        cross_entropy(logits, labels, weight=weight),
    )


def test_ohem_may_keep_a_share_of_all_pixels():
    losses = -torch.tensor([[[0.99, 0.8, 0.9, 0.6, 0.01, 0.01, 0.01, 0.01]]]).log()
    labelled = torch.tensor([[[True] * 4 + [False] * 4]])
    three_eighths = {"threshold": 0.7, "keep": 3 / 8}
    of_labelled = hard_pixels(losses, labelled, **three_eighths)  # two of four
    assert of_labelled.flatten().nonzero().flatten().tolist() == [1, 3]
    of_all = hard_pixels(losses, labelled, **three_eighths, share_of="all")  # three of eight
    assert of_all.flatten().nonzero().flatten().tolist() == [1, 2, 3]
    every = hard_pixels(losses, labelled, threshold=0.7, keep=0.9, share_of="all")
    assert torch.equal(every, labelled), "no more than are labelled"
    void = hard_pixels(losses, labelled & False, threshold=0.7, keep=0.9, share_of="all")
    assert not void.any()


def paddle_ohem(logits, labels, *, threshold, least):
    """PaddleSeg's choice, pixel by pixel: a loss over its ``min_kept`` hardest, void never one."""
    labelled = (labels != VOID).flatten()
    losses = F.cross_entropy(logits, labels.where(labels != VOID, 0), reduction="none").flatten()
    probs = (-losses).exp() + (~labelled)
    if least >= labelled.sum():
        return losses[labelled].mean()
    highest = max(threshold, probs.sort().values[least - 1].item())
    return losses[(probs <= highest) & labelled].mean()


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.55, 1.0])
def test_ohem_of_all_pixels_is_paddlesegs(keep):
    logits = 4 * torch.randn(2, 3, 10, 10, dtype=torch.float64)
    labels = logits.argmax(1)  # sure of most, so that the share decides
    labels[:, :4] = VOID
    ours = ohem_cross_entropy(logits, labels, keep=keep, share_of="all")
    theirs = paddle_ohem(logits, labels, threshold=0.7, least=round(keep * 200))
    torch.testing.assert_close(ours, theirs)


def test_bootstrapping_takes_the_hardest_of_each_image():
    # image 0 is hard everywhere, image 1 easy: OHEM would take image 0 alone
    logits = torch.cat([row_of([0.1, 0.2, 0.3]), row_of([0.9, 0.8, 0.95])])
    labels = torch.zeros(2, 1, 3, dtype=torch.int64)
    first, second = -(math.log(0.1) + math.log(0.2)) / 2, -(math.log(0.8) + math.log(0.9)) / 2
    loss = bootstrapped_cross_entropy(logits, labels, top=2)
    assert loss.item() == pytest.approx((first + second) / 2)
    # with a threshold image 0 gives all three, image 1 its two still
    first = -(math.log(0.1) + math.log(0.2) + math.log(0.3)) / 3
    loss = bootstrapped_cross_entropy(logits, labels, top=2, threshold=0.3)
    assert loss.item() == pytest.approx((first + second) / 2)


def test_bootstrapping_leaves_void_and_images_of_void_out():
    logits = torch.cat([row_of([0.1, 0.2, 0.3]), row_of([0.9, 0.8, 0.95])])
    labels = torch.zeros(2, 1, 3, dtype=torch.int64)
    labels[0, 0, 0] = VOID
    expected = -(math.log(0.2) + math.log(0.3)) / 2
    labels[1] = VOID
    assert bootstrapped_cross_entropy(logits, labels).item() == pytest.approx(expected)
    labels[0] = VOID
    assert bootstrapped_cross_entropy(logits, labels, threshold=0.1).item() == 0


def test_bootstrapping_with_all_pixels_is_the_mean_of_the_images():
    logits, labels = torch.randn(2, 4, 5, 6), torch.randint(0, 4, (2, 5, 6))
    labels[1, 2:] = VOID
    weight = torch.rand(4) + 0.1
    each = [cross_entropy(logits[i : i + 1], labels[i : i + 1], weight=weight) for i in range(2)]
    torch.testing.assert_close(
        bootstrapped_cross_entropy(logits, labels, weight=weight), torch.stack(each).mean()
    )


def test_focal_by_hand():
    logits = row_of([0.9, 0.25])
    labels = torch.tensor([[[0, 1]]])
    # (0.1^2 * -log 0.9 + 0.25^2 * -log 0.75) / 2
    easy, hard = 0.1**2 * -math.log(0.9), 0.25**2 * -math.log(0.75)
    assert focal(logits, labels).item() == pytest.approx((easy + hard) / 2)
    alpha = torch.tensor([0.75, 0.5], dtype=torch.float64)
    # alpha is a factor, not a weight of the mean: still divided by the two pixels
    expected = (0.75 * easy + 0.5 * hard) / 2
    assert focal(logits, labels, alpha=alpha).item() == pytest.approx(expected)


def test_focal_without_gamma_is_cross_entropy():
    logits, labels = torch.randn(2, 4, 5, 6), torch.randint(0, 4, (2, 5, 6))
    torch.testing.assert_close(focal(logits, labels, gamma=0.0), cross_entropy(logits, labels))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_of_a_sure_pixel_has_a_finite_gradient(gamma):
    logits = torch.tensor([1000.0, 0.0]).reshape(1, 2, 1, 1).requires_grad_()
    loss = focal(logits, torch.zeros(1, 1, 1, dtype=torch.int64), gamma=gamma)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: cross_entropy(x, y, label_smoothing=1.5), "label_smoothing is 1.5"),
        (lambda x, y: ohem_cross_entropy(x, y, keep=0.0), "keep 0.0"),
        (lambda x, y: ohem_cross_entropy(x, y, threshold=70), "threshold is 70"),
        (lambda x, y: ohem_cross_entropy(x, y, share_of="void"), "share_of is 'void'"),
        (lambda x, y: bootstrapped_cross_entropy(x, y, top=0), "top is 0"),
        (lambda x, y: bootstrapped_cross_entropy(x, y, top=0.5), "top is 0.5"),
        (lambda x, y: bootstrapped_cross_entropy(x, y, threshold=-1), "threshold is -1"),
        (lambda x, y: focal(x, y, gamma=-1.0), "gamma is -1.0"),
    ],
)
def test_wrong_numbers_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.randn(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64))
