"""Numbers in torchmetrics' documentation and tests, restated; the package is not needed.

Source: Lightning-AI/torchmetrics 1.9.0, the examples of functional/classification/{jaccard,
accuracy,confusion_matrix,f_beta}.py and functional/segmentation/{mean_iou,dice}.py (Apache-2.0);
what is marked "run" was computed with that version.
"""

import pytest
import torch

from segkit.metrics import ConfusionMatrix, argmax


def counted(prediction, labels, num_classes):
    matrix = ConfusionMatrix(num_classes)
    matrix.update(prediction, labels)
    return matrix


def row(*values):
    return torch.tensor(values)[None, None]


BINARY = (row(0, 1, 0, 0), row(1, 1, 0, 0))
THREE = (row(2, 1, 0, 1), row(2, 1, 0, 0))


def test_confusion_matrices():
    assert counted(*BINARY, 2).matrix[:-1].tolist() == [[2, 0], [1, 1]]
    assert counted(*THREE, 3).matrix[:-1].tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    "scores",
    [
        [[0.16, 0.26, 0.58], [0.22, 0.61, 0.17], [0.71, 0.09, 0.20], [0.05, 0.82, 0.13]],
    ],
)
def test_probabilities_are_their_highest_class(scores):
    prediction = argmax(torch.tensor(scores).T[None, :, None])
    assert torch.equal(prediction.long(), THREE[0])


def test_jaccard():
    assert float(counted(*BINARY, 2).iou()[1]) == pytest.approx(0.5)
    assert counted(*THREE, 3).miou() == pytest.approx(0.6667, abs=5e-5)


