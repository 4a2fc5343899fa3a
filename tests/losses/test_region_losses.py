"""Dice, Jaccard, Tversky and Lovász: values worked by hand, and an oracle for Lovász."""

import pytest
import torch

from segkit.losses import dice, jaccard, lovasz_softmax, tversky
from segkit.losses.lovasz import jaccard_growth

VOID = 255

# Three labelled pixels and a void one. Class 0 has probabilities .8 .6 .3 (.9), truth 0 0 1 (void).
P = torch.tensor([0.8, 0.6, 0.3, 0.9], dtype=torch.float64)
LOGITS = torch.stack([P, 1 - P]).log().reshape(1, 2, 1, 4)
LABELS = torch.tensor([[[0, 0, 1, VOID]]])
# Class 0: TP = .8 + .6 = 1.4, FP = .3, FN = 2 - 1.4 = .6
# Class 1: TP = .7, FP = .2 + .4 = .6, FN = 1 - .7 = .3


def test_tversky_by_hand():
    # alpha = .3, beta = .7: 1.4 / (1.4 + .09 + .42) and .7 / (.7 + .18 + .21)
    expected = 1 - (1.4 / 1.91 + 0.7 / 1.09) / 2
    assert tversky(LOGITS, LABELS).item() == pytest.approx(expected)


def test_tversky_prices_both_kinds_of_error():
    # alpha = 1, beta = 0 forgives what is missed: 1.4 / (1.4 + .3) and .7 / (.7 + .6)
    expected = 1 - (1.4 / 1.7 + 0.7 / 1.3) / 2
    assert tversky(LOGITS, LABELS, alpha=1.0, beta=0.0).item() == pytest.approx(expected)


def test_dice_by_hand():
    # 2 TP / (2 TP + FP + FN): 2.8 / 3.7 and 1.4 / 2.3
    assert dice(LOGITS, LABELS).item() == pytest.approx(1 - (2.8 / 3.7 + 1.4 / 2.3) / 2)


def test_jaccard_by_hand():
    # TP / (TP + FP + FN): 1.4 / 2.3 and .7 / 1.6
    assert jaccard(LOGITS, LABELS).item() == pytest.approx(1 - (1.4 / 2.3 + 0.7 / 1.6) / 2)


def test_lovasz_by_hand():
    # Class 0, errors falling: .4 (true), .3 (false), .2 (true). Two true pixels: I = U = 2.
    #   .4 wrong: 1/2, loss 1/2;  .3 joins: 1/3, loss 2/3;  .2 joins: 0/3, loss 1.
    class_0 = 0.4 * 1 / 2 + 0.3 * (2 / 3 - 1 / 2) + 0.2 * (1 - 2 / 3)
    # Class 1, errors: .4 (false), .3 (true), .2 (false). One true pixel: I = U = 1.
    #   .4 wrong: 1/2, loss 1/2;  .3 joins: 0/2, loss 1;  .2 joins: 0/3, loss 1.
    class_1 = 0.4 * 1 / 2 + 0.3 * 1 / 2 + 0.2 * 0
    assert lovasz_softmax(LOGITS, LABELS).item() == pytest.approx((class_0 + class_1) / 2)


@pytest.mark.parametrize("loss", [dice, jaccard, tversky, lovasz_softmax])
def test_classes_without_a_label_are_left_out(loss):
    p = torch.tensor([[0.8, 0.6], [0.1, 0.1], [0.1, 0.3]], dtype=torch.float64)
    logits = p.log().reshape(1, 3, 1, 2)
    both = torch.zeros(1, 1, 2, dtype=torch.int64)
    # Only class 0 is labelled, so a weight on the others changes nothing, ...
    weight = torch.tensor([2.0, 5.0, 7.0])
    torch.testing.assert_close(loss(logits, both, weight=weight), loss(logits, both))
    # ... and neither does how the rest of the probability is shared between them.
    p[1:] = p[1:].flip(0)
    torch.testing.assert_close(loss(p.log().reshape(1, 3, 1, 2), both), loss(logits, both))


def test_weights_make_a_weighted_mean_over_classes():
    weight = torch.tensor([1.0, 3.0])
    # jaccard: (1 * (1 - 1.4 / 2.3) + 3 * (1 - .7 / 1.6)) / 4
    expected = ((1 - 1.4 / 2.3) + 3 * (1 - 0.7 / 1.6)) / 4
    assert jaccard(LOGITS, LABELS, weight=weight).item() == pytest.approx(expected)
    # lovasz: the two classes worked above, .3167 and .35
    expected = (0.2 + 0.05 + 0.2 / 3 + 3 * 0.35) / 4
    assert lovasz_softmax(LOGITS, LABELS, weight=weight).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [dice, jaccard, tversky, lovasz_softmax])
