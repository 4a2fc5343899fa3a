"""Numbers in torchvision's tests and in what its weights say about themselves, restated.

Source: pytorch/vision, test/test_transforms.py (adjust_brightness, _contrast, _saturation),
references/segmentation/utils.py, models/*: num_params of the weights (BSD-3-Clause).
"""

import pytest
import torch

import segkit
from segkit import transforms
from segkit.backbones import create_backbone
from segkit.metrics import ConfusionMatrix
from segkit.transforms import colour

# --- colours of two by two pixels

PIXELS = [0, 5, 13, 54, 135, 226, 37, 8, 234, 90, 255, 1]
CHANGED = [  # brightness, contrast, saturation, and the colours after it
    ((1, 1, 1), PIXELS),
    ((0.5, 1, 1), [0, 2, 6, 27, 67, 113, 18, 4, 117, 45, 127, 0]),
    ((2, 1, 1), [0, 10, 26, 108, 255, 255, 74, 16, 255, 180, 255, 2]),
    ((1, 0.5, 1), [43, 45, 49, 70, 110, 156, 61, 47, 160, 88, 170, 43]),
    ((1, 2, 1), [0, 0, 0, 22, 184, 255, 0, 0, 255, 94, 255, 0]),
    ((1, 1, 0.5), [2, 4, 8, 87, 128, 173, 39, 25, 138, 133, 215, 88]),
    ((1, 1, 2), [0, 6, 22, 0, 149, 255, 32, 0, 255, 3, 255, 0]),
]


def picture(numbers):
    return torch.tensor(numbers).reshape(2, 2, 3).permute(2, 0, 1)


@pytest.mark.parametrize(("factors", "expected"), CHANGED)
def test_colours(monkeypatch, factors, expected):
    """Within the rounding of a grey level, which PIL cuts off and is not rounded here."""
    given = iter(map(float, factors))
    monkeypatch.setattr(colour, "uniform", lambda *_: next(given))
    image = picture(PIXELS).to(torch.uint8)
    changed, _ = transforms.ColorJitter()(image, torch.zeros(2, 2, dtype=torch.uint8))
    assert (changed - picture(expected)).abs().max() <= 1.5


@pytest.mark.parametrize(
    ("mean", "std"), [((0.5,) * 3, (0.5,) * 3), (transforms.MEAN, transforms.STD)]
)
def test_normalised_colours(mean, std):
    image = picture(PIXELS).to(torch.uint8)
    found = transforms.Normalize(mean, std).image(image)
    columns = [torch.tensor(values)[:, None, None] for values in (mean, std)]
    torch.testing.assert_close(found, (image / 255 - columns[0]) / columns[1])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_colours_of_another_number_are_refused(channels):
    with pytest.raises(ValueError, match="three colours"):
        transforms.Normalize().image(torch.zeros(channels, 2, 2))


@pytest.mark.parametrize("mean", [(0.5,), (0.5, 0.5), (0.5, 0.5, 0.5, 0.5)])
def test_means_of_another_number_are_refused(mean):
    with pytest.raises(ValueError, match="three numbers"):
        transforms.Normalize(mean=mean)


def test_a_std_of_0_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        transforms.Normalize(std=(0.5, 0.0, 0.5))


@pytest.mark.parametrize(("p", "turned"), [(0.0, False), (1.0, True)])
@pytest.mark.parametrize("vertical", [False, True])
def test_flips_that_are_sure(p, turned, vertical):
    image = picture(PIXELS).to(torch.uint8)
    mask = torch.tensor([[0, 1], [2, 3]], dtype=torch.uint8)
    axis = -2 if vertical else -1
    for _ in range(5):
        found = transforms.RandomFlip(p, vertical=vertical)(image, mask)
        for got, given in zip(found, (image, mask), strict=True):
            assert torch.equal(got, given.flip(axis) if turned else given)


# --- its reference's confusion matrix: accuracy, accuracy of a class, IoU, of a worked example


def test_the_scores_of_its_training_script():
    """Rows truth: [[3, 1], [2, 4]]."""
    labels = torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 255]]])
    prediction = torch.tensor([[[0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 0]]])
    matrix = ConfusionMatrix(2)
    matrix.update(prediction, labels)
    assert matrix.matrix[:-1].tolist() == [[3, 1], [2, 4]]
    assert matrix.pixel_accuracy() == pytest.approx(0.7)
    assert matrix.class_accuracy() == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert matrix.iou().tolist() == pytest.approx([3 / 6, 4 / 7])


# --- parameters


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("fcn_resnet50", 35_322_218),
        ("fcn_resnet101", 54_314_346),
        ("deeplab_v3_resnet50", 42_004_074),
        ("deeplab_v3_resnet101", 60_996_202),
        ("deeplab_v3_mobilenet_v3_large", 11_029_328),
        ("lraspp_mobilenet_v3_large", 3_221_538),
    ],
)
def test_parameters_of_networks(name, parameters):
    """At 21 classes, the auxiliary head included."""
    with torch.device("meta"):
        network = segkit.create_model(name, num_classes=21)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "parameters", "classifier"),
    [
        ("resnet18", 11_689_512, 513_000),
        ("resnet34", 21_797_672, 513_000),
        ("resnet50", 25_557_032, 2_049_000),
        ("resnet101", 44_549_160, 2_049_000),
        ("resnet152", 60_192_808, 2_049_000),
        ("mobilenet_v2", 3_504_872, 1_281_000 + 412_160),  # and its last convolution
        ("mobilenet_v3_large", 5_483_032, 1_281_000 + 1_230_080),
        ("mobilenet_v3_small", 2_542_856, 1_025_000 + 590_848),
        ("vgg16", 138_357_544, 123_642_856),
        ("vit_b_16", 86_567_656, 769_000),
        ("vit_l_16", 304_326_632, 1_025_000),
    ],
)
def test_parameters_of_backbones(name, parameters, classifier):
    """Those of the classifier, whose head is left out."""
    with torch.device("meta"):
        backbone = create_backbone(name)
    left = parameters - classifier - sum(p.numel() for p in backbone.parameters())
    assert left in (0, 2 * backbone.channels.c5)  # a last norm may be the head's


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("resnet19", "closest names are resnet18"),
        ("ResNet50", "resnet50"),
        ("", "closest names"),
    ],
)
def test_names_that_there_are_not(name, match):
    with pytest.raises(ValueError, match=match):
        create_backbone(name)