def test_jaccard_of_a_square_turned_over():
    """A patch of 3 x 6 x 6 pixels of 10 x 25 x 25, two classes, inverted: 0.9660."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (10, 25, 25), generator=generator)
    prediction = labels.clone()
    prediction[2:5, 7:13, 9:15] = 1 - prediction[2:5, 7:13, 9:15]
    assert counted(prediction, labels, 2).miou() == pytest.approx(0.9660, abs=5e-4)


def test_accuracy():
    matrix = counted(*THREE, 3)
    assert matrix.class_accuracy() == pytest.approx(0.8333, abs=5e-5)
    rows = matrix.matrix[:-1].double()
    assert (rows.diagonal() / rows.sum(1)).tolist() == [0.5, 1.0, 1.0]
    binary = counted(row(0, 0, 1, 1, 0, 1), row(0, 1, 0, 1, 0, 1), 2)
    assert binary.pixel_accuracy() == pytest.approx(0.6667, abs=5e-5)
    four = counted(row(0, 2, 1, 3), row(0, 1, 2, 3), 4)
    assert four.pixel_accuracy() == 0.5


@pytest.mark.parametrize(
    ("prediction", "labels", "expected"),
    [
        ([[0, 2], [2, 0], [0, 1]], [[0, 1], [2, 1], [0, 2]], 0.5),
        ([[2, 2], [2, 1], [1, 0]], [[1, 1], [2, 0], [1, 2]], 0.2778),
    ],
)
def test_accuracy_of_each_image(prediction, labels, expected):
    matrix = counted(torch.tensor([prediction]), torch.tensor([labels]), 3)
    assert matrix.class_accuracy() == pytest.approx(expected, abs=5e-5)


@pytest.fixture(scope="module")
def two_of_five():
    """Two classes occur, three do not."""
    one, other = (torch.Generator().manual_seed(seed) for seed in (42, 43))
    prediction = torch.randint(0, 2, (4, 16, 16), generator=one)
    return prediction, torch.randint(0, 2, (4, 16, 16), generator=other)


@pytest.mark.parametrize(
    ("image", "mean", "each"),
    [
        (0, 0.3617, [0.3617, 0.3617]),
        (1, 0.3128, [0.3128, 0.3128]),
        (2, 0.3047, [0.2727, 0.3366]),
        (3, 0.3499, [0.3756, 0.3242]),
    ],
)
def test_mean_iou_of_each_image(two_of_five, image, mean, each):
    """Absent classes, -1 there, are left out of the mean; here they are nan."""
    matrix = counted(*(ids[image : image + 1] for ids in two_of_five), 5)
    assert matrix.miou() == pytest.approx(mean, abs=6e-5)
    assert matrix.iou()[:2].tolist() == pytest.approx(each, abs=6e-5)
    assert matrix.iou()[2:].isnan().all()


def test_mean_iou_of_images(two_of_five):
    expected = (0.3617 + 0.3128 + 0.3047 + 0.3499) / 4
    assert counted(*two_of_five, 5).miou("per_image") == pytest.approx(expected, abs=6e-5)


@pytest.fixture(scope="module")
def five():
    torch.manual_seed(42)
    return torch.randint(0, 5, (4, 16, 16)), torch.randint(0, 5, (4, 16, 16))


DICE = [
    (0.2031, [0.1731, 0.1667, 0.2400, 0.2424, 0.1947]),
    (0.1914, [0.2245, 0.2247, 0.2321, 0.1132, 0.1682]),
    (0.2266, [0.2500, 0.2476, 0.1887, 0.1818, 0.2718]),
    (0.1641, [0.1308, 0.1800, 0.1980, 0.1607, 0.1522]),
]


@pytest.mark.parametrize("image", range(4))
def test_dice_of_each_image(five, image):
    matrix = counted(*(ids[image : image + 1] for ids in five), 5)
    micro, each = DICE[image]
    assert matrix.pixel_accuracy() == pytest.approx(micro, abs=6e-5)  # of one class a pixel
    assert matrix.dice().tolist() == pytest.approx(each, abs=6e-5)


def test_dice_of_all_images(five):
    assert counted(*five, 5).mean_dice() == pytest.approx(0.1965, abs=6e-5)


def test_scores_of_all_images(five):
    """Run."""
    matrix = counted(*five, 5)
    assert matrix.miou("micro") == pytest.approx(0.1088, abs=6e-5)
    assert matrix.miou() == pytest.approx(0.1090, abs=6e-5)
    assert matrix.pixel_accuracy() == pytest.approx(0.1963, abs=6e-5)
    assert matrix.class_accuracy() == pytest.approx(0.1969, abs=6e-5)
    iou = [0.1058, 0.1143, 0.1203, 0.0949, 0.1096]
    assert matrix.iou().tolist() == pytest.approx(iou, abs=6e-5)
    f1 = [0.1914, 0.2051, 0.2148, 0.1733, 0.1976]
    assert matrix.dice().tolist() == pytest.approx(f1, abs=6e-5)
    assert matrix.miou("foreground") == pytest.approx(sum(iou[1:]) / 4, abs=6e-5)


def test_scores_with_void(five):
    """Run, ``ignore_index=255`` on the first three rows of each image."""
    prediction, labels = five
    labels = labels.clone()
    labels[:, :3] = 255
    matrix = counted(prediction, labels, 5)
    assert matrix.matrix[:-1].tolist() == [
        [32, 35, 31, 38, 31],
        [26, 34, 20, 37, 43],
        [31, 27, 29, 35, 34],
        [43, 39, 44, 32, 23],
        [29, 38, 35, 32, 34],
    ]
    assert matrix.miou("micro") == pytest.approx(0.1071, abs=6e-5)
    assert matrix.miou() == pytest.approx(0.1072, abs=6e-5)
    assert matrix.pixel_accuracy() == pytest.approx(0.1935, abs=6e-5)
    assert matrix.class_accuracy() == pytest.approx(0.1938, abs=6e-5)
    each = [0.1081, 0.1137, 0.1014, 0.0991, 0.1137]
    assert matrix.iou().tolist() == pytest.approx(each, abs=6e-5)


@pytest.mark.parametrize("num_classes", [2, 5, 19])
@pytest.mark.parametrize("batches", [1, 3])
def test_batches_do_not_matter(num_classes, batches):
    """torchmetrics' testers compare the sum of batches with the whole, on every metric."""
    prediction, labels = torch.randint(0, num_classes, (2, 6, 8, 9))
    whole, parts = counted(prediction, labels, num_classes), ConfusionMatrix(num_classes)
    for p, y in zip(prediction.chunk(batches), labels.chunk(batches), strict=True):
        parts.update(p, y)
    assert whole.summary() == parts.summary()


@pytest.mark.parametrize(
    ("prediction", "labels", "match"),
    [
        (torch.rand(1, 3, 4), torch.zeros(1, 3, 4).long(), "torch.float32"),
        (torch.zeros(1, 3, 4).long(), torch.rand(1, 3, 4), "torch.float32"),
        (torch.zeros(1, 3, 4).long(), torch.zeros(1, 3, 5).long(), "shape"),
        (torch.full((1, 3, 4), 7), torch.zeros(1, 3, 4).long(), r"\[7\]"),
        (torch.zeros(1, 3, 4).long(), torch.full((1, 3, 4), -1), r"\[-1\]"),
    ],
)
def test_what_torchmetrics_refuses(prediction, labels, match):
    with pytest.raises(ValueError, match=match):
        counted(prediction, labels, 5)
