"""The window is cut before it is resized, and nothing is different for it."""

import pytest
import torch
from torch.nn import functional

from segkit import transforms
from segkit.outputs import IGNORE


def ramp(height, width):
    """Give an image and a mask in which a pixel's value is 2 * row + column."""
    values = (2 * torch.arange(height)[:, None] + torch.arange(width)).to(torch.uint8)
    return values.expand(3, height, width).clone(), values


def usual_order(image, mask, crop, scale):
    """Resize the whole picture, pad it on both sides to the window, cut: the reference."""
    factor = scale[0] + (scale[1] - scale[0]) * torch.rand((), dtype=torch.float64).item()
    image = functional.interpolate(
        image[None], scale_factor=factor, mode="bilinear", antialias=True
    )[0]
    mask = functional.interpolate(mask[None, None], scale_factor=factor, mode="nearest-exact")[0, 0]
    beyond = [max(0, wanted - side) for wanted, side in zip(crop, mask.shape, strict=True)]
    pads = (beyond[1], beyond[1], beyond[0], beyond[0])
    image = functional.pad(image, pads, value=0)
    mask = functional.pad(mask, pads, value=IGNORE)
    top, left = (
        int(torch.randint(side - wanted + 1, ()))
        for side, wanted in zip(mask.shape, crop, strict=True)
    )
    rows, columns = slice(top, top + crop[0]), slice(left, left + crop[1])
    return image[:, rows, columns], mask[rows, columns]


