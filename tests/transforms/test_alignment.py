"""Image and mask move together: a picture in which every pixel says where it came from.

The image's red is the column and its green the row of the source pixel; blending between pixels
blends coordinates, so the image tells where it was sampled to a fraction of a pixel. A mask has
one channel, so each case runs twice under one seed, once with columns and once with rows.
"""

import pytest
import torch
from torch.nn import functional
from torchvision.transforms import v2

from segkit import transforms
from segkit.outputs import IGNORE

HEIGHT, WIDTH = 180, 240
SEEDS = range(40)
MEAN, STD = transforms.MEAN, transforms.STD


def picture(height=HEIGHT, width=WIDTH):
    """Give an image of coordinates and the two masks: columns, rows."""
    columns = torch.arange(width, dtype=torch.uint8).expand(height, width)
    rows = torch.arange(height, dtype=torch.uint8)[:, None].expand(height, width)
    image = torch.stack((columns, rows, torch.full_like(rows, 7)))
    return image.clone(), columns.clone(), rows.clone()


def moved(transform, seed, image, *masks):
    """Transform under one seed with each mask; undo the normalisation."""
    results = []
    for mask in masks:
        torch.manual_seed(seed)
        results.append(transform(image, mask))
    coloured = results[0][0].to(torch.float64)
    if results[0][0].dtype == torch.float32 and results[0][1].dtype == torch.int64:
        mean, std = (torch.tensor(part, dtype=torch.float64)[:, None, None] for part in (MEAN, STD))
        coloured = 255 * (coloured * std + mean)
    return coloured, [labels.to(torch.float64) for _, labels in results]


def inside(labels, margin=1):
    """Tell which pixels and neighbours show the picture, not what lies beyond or the border."""
    beyond = (labels == IGNORE).to(torch.float32)[None, None]
    beyond = functional.pad(beyond, (1, 1, 1, 1), value=1.0)
    return (
        functional.max_pool2d(beyond, 2 * margin + 1, stride=1, padding=margin)[0, 0, 1:-1, 1:-1]
        == 0
    )


def disagreement(transform, seed, image, columns, rows):
    """Give image minus mask in source pixels, shape (2, N): along x and along y."""
    coloured, (labels_x, labels_y) = moved(transform, seed, image, columns, rows)
    shown = inside(labels_x)
    assert torch.equal(labels_x == IGNORE, labels_y == IGNORE)
    return torch.stack((coloured[0] - labels_x, coloured[1] - labels_y))[:, shown]


CASES = {
    "small scales": transforms.RandomScaleCrop((64, 96), (0.3, 0.9)),
    "small scales, not antialiased": transforms.RandomScaleCrop(
        (64, 96), (0.3, 0.9), antialias=False
    ),
    "large scales": transforms.RandomScaleCrop((64, 96), (1.0, 2.5)),
    "window beyond the picture": transforms.RandomScaleCrop((200, 300), (0.5, 1.1)),
    "left to right": transforms.RandomFlip(),
    "upside down": transforms.RandomFlip(vertical=True),
    "v2 flip": transforms.FromV2(v2.RandomVerticalFlip()),
    "preset": transforms.train((96, 128), (0.4, 2.5), jitter=0),
    "evaluate": transforms.evaluate(),
}


@pytest.mark.parametrize("name", CASES)
def test_image_and_mask_are_taken_from_one_place(name):
    # The mask is half a source pixel off at most, and the rounding of uint8 adds another half.
    worst = max(disagreement(CASES[name], seed, *picture()).abs().max() for seed in SEEDS)
    assert worst <= 1.01


@pytest.mark.parametrize("name", CASES)
def test_no_systematic_shift(name):
    shifts = [disagreement(CASES[name], seed, *picture()).mean(dim=1) for seed in SEEDS]
    assert torch.stack(shifts).mean(dim=0).abs().max() < 0.06


def test_a_shifted_mask_is_noticed():
    image, columns, rows = picture()
    shifted = columns.roll(1, dims=1), rows.roll(1, dims=0)
    gap = disagreement(transforms.RandomScaleCrop((64, 96), (1.0, 2.5)), 3, image, *shifted)
    assert gap.mean(dim=1).min() > 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_elastic_bends_both_alike(seed):
    image, columns, rows = picture()
    gap = disagreement(transforms.Elastic(sigma=8.0), seed, image, columns, rows)
    # Nearest is half a pixel off, rounding another half.
    assert gap.abs().max() <= 1.01
    assert gap.mean(dim=1).abs().max() < 0.05


def test_preset_with_elastic_bends_both_alike():
    preset = transforms.train((96, 128), (1.0, 1.0), jitter=0, elastic=4.0)
    gaps = torch.cat([disagreement(preset, seed, *picture()) for seed in SEEDS], dim=1)
    assert gaps.abs().max() <= 1.51  # rounded twice
    assert gaps.mean(dim=1).abs().max() < 0.05


@pytest.mark.parametrize("seed", range(10))
def test_no_pixel_moves_under_colours(seed):
    _, columns, _ = picture()
    image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    image[:, 50, 70] = 200
    torch.manual_seed(seed)
    coloured, labels = transforms.ColorJitter(hue=0.2)(image, columns)
    assert torch.equal(labels, columns)
    assert coloured[0].flatten().argmax() == 50 * WIDTH + 70


LABELS = torch.tensor([0, 3, 10, 200], dtype=torch.uint8)


@pytest.mark.parametrize(
    "transform",
    [
        transforms.RandomScaleCrop((50, 70), (0.125, 1.5)),
        transforms.RandomFlip(),
        transforms.Elastic(),
        transforms.ColorJitter(),
        transforms.train((50, 70), (0.125, 2.5), elastic=6.0),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_no_new_label_and_no_writing_into_the_input(transform):
    generator = torch.Generator().manual_seed(0)
    mask = LABELS[torch.randint(4, (60, 80), generator=generator)]
    image = torch.randint(256, (3, 60, 80), generator=generator, dtype=torch.uint8)
    before = image.clone(), mask.clone()
    for seed in range(60):
        torch.manual_seed(seed)
        _, labels = transform(image, mask)
        assert set(labels.unique().tolist()) <= {*LABELS.tolist(), IGNORE}
    assert torch.equal(image, before[0])
    assert torch.equal(mask, before[1])


def test_void_stays_void_where_nothing_moves():
    image, columns, _ = picture()
    columns[10:20] = IGNORE
    _, labels = transforms.evaluate()(image, columns)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, columns.long())
