"""Numbers that segmentation-models-pytorch's tests expect, restated; the package is not needed.

Its probabilities become logits whose softmax they are; its binary scores are those of class 1.
Source: qubvel-org/segmentation_models.pytorch, tests/test_losses.py, tests/test_metrics.py,
tests/encoders/base.py (MIT licence).
"""

import pytest
import torch
from torch.nn import functional as F

from segkit.backbones import create_backbone
from segkit.losses import cross_entropy, dice, focal, jaccard, tversky
from segkit.metrics import ConfusionMatrix
from segkit.outputs import Stages

ONLY_1 = torch.tensor([0.0, 1.0])


def logits_of(probabilities):
    """Scores (1, K, 1, N) of rows of probabilities of 0 and 1, (K, N)."""
    return 200 * torch.tensor(probabilities, dtype=torch.float64)[None, :, None] - 100


def binary(loss, truth, predicted, **options):
    """A loss of class 1 alone."""
    given = torch.tensor(predicted, dtype=torch.float64)
    logits = logits_of([(1 - given).tolist(), given.tolist()])
    return float(loss(logits, torch.tensor(truth)[None, None], weight=ONLY_1, **options))


SCORES = [  # truth, prediction, Jaccard, Dice
    ([1, 1, 1, 1], [1, 1, 1, 1], 1.0, 1.0),
    ([0, 1, 1, 0], [0, 1, 1, 0], 1.0, 1.0),
    ([1, 1, 1, 1], [1, 1, 0, 0], 0.5, 2 / 3),
]


@pytest.mark.parametrize(("truth", "predicted", "iou", "f1"), SCORES)
def test_soft_scores(truth, predicted, iou, f1):
    assert 1 - binary(jaccard, truth, predicted) == pytest.approx(iou, abs=1e-5)
    assert 1 - binary(dice, truth, predicted) == pytest.approx(f1, abs=1e-5)
    half = binary(tversky, truth, predicted, alpha=0.5, beta=0.5)
    assert 1 - half == pytest.approx(f1, abs=1e-5)


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([0, 0, 1, 1], [[1, 1, 0, 0], [0, 0, 1, 1]], 1.0),
        ([0, 0, 1, 1], [[0, 0, 1, 0], [0, 1, 0, 0]], 0.0),
        ([0, 0, 255, 1], [[1, 1, 0, 0], [0, 0, 0, 0]], 0.5),
    ],
)
def test_soft_jaccard_is_the_mean_over_classes(truth, predicted, expected):
    rest = [[1 - sum(column) for column in zip(*predicted, strict=True)]]  # of no class
    loss = jaccard(logits_of(predicted + rest), torch.tensor(truth)[None, None])
    assert 1 - float(loss) == pytest.approx(expected, abs=1e-5)


WORST = [
    ([1, 1, 1], [1, 1, 1], 0.0),
    ([1, 0, 1], [1, 0, 1], 0.0),
    ([0, 0, 0], [0, 0, 0], 0.0),
    ([0, 0, 0], [1, 1, 1], 0.0),  # a class that is not there counts nothing, however wrong
    ([0, 1, 0], [1, 0, 1], 1.0),
    ([1, 1, 1], [0, 0, 0], 1.0),
]


@pytest.mark.parametrize(("truth", "predicted", "expected"), WORST)
@pytest.mark.parametrize("loss", [dice, jaccard, tversky])
def test_binary_losses_at_their_ends(loss, truth, predicted, expected):
    assert binary(loss, truth, predicted) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([0, 0, 1, 1], [[1, 1, 0, 0], [0, 0, 1, 1]], 0.0),
        ([1, 1, 0, 0], [[1, 1, 0, 0], [0, 0, 1, 1]], 1.0),
        ([1, 1, 0, 0], [[1, 0, 1, 0], [0, 1, 0, 1]], 1 - 1 / 3),
    ],
)
def test_multiclass_jaccard(truth, predicted, expected):
    loss = jaccard(logits_of(predicted), torch.tensor(truth)[None, None])
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_focal_prefers_the_better_prediction():
    labels = torch.tensor([[[1, 0, 2]]])
    good = torch.tensor([[0, 10, 0], [10, 0, 0], [0, 0, 10.0]]).T[None, :, None]
    bad = torch.tensor([[0, -10, 0], [0, 10, 0], [0, 0, 10.0]]).T[None, :, None]
    assert focal(good, labels) < focal(bad, labels)


def test_smoothed_cross_entropy():
    """At scores of +-9: (1 - 3/40) of the target's and 1/40 of each other class's."""
    logits = (18 * torch.eye(4) - 9).T[None, :, None].double()
    labels = torch.tensor([[[0, 1, -100, 3]]])
    loss = cross_entropy(logits, labels, ignore=-100, label_smoothing=0.1)
    normaliser = torch.logsumexp(torch.tensor([9.0, -9.0, -9.0, -9.0]).double(), 0)
    expected = normaliser - (0.925 * 9 + 3 * 0.025 * -9)
    assert float(loss) == pytest.approx(float(expected), abs=1e-9)