@pytest.mark.parametrize(("scale", "step"), [(2.0, 1), (1.0, 1), (0.5, 2), (0.25, 4)])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_usual_order_on_one_window(scale, step, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(256, (3, 96, 128), generator=generator, dtype=torch.uint8)
    mask = torch.arange(96 * 128).reshape(96, 128) % 251
    crop = (16, 24)
    whole = functional.interpolate(
        image[None], scale_factor=scale, mode="bilinear", antialias=True
    )[0]
    # Where the window begins is drawn after the scale: look for a place on the scaled lattice.
    for trial in range(1000):
        torch.manual_seed(1000 * seed + trial)
        torch.rand((), dtype=torch.float64)
        top, left = (
            int(torch.randint(side - int(wanted / scale) + 1, ()))
            for side, wanted in zip(mask.shape, crop, strict=True)
        )
        if top % step == 0 and left % step == 0:
            break
    torch.manual_seed(1000 * seed + trial)
    window, labels = transforms.RandomScaleCrop(crop, (scale, scale))(image, mask.to(torch.uint8))
    y, x = int(top * scale), int(left * scale)
    expected = whole[:, y : y + 16, x : x + 24]
    gap = (window.int() - expected.int()).abs()[:, 1:-1, 1:-1]
    assert gap.max() <= 1  # two passes in uint8 may round to the other side
    nearest = functional.interpolate(
        mask[None, None].to(torch.uint8), scale_factor=scale, mode="nearest-exact"
    )[0, 0]
    assert torch.equal(labels, nearest[y : y + 16, x : x + 24])


@pytest.mark.slow
def test_same_distribution_as_the_usual_order():
    image, mask = ramp(40, 60)
    crop, scale, draws = (24, 30), (0.25, 1.5), 2000
    ours = transforms.RandomScaleCrop(crop, scale)

    def statistics(transform):
        rows = []
        for seed in range(draws):
            torch.manual_seed(seed)
            _, labels = transform(image, mask)
            shown = labels != IGNORE
            values = labels[shown].float()
            share = shown.float().mean()
            first = shown.float().argmax()  # where in the window the picture begins
            rows.append([share, values.mean(), values.amax() - values.amin(), first.float()])
        return torch.tensor(rows)

    one = statistics(ours)
    torch.manual_seed(0)
    two = statistics(lambda image, mask: usual_order(image, mask, crop, scale))
    for column, name in enumerate(("share", "mean", "extent", "place")):
        a, b = one[:, column].sort().values, two[:, column].sort().values
        points = torch.cat((a, b)).unique()
        # Kolmogorov-Smirnov; places lie on other lattices, hence the room beside 99 %.
        distance = (
            torch.searchsorted(a, points, right=True) - torch.searchsorted(b, points, right=True)
        ).abs().max() / draws
        assert distance < 1.63 * (2 / draws) ** 0.5 + 0.015, name


def test_every_place_is_reached_and_none_preferred():
    image, mask = ramp(20, 20)
    crop = transforms.RandomScaleCrop((16, 16), (1.0, 1.0))
    corners = []
    for seed in range(1000):
        torch.manual_seed(seed)
        corners.append(int(crop(image, mask)[1][0, 0]))
    counts = torch.bincount(torch.tensor([corner % 2 for corner in corners]))
    assert set(corners) == {2 * row + column for row in range(5) for column in range(5)}
    assert counts.float().max() / 1000 < 0.64  # columns 0..4: three even ones of five


def test_scale_is_uniform():
    image, mask = ramp(40, 80)
    crop = transforms.RandomScaleCrop((80, 160), (0.5, 1.5))
    widths = []
    for seed in range(1000):
        torch.manual_seed(seed)
        labels = crop(image, mask)[1]
        widths.append((labels != IGNORE).any(dim=0).sum() / 80)
    quantiles = torch.stack(widths).quantile(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    expected = torch.tensor([0.5, 0.75, 1.0, 1.25, 1.5])
    assert (quantiles - expected).abs().max() < 0.05


@pytest.mark.parametrize(
    ("scale", "step", "drawn"),
    [
        ((0.125, 1.5), 0.125, [0.125 * i for i in range(1, 13)]),  # STDC's twelve
        ((0.5, 2.1), 0.1, [0.5 + 0.1 * i for i in range(17)]),  # HRNet's tenths
        ((0.5, 2.5), 0.25, [0.5 + 0.25 * i for i in range(9)]),  # PP-LiteSeg's quarters
        ((0.5, 2.0), 0.4, [0.5, 0.9, 1.3, 1.7]),  # none above the highest
        ((0.7, 0.7), 0.1, [0.7]),
    ],
)
def test_scales_in_steps_are_each_as_likely(scale, step, drawn):
    crop = transforms.RandomScaleCrop((8, 8), scale, step=step)
    torch.manual_seed(0)
    found = [crop._draw() for _ in range(200 * len(drawn))]
    counts = [sum(abs(one - each) < 1e-9 for one in found) for each in drawn]
    assert sum(counts) == len(found)
    assert all(140 < count < 265 or len(drawn) == 1 for count in counts)


@pytest.mark.parametrize("size", [(20, 30), (30, 20), (1, 1), (3, 200), (40, 50)])
@pytest.mark.parametrize("scale", [0.05, 0.3, 0.77, 1.0, 1.31])
def test_a_picture_smaller_than_the_window_is_enlarged_to_it(size, scale):
    image, mask = ramp(*size)
    crop = transforms.RandomScaleCrop((40, 50), (scale, scale), undersized="enlarge")
    for seed in range(5):
        torch.manual_seed(seed)
        window, labels = crop(image, mask)
        assert window.shape == (3, 40, 50)
        assert (labels != IGNORE).all() or IGNORE in mask
        assert set(labels.unique().tolist()) <= set(mask.unique().tolist())


def test_what_was_shrunk_before_it_is_enlarged_has_lost_its_detail():
    image, mask = torch.zeros(3, 64, 64, dtype=torch.uint8), torch.zeros(64, 64, dtype=torch.uint8)
    image[:, ::2] = 200  # stripes of one pixel
    blurred, _ = transforms.RandomScaleCrop((64, 64), (0.25, 0.25), undersized="enlarge")(
        image, mask
    )
    assert blurred.float().std() < 5
    whole, _ = transforms.RandomScaleCrop((64, 64), (1.0, 1.0), undersized="enlarge")(image, mask)
    assert torch.equal(whole, image), "nothing is enlarged that fills the window"


def test_a_picture_is_put_into_the_upper_left_corner():
    image, mask = ramp(20, 30)
    for seed in range(5):
        torch.manual_seed(seed)
        window, labels = transforms.RandomScaleCrop(
            (40, 25), (1.0, 1.0), undersized="pad_bottom_right", mean=(0.5, 0.5, 0.5)
        )(image, mask)
        assert (labels[:20] != IGNORE).all()
        assert (labels[20:] == IGNORE).all()
        assert window[:, 20:].unique().tolist() == [128]


def test_beyond_the_picture_lie_mean_and_void():
    image, mask = ramp(20, 30)
    crop = transforms.RandomScaleCrop((40, 50), (1.0, 1.0), mean=(0.2, 0.4, 1.0))
    window, labels = crop(image, mask)
    beyond = labels == IGNORE
    assert beyond.sum() == 40 * 50 - 20 * 30
    assert window[:, beyond].unique(dim=1).flatten().tolist() == [51, 102, 255]
    assert torch.equal(labels[~beyond], mask.flatten())
    assert torch.equal(window[:, ~beyond], image.flatten(1))


def test_mean_becomes_zero_after_normalising():
    image, mask = ramp(20, 30)
    images, labels = transforms.train((40, 50), (1.0, 1.0), jitter=0)(image, mask)
    assert images[:, labels == IGNORE].abs().max() < 0.01


@pytest.mark.parametrize("height", [1, 2, 3, 49, 63])
@pytest.mark.parametrize("scale", [0.01, 0.125, 0.3333, 0.7, 1.1, 3.7])
def test_any_size_gives_the_window(height, scale):
    image, mask = ramp(height, 2 * height)
    for seed in range(5):
        torch.manual_seed(seed)
        window, labels = transforms.RandomScaleCrop((17, 23), (scale, scale))(image, mask)
        assert window.shape == (3, 17, 23)
        assert labels.shape == (17, 23)
        assert (labels != IGNORE).any()
        if height * scale >= 24:
            assert (labels != IGNORE).all()


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(40, 3), (3, 3), (40, 40)])
def test_a_width_of_one_pixel_keeps_its_colour(size, antialias):
    image = torch.tensor([10, 120, 250], dtype=torch.uint8)[:, None, None].repeat(1, *size)
    mask = torch.full(size, 4, dtype=torch.uint8)
    crop = transforms.RandomScaleCrop((30, 5), (0.034, 0.5), antialias=antialias)
    for seed in range(20):
        torch.manual_seed(seed)
        window, labels = crop(image, mask)
        colours = window[:, labels == 4].unique(dim=1)
        assert colours.flatten().tolist() == [10, 120, 250]


