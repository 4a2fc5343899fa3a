"""Means of IoU that chapter 01 gives under the names of other libraries, against torchmetrics."""

import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.functional.segmentation import mean_iou
from torchmetrics.segmentation import MeanIoU

from segkit.metrics import ConfusionMatrix


@pytest.fixture(scope="module")
def counted():
    """Four small images, of each of which two of five classes are absent."""
    generator = torch.Generator().manual_seed(1)
    labels, prediction = torch.randint(0, 3, (2, 4, 9, 8), generator=generator)
    labels, prediction = (ids + torch.arange(4)[:, None, None] % 3 for ids in (labels, prediction))
    matrix = ConfusionMatrix(5)
    matrix.update(prediction, labels)
    return matrix, prediction, labels


def test_the_function_is_per_image(counted):
    matrix, prediction, labels = counted
    each = mean_iou(prediction, labels, num_classes=5, input_format="index")
    assert matrix.miou("per_image") == pytest.approx(float(each.mean()))


def test_the_class_is_the_mean_over_pairs_of_image_and_class(counted):
    matrix, prediction, labels = counted
    theirs = MeanIoU(num_classes=5, input_format="index")
    theirs.update(prediction[:3], labels[:3])
    theirs.update(prediction[3:], labels[3:])
    pairs = (matrix.intersection / matrix.union).nanmean()
    assert float(pairs) == pytest.approx(float(theirs.compute()))


def test_micro_is_the_jaccard_index_and_accuracy_in_disguise(counted):
    matrix, prediction, labels = counted
    micro = MulticlassJaccardIndex(5, average="micro")(prediction, labels)
    assert matrix.miou("micro") == pytest.approx(float(micro))
    accuracy = matrix.pixel_accuracy()
    assert matrix.miou("micro") == pytest.approx(accuracy / (2 - accuracy))
