"""Numbers that kornia's tests expect, restated; the package is not needed.

kornia takes the mean of the images' Tversky losses, ours sees the batch as one large image: so its
numbers are held image by image. Its weights are factors of a plain mean, ours of a weighted one.
Source: kornia/kornia, tests/losses/test_{dice,tversky,lovaz_softmax,focal_loss}.py (Apache-2.0).
"""

import math

import pytest
import torch
from torch.nn import functional as F

from segkit.losses import dice, focal, jaccard, lovasz_softmax, tversky


def by_image(loss, logits, labels):
    pairs = zip(logits.split(1), labels.split(1), strict=True)
    return float(torch.stack([loss(x, y) for x, y in pairs]).mean())


PRICES = [(0.3, 0.7), (0.7, 0.3), (0.5, 0.5), (1.0, 1.0)]


@pytest.mark.parametrize(
    ("alpha", "beta", "expected"),
    [(0.3, 0.7, 0.6015094950), (0.7, 0.3, 0.5990951811), (0.5, 0.5, 0.6037325821)],
)
def test_tversky_of_each_class(alpha, beta, expected):
    generator = torch.Generator().manual_seed(1206)
    logits = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=generator) * 2
    labels = torch.randint(0, 3, (2, 4, 6), generator=generator)
    labels[1, :, :2] = 2
    found = by_image(lambda x, y: tversky(x, y, alpha=alpha, beta=beta), logits, labels)
    assert found == pytest.approx(expected, abs=1e-7)


PROBABILITIES = torch.tensor(
    [
        [[0.5, 0.25, 0.125, 0.5], [0.25, 0.5, 0.125, 0.25], [0.25, 0.25, 0.75, 0.25]],
        [[0.5, 0.25, 0.5, 0.25], [0.25, 0.5, 0.25, 0.5], [0.25, 0.25, 0.25, 0.25]],
    ]
)[:, :, None]


@pytest.mark.parametrize(("alpha", "beta"), PRICES)
def test_only_classes_that_are_there_count(alpha, beta):
    """TP, FP, FN: (1, 3/8, 1) and (5/8, 1/2, 11/8) in the first image, (1, 0, 3) in the other."""
    labels = torch.tensor([[[0, 1, 1, 0]], [[2, 2, 2, 2]]])
    logits = PROBABILITIES.log()
    first = (1 / (1 + alpha * 0.375 + beta) + 0.625 / (0.625 + alpha * 0.5 + beta * 1.375)) / 2
    second = 1 / (1 + 3 * beta)
    for image, expected in ((0, 1 - first), (1, 1 - second)):
        here = slice(image, image + 1)
        loss = tversky(logits[here], labels[here], alpha=alpha, beta=beta)
        assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_channels_that_are_not_used_change_nothing():
    labels, losses = torch.tensor([[[0, 1, 1, 0]]]), []
    for num_classes in (2, 3, 4):
        logits = torch.full((1, num_classes, 1, 4), -40.0)
        logits[:, :2] = torch.tensor([[[[2.0, 0.0, 1.0, 2.0]], [[0.0, 2.0, 2.0, 0.0]]]])
        losses.append(float(tversky(logits, labels)))
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-7)


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.7), (1.0, 0.0), (0.0, 1.0)])
def test_a_class_without_a_right_pixel(alpha, beta):
    """TP, FP, FN of (1, 1, 0) and (0, 0, 1): the second class costs 1."""
    logits = torch.tensor([[[[100.0, 100.0]], [[-100.0, -100.0]], [[-100.0, -100.0]]]])
    logits.requires_grad_()
    loss = tversky(logits, torch.tensor([[[0, 1]]]), alpha=alpha, beta=beta)
    assert loss.item() == pytest.approx(1 - (1 / (1 + alpha)) / 2, abs=1e-6)
    loss.backward()
    assert logits.grad.isfinite().all()


