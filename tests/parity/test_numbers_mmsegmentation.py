"""What mmsegmentation's tests expect, restated; the package is not needed.

Source: open-mmlab/mmsegmentation, tests/test_metrics.py, tests/test_models/test_losses/,
tests/test_models/test_backbones/ (Apache-2.0).
"""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import segkit
from segkit.backbones import create_backbone
from segkit.losses import cross_entropy, dice, focal, lovasz_softmax, tversky
from segkit.metrics import ConfusionMatrix

# --- metrics: 10 images of 30 x 30 pixels, 19 classes, a strip of void


@pytest.fixture(scope="module")
def maps():
    generator = np.random.default_rng(0)
    prediction = generator.integers(0, 19, (10, 30, 30))
    labels = generator.integers(0, 19, (10, 30, 30))
    labels[:, 2, 5:10] = 255
    return prediction, labels


def counted(prediction, labels, num_classes=19):
    matrix = ConfusionMatrix(num_classes)
    matrix.update(torch.from_numpy(prediction), torch.from_numpy(labels))
    return matrix


def by_hand(prediction, labels, num_classes=19):
    """A matrix of counts, class by class."""
    kept = labels != 255
    pairs = list(zip(labels[kept], prediction[kept], strict=True))
    total = np.zeros((num_classes, num_classes))
    for truth, predicted in pairs:
        total[truth, predicted] += 1
    return total


def test_all_scores_are_those_of_the_whole_matrix(maps):
    total, matrix = by_hand(*maps), counted(*maps)
    right, rows, columns = np.diag(total), total.sum(1), total.sum(0)
    assert matrix.pixel_accuracy() == right.sum() / total.sum()
    assert matrix.class_accuracy() == pytest.approx((right / rows).mean(), abs=1e-12)
    np.testing.assert_allclose(matrix.iou(), right / (rows + columns - right), rtol=1e-12)
    np.testing.assert_allclose(matrix.dice(), 2 * right / (rows + columns), rtol=1e-12)


def test_void_is_not_counted(maps):
    matrix = counted(*maps).matrix
    assert matrix[-1].sum() == 10 * 5
    assert matrix[:-1].sum() == 10 * (900 - 5)


def test_classes_that_never_occur_are_nan():
    """There a number is put in their place, `nan_to_num`; here they are left out by the policy."""
    generator = np.random.default_rng(1)
    prediction = generator.integers(0, 5, (10, 30, 30))
    labels = generator.integers(0, 4, (10, 30, 30))
    matrix = counted(prediction, labels)
    assert matrix.iou()[5:].isnan().all()
    assert matrix.dice()[5:].isnan().all()
    assert matrix.iou()[4] == 0  # predicted, never true
    assert matrix.miou() == pytest.approx(float(matrix.iou()[:5].mean()), abs=1e-12)
    absent = matrix.miou("dataset_absent_0")
    assert absent == pytest.approx(float(matrix.iou()[:4].sum()) / 19, abs=1e-12)


# --- losses


SURE = torch.tensor([100.0, -100.0])[None, :, None, None]


def test_a_sure_mistake_costs_the_distance_of_its_scores():
    assert float(cross_entropy(SURE, torch.ones(1, 1, 1).long())) == pytest.approx(200)
    assert float(cross_entropy(SURE, torch.zeros(1, 1, 1).long())) == 0


def test_class_weights():
    """There 0.2 * 200 = 40: a factor of a plain mean. Here the mean is weighted too: 200."""
    weight, labels = torch.tensor([0.8, 0.2]), torch.ones(1, 1, 1).long()
    assert float(cross_entropy(SURE, labels, weight=weight)) == pytest.approx(200)
    assert float(focal(SURE, labels, gamma=0.0, alpha=weight)) == pytest.approx(40)


def test_even_scores_with_void():
    logits = torch.full((2, 21, 8, 8), 0.5)
    labels = torch.ones(2, 8, 8).long()
    labels[:, 0, 0] = 255
    expected = F.cross_entropy(logits, labels, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, labels), expected)
    assert float(expected) == pytest.approx(float(torch.tensor(21.0).log()), abs=1e-6)


