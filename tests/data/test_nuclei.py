"""The nuclei that come with the package."""

import pytest
import torch

from segkit.data import FolderDataset, nuclei


@pytest.mark.parametrize(("split", "count"), [("train", 6), ("val", 2)])
def test_masks_are_the_instances_without_their_numbers(split, count):
    pairs = FolderDataset(nuclei.ROOT, split)
    assert len(pairs) == count
    assert pairs.classes == ("background", "nucleus")
    for index in range(count):
        image, mask = pairs.raw(index)
        instances = nuclei.instances(pairs.stem(index))
        assert image.shape == (3, 256, 256)
        assert torch.equal(mask > 0, instances > 0)
        assert instances.unique().tolist() == list(range(int(instances.max()) + 1))


def test_many_touch():
    """Which is why they were chosen."""
    instances = nuclei.instances("693bc645").long()
    left, right = instances[:, :-1], instances[:, 1:]
    assert ((left != right) & (left > 0) & (right > 0)).sum() > 300


def test_an_unknown_name_lists_those_that_there_are():
    with pytest.raises(ValueError, match="there is no image 'cells': there are 0287e7ee, 2f929b06"):
        nuclei.instances("cells")
