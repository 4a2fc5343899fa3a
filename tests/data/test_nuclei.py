"""The nuclei that come with the package."""

import pytest
import torch
from torch.nn import functional as F

from segkit.data import nuclei
from segkit.data.catalog import find


def test_masks_are_the_instances_with_background_between_those_that_touch():
    sets = find("nuclei_sample").open_splits()
    assert {split: len(pairs) for split, pairs in sets.items()} == {"train": 6, "val": 2}
    for pairs in sets.values():
        assert (pairs.classes, pairs.palette) == (nuclei.CLASSES, nuclei.PALETTE)
        for index in range(len(pairs)):
            image, mask = pairs.raw(index)
            cells = nuclei.instances(pairs.stem(index)).float()
            largest_near = F.max_pool2d(cells[None], 3, stride=1, padding=1)[0]
            assert image.shape == (3, 256, 256)
            assert cells.unique().tolist() == list(range(int(cells.max()) + 1))
            assert torch.equal(mask > 0, (cells > 0) & (largest_near == cells))


def test_an_unknown_name_lists_those_that_there_are():
    with pytest.raises(ValueError, match="no image 'cells': there are 0287e7ee, 29dd28df, "):
        nuclei.instances("cells")