# --- metrics


def counted(prediction, labels, num_classes=3):
    matrix = ConfusionMatrix(num_classes)
    matrix.update(torch.tensor(prediction)[:, None], torch.tensor(labels)[:, None])
    return matrix


def stats(matrix, image=None):
    """True and false positives and false negatives of each class."""
    counts = matrix.matrix[:-1]
    right = counts.diagonal()
    return right.tolist(), (counts.sum(0) - right).tolist(), (counts.sum(1) - right).tolist()


@pytest.mark.parametrize(
    ("prediction", "labels", "tp", "fp", "fn"),
    [
        ([[0, 1, 2, 1]], [[0, 1, 2, 2]], [1, 1, 1], [0, 1, 0], [0, 0, 1]),
        ([[0, 1, 2]], [[0, 1, 2]], [1, 1, 1], [0, 0, 0], [0, 0, 0]),
        ([[2, 1, 0]], [[2, 2, 0]], [1, 0, 1], [0, 1, 0], [0, 0, 1]),
        ([[0, 1, 2, 1]], [[0, 1, 255, 2]], [1, 1, 0], [0, 1, 0], [0, 0, 1]),
    ],
)
def test_counts_of_each_class(prediction, labels, tp, fp, fn):
    matrix = counted(prediction, labels)
    assert stats(matrix) == (tp, fp, fn)
    union = [a + b + c for a, b, c in zip(tp, fp, fn, strict=True)]
    assert matrix.union[0].tolist() == union


def test_true_negatives_leave_void_out():
    matrix = counted([[0, 1, 2, 1]], [[0, 1, 255, 2]]).matrix[:-1]
    negatives = matrix.sum() - matrix.sum(0) - matrix.sum(1) + matrix.diagonal()
    assert negatives.tolist() == [2, 1, 2]


def test_as_many_pixels_as_classes_are_still_pixels():
    ids = [[[0, 1, 2, 0], [1, 2, 0, 1], [2, 0, 1, 2]]]
    matrix = ConfusionMatrix(3)
    matrix.update(torch.tensor(ids), torch.tensor(ids))
    assert stats(matrix) == ([4, 4, 4], [0, 0, 0], [0, 0, 0])


def test_one_hot_is_refused_and_its_argmax_perfect():
    ids = torch.randint(0, 3, (1, 4, 4))
    hot = F.one_hot(ids, 3).movedim(-1, 1)
    for given in ((hot, ids), (ids, hot), (hot, hot)):
        with pytest.raises(ValueError, match="one-hot"):
            ConfusionMatrix(3).update(*given)
    matrix = ConfusionMatrix(3)
    matrix.update(hot.argmax(1), hot.argmax(1))
    assert matrix.miou("dataset_absent_1") == 1


@pytest.mark.parametrize(
    ("prediction", "labels", "match"),
    [
        ([[0, 1, 3]], [[0, 1, 2]], r"prediction holds \[3\]"),
        ([[0, 1, 2]], [[0, 1, 3]], r"labels holds \[3\]"),
        ([[0, -1, 2]], [[0, 1, 2]], r"prediction holds \[-1\]"),
    ],
)
def test_ids_out_of_range(prediction, labels, match):
    with pytest.raises(ValueError, match=match):
        counted(prediction, labels)


@pytest.mark.parametrize("shape", [(2, 4, 4, 4), (1, 2, 4, 4)])
def test_volumes_are_counted(shape):
    prediction, labels = torch.randint(0, 3, (2, *shape))
    matrix = ConfusionMatrix(3)
    matrix.update(prediction, labels)
    assert matrix.matrix.sum() == prediction.numel()
    assert matrix.union.shape == (shape[0], 3)


# --- encoders: what a dilated one gives for 64 x 64


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large"])
@pytest.mark.parametrize(
    ("stride", "sides"), [(32, (16, 8, 4, 2)), (16, (16, 8, 4, 4)), (8, (16, 8, 8, 8))]
)
def test_dilated_encoders_keep_their_size(name, stride, sides):
    with torch.device("meta"):
        backbone = create_backbone(name, output_stride=stride)
        maps = backbone.eval()(torch.zeros(1, 3, 64, 64))
    assert Stages(*(m.shape[-1] for m in maps)) == sides
    assert all(m.shape[1] == c for m, c in zip(maps, backbone.channels, strict=True))


@pytest.mark.parametrize("name", ["vgg16", "mit_b0", "hrnet_w18", "stdc1"])
def test_encoders_that_cannot_be_dilated_say_so(name):
    with pytest.raises(ValueError, match="takes no output_stride"):
        create_backbone(name, output_stride=16)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mit_b0", "vgg16"])
def test_encoders_take_any_number_of_channels(name, channels):
    with torch.device("meta"):
        backbone = create_backbone(name, in_channels=channels).eval()
        assert backbone(torch.zeros(1, channels, 64, 64)).c5.shape[1] == backbone.channels.c5
