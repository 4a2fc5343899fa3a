"""Separable convolution, by hand."""

import pytest
import torch
from torch.nn import functional as F

from segkit.nn import SeparableConvBNReLU


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
@pytest.mark.parametrize("relu_between", [True, False])
def test_each_channel_in_space_and_then_the_channels(relu_between):
    block = SeparableConvBNReLU(2, 1, relu_between=relu_between).eval()
    for conv in block:
        conv.bn.eps = 0.0
    depthwise, pointwise = block
    # The first channel is summed over 3x3 pixels, the second negated; then both are added.
    depthwise.conv.weight.zero_()
    depthwise.conv.weight[0] = 1.0
    depthwise.conv.weight[1, 0, 1, 1] = -1.0
    pointwise.conv.weight.fill_(1.0)
    x = torch.ones(1, 2, 3, 3)
    sums = torch.tensor([[4.0, 6, 4], [6, 9, 6], [4, 6, 4]])
    assert torch.equal(block(x)[0, 0], sums if relu_between else sums - 1)


def test_parameters_stride_and_dilation():
    block = SeparableConvBNReLU(16, 32, 5, stride=2, dilation=2).eval()
    assert parameters(block) == 16 * 25 + 2 * 16 + 16 * 32 + 2 * 32
    depthwise = block[0].conv
    assert depthwise.groups == 16
    assert depthwise.dilation == (2, 2)
    assert block[1].conv.kernel_size == (1, 1)
    assert block(torch.randn(1, 16, 9, 12)).shape == (1, 32, 5, 6)


@torch.no_grad()
def test_it_is_a_full_convolution_of_rank_one_in_the_channels():
    torch.manual_seed(0)
    block = SeparableConvBNReLU(3, 4, relu_between=False).eval()
    for conv in block:
        conv.bn.eps = 0.0
    full = block[1].conv.weight * block[0].conv.weight.squeeze(1)  # (4, 3, 1, 1) * (3, 3, 3)
    x = torch.randn(2, 3, 7, 8)
    torch.testing.assert_close(block(x), F.conv2d(x, full, padding=1).relu())
