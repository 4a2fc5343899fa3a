"""Numbers that MONAI's tests expect, restated; the package is not needed.

MONAI takes a sigmoid of each channel (here: one binary problem a channel, of which class 1 counts)
or a softmax, and averages the losses of images; its smoothing moves the fourth digit.
Source: Project-MONAI/MONAI, tests/losses/test_{dice,tversky,focal}_loss.py,
tests/metrics/test_compute_{meandice,meaniou}.py (Apache-2.0).
"""

import math

import pytest
import torch
from torch.nn import functional as F

from segkit.losses import dice, focal, jaccard, tversky
from segkit.metrics import ConfusionMatrix

ONLY_1 = torch.tensor([0.0, 1.0])


def two_classes(scores):
    """Logits (B, 2, ...) whose softmax is the sigmoid of scores (B, ...)."""
    return torch.stack([torch.zeros_like(scores), scores], 1)


def by_image(loss, logits, labels, **options):
    """The mean over images of a loss of each."""
    pairs = zip(logits.split(1), labels.split(1), strict=True)
    return float(torch.stack([loss(x, y, **options) for x, y in pairs]).mean())


ONE = torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]])
TWO = torch.tensor([[[1.0, -1.0], [-1.0, 1.0]], [[1.0, -1.0], [-1.0, 1.0]]])


@pytest.mark.parametrize(
    ("loss", "scores", "truth", "expected"),
    [
        (dice, ONE, [[[1, 0], [1, 1]]], 0.307576),
        (dice, TWO, [[[1, 1], [1, 1]], [[1, 0], [1, 0]]], 0.416657),
        (tversky, ONE, [[[1, 0], [1, 1]]], 0.3589),
        (jaccard, ONE, [[[1, 0], [1, 1]]], 0.470451),
    ],
)
def test_sigmoid_of_one_channel(loss, scores, truth, expected):
    found = by_image(loss, two_classes(scores), torch.tensor(truth), weight=ONLY_1)
    assert found == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("alpha", "beta", "expected"), [(0.5, 0.5, 0.307576), (0.3, 0.7, 0.3589), (0.7, 0.3, 0.247366)]
)
def test_prices_of_tversky(alpha, beta, expected):
    labels = torch.tensor([[[1, 0], [1, 1]]])
    loss = tversky(two_classes(ONE), labels, alpha=alpha, beta=beta, weight=ONLY_1)
    assert float(loss) == pytest.approx(expected, abs=5e-5)


SCORES = torch.tensor([[[-1.0, 0.0, 1.0], [1.0, 0.0, -1.0]], [[0.0] * 3, [0.0] * 3]])[:, :, None]
LABELS = torch.tensor([[[1, 0, 0]], [[1, 1, 0]]])  # images of 1 x 3 pixels


@pytest.mark.parametrize("loss", [dice, lambda *a, **o: tversky(*a, alpha=0.5, beta=0.5, **o)])
def test_softmax_of_two_channels(loss):
    assert by_image(loss, SCORES, LABELS) == pytest.approx(0.383713, abs=5e-5)
    each = [
        [
            float(loss(SCORES[i : i + 1], LABELS[i : i + 1], weight=F.one_hot(torch.tensor(k), 2)))
            for k in (0, 1)
        ]
        for i in (0, 1)
    ]
    expected = torch.tensor([[0.210961, 0.295339], [0.599952, 0.428547]])
    torch.testing.assert_close(torch.tensor(each), expected, atol=6e-5, rtol=0)
    assert sum(map(sum, each)) == pytest.approx(1.534853, abs=2e-4)


def test_sigmoid_of_two_channels():
    truth = F.one_hot(LABELS, 2).movedim(-1, 1)
    each = torch.tensor(
        [
            [
                float(dice(two_classes(SCORES[i, k][None]), truth[i, k][None], weight=ONLY_1))
                for k in (0, 1)
            ]
            for i in (0, 1)
        ]
    )
    expected = torch.tensor([[0.296529, 0.415136], [0.599976, 0.428559]])
    torch.testing.assert_close(each, expected, atol=6e-5, rtol=0)
    assert float(each.mean()) == pytest.approx(0.435050, abs=5e-5)
    whole = [dice(two_classes(SCORES[:, k]), truth[:, k], weight=ONLY_1) for k in (0, 1)]
    assert float(sum(whole)) / 2 == pytest.approx(0.422979, abs=5e-5)  # of the batch as one


