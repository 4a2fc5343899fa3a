"""Colours: against torchvision, against values worked by hand."""

import pytest
import torch
from torchvision.transforms.v2 import functional as v2

from segkit import transforms


def grey_to_colour(seed=0):
    """Give a picture of mid tones, in which no change of colour is cut off, and a mask."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(100, 140, (3, 20, 30), generator=generator, dtype=torch.uint8)
    return image, torch.zeros(20, 30, dtype=torch.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_equals_torchvision_where_nothing_is_cut(seed):
    image, mask = grey_to_colour()
    torch.manual_seed(seed)
    factors = [0.6 + 0.8 * torch.rand((), dtype=torch.float64).item() for _ in range(3)]
    expected = v2.adjust_brightness(image / 255, factors[0])
    expected = v2.adjust_contrast(expected, factors[1])
    expected = v2.adjust_saturation(expected, factors[2])
    torch.manual_seed(seed)
    coloured, _ = transforms.ColorJitter()(image, mask)
    torch.testing.assert_close(coloured, 255 * expected, rtol=0, atol=0.05)


def test_stays_in_range():
    image = torch.randint(256, (3, 16, 16), dtype=torch.uint8)
    for seed in range(50):
        torch.manual_seed(seed)
        jitter = transforms.ColorJitter(3.0, 3.0, 3.0, 0.5)
        coloured, _ = jitter(image, torch.zeros(16, 16, dtype=torch.uint8))
        assert coloured.dtype == torch.float32
        assert coloured.min() >= 0
        assert coloured.max() <= 255


def test_strength_of_zero_changes_nothing():
    image, mask = grey_to_colour()
    coloured, _ = transforms.ColorJitter(0, 0, 0, 0)(image, mask)
    torch.testing.assert_close(coloured, image.float(), rtol=0, atol=1e-3)


def test_brightness_covers_its_range():
    image, mask = grey_to_colour()
    factors = []
    for seed in range(1000):
        torch.manual_seed(seed)
        coloured, _ = transforms.ColorJitter(0.4, 0, 0)(image, mask)
        factors.append(coloured.sum() / image.sum())
    quantiles = torch.stack(factors).quantile(torch.tensor([0.0, 0.5, 1.0]))
    assert (quantiles - torch.tensor([0.6, 1.0, 1.4])).abs().max() < 0.04


def test_each_change_is_made_with_its_own_probability():
    image, mask = grey_to_colour()
    plain = image.float()
    untouched = 0
    for seed in range(400):
        torch.manual_seed(seed)
        coloured, _ = transforms.ColorJitter(0.5, 0.5, 0.5, 0.1, probability=0.5)(image, mask)
        untouched += torch.allclose(coloured, plain, atol=1e-3)
    assert 10 < untouched < 45  # a sixteenth of 400 is 25
    never = transforms.ColorJitter(0.5, 0.5, 0.5, 0.1, probability=0.0)(image, mask)[0]
    torch.testing.assert_close(never, plain, rtol=0, atol=1e-3)
    torch.manual_seed(3)
    always = transforms.ColorJitter(0.5, 0.5, 0.5, 0.1)(image, mask)[0]
    torch.manual_seed(3)  # at 1 nothing is drawn for it, so that old seeds give old pictures
    assert torch.equal(transforms.ColorJitter(0.5, 0.5, 0.5, 0.1, 1.0)(image, mask)[0], always)


@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation", "hue"])
def test_a_change_that_is_not_made_is_none(change):
    image, mask = grey_to_colour()
    for strength in (0.05, 0.5):
        none = {"brightness": 0, "contrast": 0, "saturation": 0, change: strength}
        coloured, _ = transforms.ColorJitter(**none, probability=0.0)(image, mask)
        torch.testing.assert_close(coloured, image.float(), rtol=0, atol=1e-3)


def test_hue_leaves_grey_and_brightness_and_turns_colours():
    _, mask = grey_to_colour()
    image = torch.full((3, 20, 30), 90, dtype=torch.uint8)
    image[0, :10] = 150
    torch.manual_seed(1)
    coloured, _ = transforms.ColorJitter(0, 0, 0, 0.5)(image, mask)
    torch.testing.assert_close(coloured[:, 10:], image[:, 10:].float(), rtol=0, atol=0.2)
    luma = torch.tensor([0.299, 0.587, 0.114])
    before, after = luma @ image[:, 0, 0].float(), luma @ coloured[:, 0, 0]
    assert (before - after).abs() < 0.1
    assert (coloured[:, 0, 0] - image[:, 0, 0].float()).abs().max() > 20


def test_normalize_by_hand():
    image = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1)
    mask = torch.tensor([[255]], dtype=torch.uint8)
    normalize = transforms.Normalize(mean=(0.5, 0.1, 0.0), std=(0.5, 0.1, 1.0))
    images, labels = normalize(image, mask)
    torch.testing.assert_close(images.flatten(), torch.tensor([-1.0, 1.0, 1.0]))
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert labels.item() == 255


def test_normalize_takes_floats_that_count_to_255():
    image, mask = grey_to_colour()
    one, _ = transforms.Normalize()(image, mask)
    two, _ = transforms.Normalize()(image.float(), mask)
    assert torch.equal(one, two)
    expected = v2.normalize(image / 255, list(transforms.MEAN), list(transforms.STD))
    torch.testing.assert_close(one, expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: transforms.ColorJitter(brightness=-0.1), "brightness=-0.1"),
        (lambda: transforms.ColorJitter(hue=0.6), "hue at most 0.5"),
        (lambda: transforms.ColorJitter(contrast=float("inf")), "contrast=inf"),
        (lambda: transforms.ColorJitter(probability=1.5), "probability=1.5"),
        (lambda: transforms.ColorJitter(probability=float("nan")), "probability=nan"),
        (lambda: transforms.ColorJitter(saturation=float("nan")), "saturation=nan"),
        (lambda: transforms.Normalize(mean=(0.5, 0.5)), "three numbers"),
        (lambda: transforms.Normalize(mean=(123.7, 116.3, 103.5)), "in 0..1"),
        (lambda: transforms.Normalize(std=(0.2, 0.0, 0.2)), "above 0"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
