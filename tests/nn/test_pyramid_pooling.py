"""Pyramid pooling: the averages, where they come to lie, and a batch of one."""

import pytest
import torch

from segkit.nn import PyramidPooling


def identity(bins):
    """One channel, reduced by a weight of 1 and a normalisation that changes nothing."""
    pooling = PyramidPooling(1, 1, bins=bins).eval()
    for conv in pooling.convs:
        torch.nn.init.ones_(conv.conv.weight)
        conv.bn.eps = 0.0
    return pooling


@torch.no_grad()
def test_the_map_comes_first_and_then_its_averages():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    pooled = identity((1, 2, 4))(x)
    assert pooled.shape == (1, 4, 4, 4)
    assert torch.equal(pooled[0, 0], x[0, 0])
    assert pooled[0, 1].eq(7.5).all()
    # Means of the quarters are 2.5, 4.5, 10.5, 12.5; the corners of the map lie outside their
    # centres, the inner pixels a quarter of the way between them.
    corners = pooled[0, 2][::3, ::3]
    assert corners.tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert pooled[0, 2, 0].tolist() == [2.5, 3.0, 4.0, 4.5]
    assert pooled[0, 2, :, 0].tolist() == [2.5, 4.5, 8.5, 10.5]
    assert torch.equal(pooled[0, 3], x[0, 0])


@torch.no_grad()
def test_a_map_smaller_than_its_grid_and_odd_sizes():
    pooling = PyramidPooling(8, 2).eval()
    assert pooling(torch.randn(1, 8, 2, 3)).shape == (1, 8 + 4 * 2, 2, 3)
    assert pooling(torch.randn(2, 8, 7, 5)).shape == (2, 16, 7, 5)


def test_a_batch_of_one_is_refused_in_training_where_a_grid_has_one_cell():
    x = torch.randn(1, 4, 6, 6)
    with pytest.raises(ValueError, match=r"ConvBNReLU\(4, 2, 1\).*batch of 2 or more"):
        PyramidPooling(4, 2)(x)
    assert PyramidPooling(4, 2, bins=(2, 3))(x).isfinite().all()
    assert PyramidPooling(4, 2)(torch.cat([x, x + 1])).isfinite().all()
