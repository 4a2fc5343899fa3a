"""Rare class sampling: what is drawn, where the crop is, and that a run is resumed exactly."""

import itertools

import pytest
import torch

from segkit import data, transforms
from segkit.data.pairs import PairDataset
from segkit.data.rare_classes import Focused, RareClassSampling


class Pairs(PairDataset):
    """Forty images of class 0, in the last of which are four pixels of class 1."""

    classes, palette = ("much", "little"), ((0, 0, 0), (9, 9, 9))

    def __len__(self):
        return 40

    def _read(self, index):
        mask = torch.zeros(64, 64, dtype=torch.uint8)
        if index == 39:
            mask[40:42, 50:52] = 1
        return torch.full((3, 64, 64), index, dtype=torch.uint8), mask

    def stem(self, index):
        return str(index)


def augment(focus):
    return transforms.train((16, 16), (0.5, 2.0), jitter=0, focus=focus)


def batches(share, **options):
    pairs = Pairs(None, True)
    draw = RareClassSampling(pairs, share=share, seed=3)
    made = data.batches(Focused(pairs, augment), batch_size=4, seed=3, draw=draw, **options)
    return [labels for _, labels in made]


def test_the_rare_class_is_seen_as_often_as_is_said():
    pairs = Pairs(None, True)
    draw = RareClassSampling(pairs, share=0.5, seed=0)
    tokens = [draw(position % 40, position) for position in range(2000)]
    focused = [divmod(token, 40) for token in tokens if token >= 40]
    assert 900 < len(focused) < 1100
    assert set(focused) == {(2, 39)}  # exp(1 / 0.01) times as likely as class 0
    assert sum((labels == 1).any((1, 2)).sum() for labels in batches(1.0, stop=5)) >= 18
    assert sum((labels == 1).any((1, 2)).sum() for labels in batches(0.0, stop=5)) <= 2


def test_a_run_goes_on_with_the_same_batches():
    whole = batches(0.5, stop=6)
    rest = batches(0.5, start=3, stop=6)
    assert all(map(torch.equal, whole[3:], rest))


def test_several_processes_share_the_batches_of_one():
    parts = [batches(0.5, stop=3, rank=rank, world_size=2) for rank in (0, 1)]
    joined = [torch.cat(both) for both in zip(*parts, strict=True)]
    assert all(map(torch.equal, batches(0.5, stop=3), joined))


def test_without_a_share_the_stream_is_what_it_was():
    plain = data.batches(Pairs(augment(None), True), batch_size=4, seed=3, stop=12)
    ours = batches(0.0, stop=12)
    assert all(torch.equal(labels, one) for (_, labels), one in zip(plain, ours, strict=True))


@pytest.mark.parametrize("undersized", ["pad", "pad_bottom_right", "enlarge"])
@pytest.mark.parametrize(("scale", "crop"), [(1.0, 16), (2.0, 16), (0.4, 32), (1.0, 70)])
def test_a_crop_shows_its_class_wherever_that_is(undersized, scale, crop):
    image = torch.zeros(3, 48, 64, dtype=torch.uint8)
    cut = transforms.RandomScaleCrop(
        (crop, crop), (scale, scale), undersized=undersized, antialias=False, focus=1
    )
    for y, x in itertools.product((0, 20, 44), (0, 31, 60)):
        mask = torch.zeros(48, 64, dtype=torch.uint8)
        mask[y : y + 4, x : x + 4] = 1
        assert (cut(image, mask)[1] == 1).any(), (y, x)


def test_unreadable_samples_are_counted_once(recwarn):
    class Broken(Pairs):
        def _read(self, index):
            if index == 3:
                raise ValueError("three is broken")
            return super()._read(index)

    pairs = Broken(None, False)
    made = data.batches(
        Focused(pairs, augment), batch_size=4, seed=0, stop=4, bad_samples=1,
        draw=lambda index, position: 3 + 40 * (position % 3),
    )  # fmt: skip
    assert len(list(made)) == 4


def test_a_share_is_a_share():
    with pytest.raises(ValueError, match="share=1.5"):
        RareClassSampling(Pairs(None, True), share=1.5, seed=0)