def test_a_rare_class_found_exactly():
    labels = torch.zeros(1, 128, 192, dtype=torch.int64)
    labels[0, 0, 0] = 1
    logits = torch.full((1, 3, 128, 192), -40.0).scatter(1, labels[:, None], 40.0).requires_grad_()
    loss = tversky(logits, labels)
    assert loss.item() == pytest.approx(0, abs=1e-7)
    loss.backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("ignore", [-100, 0, 255])
def test_void_in_an_image(ignore):
    """TP, FP, FN of (1/3, 0, 2/3); kornia gives an image of void only the loss 1, ours 0."""
    logits = torch.zeros(2, 3, 1, 2, requires_grad=True)
    labels = torch.tensor([[[1, ignore]], [[ignore, ignore]]])
    first = tversky(logits[:1], labels[:1], ignore=ignore)
    assert first.item() == pytest.approx(1 - 1 / 2.4, abs=1e-6)
    assert tversky(logits[1:], labels[1:], ignore=ignore).item() == 0
    tversky(logits, labels, ignore=ignore).backward()
    assert (logits.grad[1] == 0).all()
    assert (logits.grad[0, :, :, 1] == 0).all()
    assert (logits.grad[0, :, :, 0] != 0).any()


@pytest.mark.parametrize("ignore", [-100, 255])
def test_dice_where_half_is_void(ignore):
    """Only class 0 is there, with TP, FP, FN of (1, 0, 1)."""
    logits = torch.zeros(2, 2, 1, 4)
    logits[:, 0, :, 0] = 100.0
    logits[:, 1, :, 1:] = 100.0
    labels = torch.zeros(2, 1, 4, dtype=torch.int64)
    labels[..., 2:] = ignore
    assert float(dice(logits, labels, ignore=ignore)) == pytest.approx(1 / 3, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [0, 8])
def test_a_large_image_in_half_precision(dtype, rows):
    logits = torch.full((1, 2, 256, 256), -2.0, dtype=dtype)
    logits[:, 0] = 2.0
    labels = torch.zeros(1, 256, 256, dtype=torch.int64)
    labels[:, :rows] = 255
    p = 1 / (1 + math.exp(-4))
    assert float(dice(logits, labels)) == pytest.approx(1 - 2 * p / (1 + p), abs=1e-5)


def test_a_small_loss_keeps_its_digits():
    logits = torch.zeros(1, 2, 128, 128, dtype=torch.bfloat16)
    logits[:, 0, :, ::2] = 20.0
    logits[:, 0, :, 1::2] = 6.0
    labels = torch.zeros(1, 128, 128, dtype=torch.int64)
    p = (1 / (1 + math.exp(-20)) + 1 / (1 + math.exp(-6))) / 2
    assert float(dice(logits, labels)) == pytest.approx(1 - p / (p + 0.5 * (1 - p)), rel=1e-2)


@pytest.mark.parametrize("loss", [dice, tversky, jaccard, lovasz_softmax, focal])
def test_a_perfect_prediction(loss):
    logits = torch.zeros(2, 3, 1, 2)
    logits[:, 0], logits[:, 1:] = 10.0, 1.0
    labels = torch.zeros(2, 1, 2, dtype=torch.int64)
    assert float(loss(logits, labels)) == pytest.approx(0, abs=1e-3)


def test_dice_by_class():
    """kornia's macro mean has the absent class too, with the loss 1."""
    logits = torch.zeros(1, 2, 4, 1)
    logits[:, 0, 0:3], logits[:, 0, 3:4] = 10.0, 1.0
    logits[:, 1, 0:3], logits[:, 1, 3:4] = 1.0, 10.0
    share = (3 * math.e**10 + math.e) / (math.e + math.e**10)
    expected = 1 - 2 * share / (4 + share)
    labels = torch.zeros(1, 4, 1, dtype=torch.int64)
    assert float(dice(logits, labels)) == pytest.approx(expected, abs=1e-6)


# --- Lovasz


P = torch.tensor([[[[0.6, 0.21, 0.12]], [[0.29, 0.68, 0.19]], [[0.11, 0.11, 0.69]]]])