def test_memory_layout_does_not_matter():
    image, mask = ramp(60, 80)
    image[1] += 3
    packed = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    preset = transforms.train((32, 48), (0.3, 1.5), elastic=3.0)
    for seed in range(20):
        torch.manual_seed(seed)
        one = preset(image, mask)
        torch.manual_seed(seed)
        two = preset(packed, mask)
        assert (one[0] - two[0]).abs().max() < 0.03  # one step of uint8 in the two kernels
        assert torch.equal(one[1], two[1])
        assert one[0].is_contiguous()
        assert two[0].is_contiguous()


def test_flip_probability():
    image, mask = ramp(2, 3)
    flips = 0
    for seed in range(1000):
        torch.manual_seed(seed)
        _, labels = transforms.RandomFlip(0.3)(image, mask)
        flips += not torch.equal(labels, mask)
    assert 250 < flips < 350
    assert torch.equal(transforms.RandomFlip(1.0)(image, mask)[0], image.flip(-1))
    assert torch.equal(transforms.RandomFlip(0.0)(image, mask)[0], image)


def test_elastic_of_zero_changes_nothing():
    image, mask = ramp(33, 47)
    moved, labels = transforms.Elastic(sigma=0)(image, mask)
    assert torch.equal(moved, image)
    assert torch.equal(labels, mask)


def test_elastic_moves_by_sigma_pixels():
    image, mask = ramp(101, 101)
    image[0] = torch.arange(101, dtype=torch.uint8).expand(101, 101)
    shifts = []
    for seed in range(300):
        torch.manual_seed(seed)
        # The middle of an odd grid is one of the displacements that were drawn.
        shifts.append(transforms.Elastic(sigma=6.0)(image, mask)[0][0, 50, 50].float() - 50)
    shifts = torch.stack(shifts)
    assert shifts.mean().abs() < 1.0
    assert 5.2 < shifts.std() < 6.8


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: transforms.RandomScaleCrop(512, (0.5, 2)), r"crop=512: give \(height, width\)"),
        (lambda: transforms.RandomScaleCrop((512.0, 512), (0.5, 2)), "whole pixels"),
        (lambda: transforms.RandomScaleCrop((0, 512), (0.5, 2)), "whole pixels"),
        (lambda: transforms.RandomScaleCrop((True, 512), (0.5, 2)), "whole pixels"),
        (lambda: transforms.RandomScaleCrop((8, 8), (2, 0.5)), "0 < lowest <= highest"),
        (lambda: transforms.RandomScaleCrop((8, 8), (0, 0.5)), "0 < lowest <= highest"),
        (lambda: transforms.RandomScaleCrop((8, 8), (1, float("inf"))), "0 < lowest"),
        (lambda: transforms.RandomScaleCrop((8, 8), (float("nan"), 1)), "0 < lowest"),
        (lambda: transforms.RandomScaleCrop((8, 8), 1.0), "0 < lowest"),
        (lambda: transforms.RandomScaleCrop((8, 8), (1, 1), mean=(124, 116, 104)), "in 0..1"),
        (lambda: transforms.RandomScaleCrop((8, 8), (0.5, 2), step=-0.1), "step=-0.1: give 0, or"),
        (lambda: transforms.RandomScaleCrop((8, 8), (0.5, 2), step=1.6), "a step within the scale"),
        (lambda: transforms.RandomScaleCrop((8, 8), (0.5, 2), step=float("nan")), "step=nan"),
        (lambda: transforms.RandomScaleCrop((8, 8), (1, 1), undersized="crop"), "take one of pad,"),
        (lambda: transforms.RandomFlip(1.5), "a probability is in 0..1"),
        (lambda: transforms.RandomFlip(float("nan")), "a probability is in 0..1"),
        (lambda: transforms.Elastic(sigma=-1), "0 or more"),
        (lambda: transforms.Elastic(grid=1), "2 or more points"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (torch.zeros(8, 8, 3), torch.zeros(8, 8), r"image is torch.float32 \(8, 8, 3\)"),
        (torch.zeros(1, 8, 8, dtype=torch.uint8), torch.zeros(8, 8), r"\(1, 8, 8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(8, 8), "mask is torch.float32"),
        (
            torch.zeros(3, 8, 8, dtype=torch.uint8),
            torch.zeros(8, 9, dtype=torch.uint8),
            r"8x8 pixels .* 8x9",
        ),
        (
            torch.zeros(3, 0, 8, dtype=torch.uint8),
            torch.zeros(0, 8, dtype=torch.uint8),
            "are empty",
        ),
    ],
)
def test_wrong_pairs(image, mask, message):
    for transform in transforms.train((4, 4), (1, 1), elastic=1.0).transforms:
        with pytest.raises(ValueError, match=message):
            transform(image, mask)