@pytest.mark.parametrize("ignore", [10, 255, -100])
def test_class_weights_and_void(ignore):
    """`avg_non_ignore`: the sum of weighted losses over the pixels that are labelled."""
    logits, labels = torch.randn(2, 5, 1, 10), torch.randint(0, 5, (2, 1, 10))
    weight = torch.rand(5)
    weight /= weight.sum()
    labels[0, 0, [1, 2, 5, 7]] = ignore
    labels[1, 0, [0, 5, 8, 9]] = ignore
    total = F.cross_entropy(logits, labels, ignore_index=ignore, weight=weight, reduction="sum")
    factor = focal(logits, labels, gamma=0.0, alpha=weight, ignore=ignore)
    torch.testing.assert_close(factor, total / 12)
    mean = F.cross_entropy(logits, labels, ignore_index=ignore, weight=weight)
    torch.testing.assert_close(cross_entropy(logits, labels, weight=weight, ignore=ignore), mean)


@pytest.mark.parametrize("loss", [dice, tversky, lovasz_softmax])
@pytest.mark.parametrize("ignore", [255, 1])
def test_overlap_losses_with_weights_lie_in_0_1(loss, ignore):
    logits, labels = torch.rand(8, 3, 4, 4), torch.randint(0, 3, (8, 4, 4))
    weight = torch.tensor([1.0, 2.0, 3.0])
    value = loss(logits, labels, weight=weight, ignore=ignore)
    assert value.shape == ()
    assert 0 < float(value) < 1


def test_lovasz_of_each_image():
    logits, labels = torch.rand(2, 3, 4, 4), torch.randint(0, 2, (2, 4, 4))
    each = [lovasz_softmax(logits[i : i + 1], labels[i : i + 1]) for i in (0, 1)]
    torch.testing.assert_close(
        lovasz_softmax(logits, labels, per_image=True), torch.stack(each).mean()
    )


# --- shapes of backbones and networks


@pytest.mark.parametrize(
    ("name", "size", "maps"),
    [
        ("resnet18", (224, 224), [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]),
        ("resnet50", (224, 224), [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]),
        ("mit_b1", (224, 224), [(64, 56, 56), (128, 28, 28), (320, 14, 14), (512, 7, 7)]),
        ("mit_b0", (224, 320), [(32, 56, 80), (64, 28, 40), (160, 14, 20), (256, 7, 10)]),
        ("hrnet_w18", (64, 64), [(18, 16, 16), (36, 8, 8), (72, 4, 4), (144, 2, 2)]),
        ("stdc1", (224, 224), [(64, 56, 56), (256, 28, 28), (512, 14, 14), (1024, 7, 7)]),
        ("mobilenet_v2", (224, 224), [(24, 56, 56), (32, 28, 28), (96, 14, 14), (320, 7, 7)]),
        ("vit_b_16", (224, 224), [(768, 14, 14)] * 4),
    ],
)
def test_maps_of_backbones(name, size, maps):
    with torch.device("meta"):
        found = create_backbone(name).eval()(torch.zeros(1, 3, *size))
    assert [tuple(m.shape[1:]) for m in found] == maps


@pytest.mark.parametrize(
    ("stride", "maps"),
    [(8, [(64, 56), (128, 28), (256, 28), (512, 28)]), (16, [(64, 56), (128, 28), (256, 14)])],
)
def test_maps_of_a_dilated_resnet(stride, maps):
    with torch.device("meta"):
        backbone = create_backbone("resnet18", output_stride=stride).eval()
        found = backbone(torch.zeros(1, 3, 224, 224))
    assert [(m.shape[1], m.shape[2]) for m in found][: len(maps)] == maps


@pytest.mark.parametrize("depth", [101, 152])
def test_deeper_resnets_have_the_same_maps(depth):
    with torch.device("meta"):
        found = create_backbone(f"resnet{depth}").eval()(torch.zeros(1, 3, 224, 224))
    assert [tuple(m.shape[1:3]) for m in found] == [(256, 56), (512, 28), (1024, 14), (2048, 7)]


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplab_v3_resnet50", "fast_scnn"])
def test_logits_are_at_the_images_size(name):
    with torch.device("meta"):
        logits = segkit.create_model(name, num_classes=19).eval()(torch.zeros(2, 3, 65, 97)).logits
    assert logits.shape == (2, 19, 65, 97)
