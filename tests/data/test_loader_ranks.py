"""Several training processes: their parts joined are the batches of one."""

import itertools

import pytest
import torch

from segkit.data import batches, sequential


class Numbered:
    """A data set whose image i is filled with i and random numbers."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return torch.rand(3, 4, 6) + index, torch.full((4, 6), index)


@pytest.mark.parametrize(("world_size", "workers"), [(2, 0), (4, 0), (2, 1)])
def test_parts_of_the_ranks_joined_are_the_batch_of_one_process(world_size, workers):
    data = Numbered(10)
    options = {"batch_size": 8, "seed": 3, "start": 1, "stop": 6}
    whole = list(batches(data, **options))
    parts = [
        list(batches(data, **options, workers=workers, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert {len(images) for images, _ in itertools.chain(*parts)} == {8 // world_size}
    for batch, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        for tensor, joined in zip(batch, zip(*pieces, strict=True), strict=True):
            assert torch.equal(tensor, torch.cat(joined))


@pytest.mark.parametrize(("length", "world_size"), [(7, 2), (6, 2), (5, 3), (1, 2), (0, 2)])
def test_ranks_evaluate_every_sample_once(length, world_size):
    seen = []
    for rank in range(world_size):
        drawn = [labels[:, 0, 0] for _, labels in sequential(
            Numbered(length), 2, rank=rank, world_size=world_size
        )]  # fmt: skip
        part = torch.cat(drawn).tolist() if drawn else []
        assert part == list(range(rank, length, world_size))
        seen += part
    assert sorted(seen) == list(range(length))