def test_a_perfect_prediction_without_background():
    probabilities = torch.tensor(
        [[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]
    )[:, :, None]
    labels = torch.tensor([[[0, 0, 1]], [[0, 1, 0]]])
    for loss in (dice, tversky, jaccard):
        assert float(loss(200 * probabilities, labels, weight=ONLY_1)) == pytest.approx(0, abs=1e-6)


def test_an_ignored_class_is_cut_away():
    probabilities = torch.tensor(
        [[[0.8, 0.1], [0.1, 0.1]], [[0.1, 0.8], [0.1, 0.1]], [[0.1, 0.1], [0.8, 0.8]]]
    )[None]
    labels = torch.tensor([[[0, 1], [2, 2]]])
    logits = probabilities.log()
    for loss in (dice, tversky, jaccard, focal):
        whole, cropped = loss(logits, labels, ignore=2), loss(logits[:, :, :1], labels[:, :1])
        torch.testing.assert_close(whole, cropped)


@pytest.mark.parametrize("loss", [dice, tversky, jaccard, focal])
def test_ignored_pixels_get_no_gradient(loss):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    labels = torch.tensor([[[0, 1, 0, 1], [1, 0, 1, 0], [2] * 4, [2] * 4]])
    loss(logits, labels, ignore=2).backward()
    assert (logits.grad[:, :, 2:] == 0).all()
    assert (logits.grad[:, :, :2] != 0).any()


# --- focal: MONAI averages over pixels and channels


EVEN = torch.tensor([[[1.0, 1.0], [0.5, 0.0]]])
TARGET = torch.tensor([[[0, 1], [2, 0]]])


def sigmoid_focal(channel, **options):
    return float(focal(two_classes(EVEN), (TARGET == channel).long(), **options))


def test_focal_of_a_softmax():
    logits = EVEN[:, None].expand(1, 3, 2, 2)
    assert float(focal(logits, TARGET)) / 3 == pytest.approx(0.16276, abs=1e-4)
    alpha = torch.tensor([0.2, 0.8, 0.8])  # of the background 1 - alpha
    assert float(focal(logits, TARGET, alpha=alpha)) / 3 == pytest.approx(0.08138, abs=1e-4)


def test_focal_of_sigmoids():
    each = [sigmoid_focal(channel) for channel in range(3)]
    assert sum(each) / 3 == pytest.approx(0.34959, abs=1e-4)
    assert sum(each[1:]) / 2 == pytest.approx(0.36498, abs=1e-4)  # without background


NONE = [
    [[0.02266, 0.70187], [0.37741, 0.17329]],
    [[0.70187, 0.02266], [0.37741, 0.17329]],
    [[0.70187, 0.70187], [0.06757, 0.17329]],
]


@pytest.mark.parametrize("channel", range(3))
@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_focal_of_each_pixel(channel, row, column):
    here = (..., slice(row, row + 1), slice(column, column + 1))
    loss = focal(two_classes(EVEN)[here], (TARGET == channel).long()[here])
    assert float(loss) == pytest.approx(NONE[channel][row][column], abs=1e-4)
    share = (0.5, 0.1, 0.2)[channel]
    weighted = focal(
        two_classes(EVEN)[here], (TARGET == channel).long()[here], alpha=torch.full((2,), share)
    )
    assert float(weighted) == pytest.approx(share * NONE[channel][row][column], abs=1e-4)


@pytest.mark.parametrize(
    "ids",
    [
        [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0]],
    ],
)
@pytest.mark.parametrize("depth", [0, 3])
@pytest.mark.parametrize("loss", [focal, dice, tversky, jaccard])
def test_a_very_good_prediction_costs_nothing(loss, ids, depth):
    labels = torch.tensor(ids)[None]
    if depth:
        labels = torch.stack([labels] * depth, 1)  # a volume
    logits = 1000 * F.one_hot(labels, 6).movedim(-1, 1).float() - 500
    assert float(loss(logits, labels)) == pytest.approx(0, abs=1e-3)