def test_right_is_zero_and_wrong_is_one(loss):
    labels = torch.tensor([[[0, 1], [2, 1]]])
    logits = 100 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    assert loss(logits, labels).item() == pytest.approx(0, abs=1e-6)
    assert loss(logits.roll(1, dims=1), labels).item() == pytest.approx(1, abs=1e-6)


def lovasz_of_sets(errors, truth):
    """The Lovász extension, straight from its definition: sums over sets of wrong pixels."""

    def jaccard_loss(wrong):
        true = {i for i, is_true in enumerate(truth) if is_true}
        predicted = true ^ wrong  # a wrong pixel is missed if true, and added if not
        return 1 - len(true & predicted) / len(true | predicted)

    order = sorted(range(len(errors)), key=lambda i: -errors[i])
    steps = [jaccard_loss(set(order[:n])) for n in range(len(errors) + 1)]
    return sum(errors[i] * (steps[n + 1] - steps[n]) for n, i in enumerate(order))


@pytest.mark.parametrize("seed", range(8))
def test_lovasz_against_the_set_function(seed):
    torch.manual_seed(seed)
    num_classes = 2 + seed % 3
    logits = torch.randn(1, num_classes, 2, 4, dtype=torch.float64)
    labels = torch.randint(0, num_classes, (1, 2, 4))
    labels[0, 0, 0] = VOID
    probs = logits.softmax(1)[0].flatten(1)[:, 1:]
    flat = labels.flatten()[1:]
    expected = []
    for k in flat.unique():
        truth = flat == k
        errors = torch.where(truth, 1 - probs[k], probs[k])
        expected.append(lovasz_of_sets(errors.tolist(), truth.tolist()))
    ours = lovasz_softmax(logits, labels).item()
    assert ours == pytest.approx(sum(expected) / len(expected), abs=1e-12)


def test_lovasz_of_a_hard_prediction_is_the_jaccard_loss():
    labels = torch.tensor([[[0, 0, 0, 1, 1]]])
    prediction = torch.tensor([[[0, 0, 1, 1, 0]]])
    logits = 200 * torch.nn.functional.one_hot(prediction, 2).movedim(-1, 1).double()
    # Class 0: 2 in both of 4 in either; class 1: 1 of 3.
    expected = 1 - (2 / 4 + 1 / 3) / 2
    assert lovasz_softmax(logits, labels).item() == pytest.approx(expected)


def test_lovasz_per_image_is_the_mean_over_images():
    logits, labels = torch.randn(3, 4, 5, 6), torch.randint(0, 4, (3, 5, 6))
    labels[0, 0] = VOID
    alone = [lovasz_softmax(logits[i : i + 1], labels[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(
        lovasz_softmax(logits, labels, per_image=True), torch.stack(alone).mean()
    )
    assert not torch.isclose(lovasz_softmax(logits, labels), torch.stack(alone).mean())


def test_lovasz_per_image_leaves_void_images_out():
    logits, labels = torch.randn(2, 4, 5, 6), torch.randint(0, 4, (2, 5, 6))
    labels[1] = VOID
    torch.testing.assert_close(
        lovasz_softmax(logits, labels, per_image=True), lovasz_softmax(logits[:1], labels[:1])
    )


def test_growth_keeps_its_digits_at_millions_of_pixels():
    num_pixels = 3_000_000
    truth = torch.zeros(1, num_pixels, dtype=torch.bool)
    truth[0, 1::2] = True
    growth = jaccard_growth(truth)
    # The last pixel, a true one, turns I = 1 into 0 while U = N: 1 / N. The difference of float32
    # losses near 1 could only be a multiple of 6e-8.
    assert growth[0, -1].item() == pytest.approx(1 / num_pixels, rel=1e-12)
    assert growth.sum().item() == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize(("alpha", "beta"), [(-0.1, 0.5), (0.0, 0.0)])
def test_tversky_refuses_prices_that_mean_nothing(alpha, beta):
    with pytest.raises(ValueError, match="alpha is"):
        tversky(LOGITS, LABELS, alpha=alpha, beta=beta)
