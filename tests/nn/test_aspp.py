"""ASPP is torchvision's, its rates follow the stride, and the mean needs two images to train."""

import pytest
import torch
from torch import nn
from torchvision.models.segmentation import deeplabv3

from segkit.nn import SeparableConvBNReLU
from segkit.nn.aspp import ASPP, atrous_rates


def test_rates_are_the_papers_at_16_and_twice_that_at_8():
    assert atrous_rates(16) == (6, 12, 18)
    assert atrous_rates(8) == (12, 24, 36)
    assert atrous_rates(32) == (3, 6, 9)


@pytest.mark.parametrize("training", [False, True])
def test_aspp_is_torchvisions(training):
    """On a map that is wider than the taps are apart, unlike most maps in tests."""
    torch.manual_seed(0)
    ours = ASPP(5, 6, rates=(6, 12, 18), dropout=0.0).double().train(training)
    theirs = deeplabv3.ASPP(5, (6, 12, 18), 6).double().train(training)
    theirs.project[3].p = 0.0
    names = theirs.state_dict().keys()
    # Theirs ends with the mean, then the projection: the same order as ours.
    state = dict(zip(names, ours.state_dict().values(), strict=True))
    theirs.load_state_dict(state)
    x = torch.randn(2, 5, 25, 41, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


def test_every_branch_reads_where_its_rate_says():
    """A single bright pixel, seen by each 3x3 branch from `rate` pixels away."""
    aspp = ASPP(1, 1, rates=(2, 5)).eval()
    for conv in aspp.convs:
        nn.init.ones_(conv.conv.weight)
    x = torch.zeros(1, 1, 21, 21)
    x[..., 10, 10] = 1
    seen = [set((conv(x)[0, 0] > 0).nonzero().flatten().tolist()) for conv in aspp.convs]
    assert seen == [{10}, {8, 10, 12}, {5, 10, 15}]


def test_the_mean_reaches_every_pixel():
    torch.manual_seed(0)
    aspp = ASPP(1, 1, rates=(2,)).eval()
    for conv in aspp.convs:
        nn.init.zeros_(conv.conv.weight)
    nn.init.ones_(aspp.pool.conv.weight)
    nn.init.ones_(aspp.project.conv.weight)
    x = torch.rand(1, 1, 9, 13)
    expected = x.mean().expand(1, 1, 9, 13)
    torch.testing.assert_close(aspp(x), expected, rtol=1e-4, atol=1e-4)


def test_separable_branches():
    aspp = ASPP(7, 4, rates=(3, 6), conv=SeparableConvBNReLU)
    depthwise = [branch[0].conv for branch in aspp.convs[1:]]
    assert [conv.groups for conv in depthwise] == [7, 7]
    assert [conv.dilation for conv in depthwise] == [(3, 3), (6, 6)]
    assert aspp(torch.randn(2, 7, 5, 6)).shape == (2, 4, 5, 6)


def test_one_image_in_training_names_the_cure():
    aspp = ASPP(3, 4)
    with pytest.raises(ValueError, match="batch of 2 or more"):
        aspp(torch.randn(1, 3, 5, 6))
    assert aspp.eval()(torch.randn(1, 3, 5, 6)).shape == (1, 4, 5, 6)