def test_focal_with_gamma_0_is_cross_entropy():
    logits, labels = torch.rand(8, 10, 8, 4), torch.randint(0, 10, (8, 8, 4))
    torch.testing.assert_close(focal(logits, labels, gamma=0.0), F.cross_entropy(logits, labels))
    other = focal(logits, labels, gamma=0.1)
    assert abs(float(other - F.cross_entropy(logits, labels))) > 1e-3


# --- metrics


def counted(prediction, labels, num_classes):
    matrix = ConfusionMatrix(num_classes)
    matrix.update(prediction, labels)
    return matrix


def test_one_image():
    prediction, labels = torch.tensor([[[1, 0], [0, 1]]]), torch.tensor([[[1, 0], [1, 1]]])
    matrix = counted(prediction, labels, 2)
    assert float(matrix.dice()[1]) == pytest.approx(0.8)
    assert float(matrix.iou()[1]) == pytest.approx(0.6667, abs=1e-4)


PREDICTED = torch.tensor([[[2, 0], [1, 1]], [[1, 2], [2, 0]]])
TRUE = torch.tensor([[[1, 2], [1, 0]], [[1, 1], [2, 0]]])


@pytest.mark.parametrize(
    ("image", "f1", "iou"), [(0, [0.5, 0.0], [0.3333, 0.0]), (1, [0.6667, 0.6667], [0.5, 0.5])]
)
def test_foreground_of_each_image(image, f1, iou):
    matrix = counted(PREDICTED[image : image + 1], TRUE[image : image + 1], 3)
    assert matrix.dice()[1:].tolist() == pytest.approx(f1, abs=1e-4)
    assert matrix.iou()[1:].tolist() == pytest.approx(iou, abs=1e-4)


def test_absent_classes():
    """MONAI leaves out a class without truth; here it also counts where it was predicted: 0."""
    truth = torch.zeros(1, 2, 2, dtype=torch.int64)
    iou = counted(torch.full_like(truth, 2), truth, 3).iou().tolist()
    assert iou[0] == 0
    assert math.isnan(iou[1])
    assert iou[2] == 0


OVERLAPPING = [  # channels of two images, each a binary map: prediction and truth
    ([[1, 1, 1, 0], [1, 0, 1, 1]], [[1, 1, 1, 1], [0, 0, 0, 1]], 0.6786, 0.5416),
    ([[0, 1, 0, 0], [0, 1, 1, 1]], [[0, 0, 0, 0], [1, 1, 0, 0]], 0.4, 0.25),
    ([[0, 1, 1, 1], [0, 1, 1, 0]], [[0, 0, 0, 0], [0, 0, 1, 0]], 0.6667, 0.5),
]


@pytest.mark.parametrize(("predicted", "true", "f1", "iou"), OVERLAPPING)
def test_the_mean_over_images_that_have_the_class(predicted, true, f1, iou):
    scores = [
        (float(m.dice()[1]), float(m.iou()[1]))
        for p, y in zip(predicted, true, strict=True)
        if any(y)
        for m in [counted(torch.tensor([[p]]), torch.tensor([[y]]), 2)]
    ]
    found = [sum(column) / len(scores) for column in zip(*scores, strict=True)]
    assert found == pytest.approx([f1, iou], abs=1e-4)


@pytest.mark.parametrize(("policy", "expected"), [("_1", 1.0), ("_0", 0.5), ("", 1.0)])
def test_empty_classes(policy, expected):
    """Nothing there and nothing predicted: perfect, nothing, or left out, as one says."""
    zeros = torch.zeros(2, 3, 3, dtype=torch.int64)
    name = f"dataset_absent{policy}" if policy else "dataset"
    assert counted(zeros, zeros, 2).miou(name) == expected