@pytest.mark.parametrize(
    ("labels", "pixels", "classes"),
    [([0, 1, 2], 3, [0.4, 0.32, 0.31]), ([0, 0, 0], 3, [0.69]), ([0], 1, [0.4])],
)
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0]])
def test_lovasz_of_each_class(labels, pixels, classes, weights):
    """Of the classes that are there, as in Berman's reference with ``classes="present"``."""
    logits, ids = P[..., :pixels].log(), torch.tensor(labels)[None, None]
    weight = None if weights is None else torch.tensor(weights)
    used = (weights or [1.0] * 3)[: len(classes)]
    expected = sum(w * c for w, c in zip(used, classes, strict=True)) / sum(used)
    assert float(lovasz_softmax(logits, ids, weight=weight)) == pytest.approx(expected, abs=1e-6)


def test_the_gradient_of_lovasz():
    logits = P.log().requires_grad_()
    lovasz_softmax(logits, torch.tensor([[[0, 1, 2]]])).backward()
    expected = [
        [[-0.08, 0.0476, 0.0276]],
        [[0.058, -0.0725333333, 0.0437]],
        [[0.022, 0.0249333333, -0.0713]],
    ]
    torch.testing.assert_close(logits.grad, torch.tensor([expected]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("loss", [lovasz_softmax, dice, tversky, jaccard, focal])
@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 0]])
def test_the_order_of_classes_does_not_matter(order, loss, labels):
    logits = torch.tensor([[[[1.2, -0.3, 0.7]], [[0.1, 1.4, -0.2]], [[-0.8, 0.2, 1.6]]]])
    ids, permutation = torch.tensor(labels)[None, None], torch.tensor(order)
    permuted = loss(logits[:, permutation], permutation.argsort()[ids])
    torch.testing.assert_close(permuted, loss(logits, ids))


def test_lovasz_of_everything_wrong():
    logits = torch.zeros(2, 2, 1, 2)
    logits[:, 0] = 100.0
    labels = torch.ones(2, 1, 2, dtype=torch.int64)
    assert float(lovasz_softmax(logits, labels)) == pytest.approx(1, abs=1e-3)


# --- focal


@pytest.mark.parametrize("ignore", [-100, 255])
def test_void_is_one_class_more_that_nothing_predicts(ignore):
    logits, labels = torch.rand(2, 3, 3, 2), torch.randint(3, (2, 3, 2))
    void = torch.rand(2, 3, 2) > 0.6
    labels[void] = ignore
    expected = focal(logits.movedim(1, -1)[~void].T[None, :, None], labels[~void][None, None])
    torch.testing.assert_close(focal(logits, labels, ignore=ignore), expected)


def test_extreme_scores_do_not_overflow():
    logits = torch.tensor([[[[100.0, -100.0]], [[-100.0, 100.0]]]], requires_grad=True)
    loss = focal(logits, torch.tensor([[[0, 1]]]))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_differentiable(gamma):
    logits = torch.rand(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 3, 2))
    labels[0, 0] = 255
    assert torch.autograd.gradcheck(lambda x: focal(x, labels, gamma=gamma), (logits,))
    if not gamma:
        torch.testing.assert_close(
            focal(logits, labels, gamma=0.0), F.cross_entropy(logits, labels, ignore_index=255)
        )


@pytest.mark.parametrize("loss", [dice, tversky, jaccard, lovasz_softmax])
def test_overlaps_are_differentiable(loss):
    logits = torch.rand(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (2, 3, 2))
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (logits,))


@pytest.mark.parametrize("loss", [dice, tversky, jaccard, lovasz_softmax, focal])
@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (torch.rand(1), torch.zeros(1).long()),
        (torch.rand(1, 1, 1, 1), torch.zeros(1, 1, 1).long()),
        (torch.rand(1, 2, 1, 1), torch.zeros(1, 1, 2).long()),
        (torch.rand(1, 2, 1, 1), torch.zeros(1, 1, 1, device="meta").long()),
        ("not a tensor", torch.zeros(1).long()),
    ],
)
def test_what_kornia_refuses(loss, logits, labels):
    with pytest.raises(ValueError, match=r"logits|labels"):
        loss(logits, labels)
