"""The blocks of PP-LiteSeg against the equations of its paper."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.models.pp_liteseg import SPPM, UAFM, ChannelAttention, SpatialAttention


def test_sppm_is_the_sum_of_pooled_projected_upsampled_maps():
    torch.manual_seed(0)
    sppm = SPPM(6, 4).eval()
    c5 = torch.randn(2, 6, 5, 7)
    total = torch.zeros(2, 4, 5, 7)
    for side, (_, conv) in zip((1, 2, 4), sppm.branches, strict=True):
        pooled = conv(F.adaptive_avg_pool2d(c5, side))
        total += F.interpolate(pooled, size=(5, 7), mode="bilinear")
    torch.testing.assert_close(sppm(c5), sppm.fuse(total))


def test_spatial_attention_sees_mean_and_maximum_of_both_sides():
    torch.manual_seed(0)
    attention = SpatialAttention(4).eval()
    low, high = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 3, 5)
    maps = torch.stack([low.mean(1), low.max(1)[0], high.mean(1), high.max(1)[0]], dim=1)
    alpha = attention(low, high)
    assert alpha.shape == (2, 1, 3, 5)
    torch.testing.assert_close(alpha, torch.sigmoid(attention.convs(maps)))


def test_channel_attention_sees_mean_and_maximum_of_both_sides():
    torch.manual_seed(0)
    attention = ChannelAttention(4).eval()
    low, high = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 3, 5)
    pooled = [x.flatten(2).mean(2) for x in (low, high)]
    pooled += [x.flatten(2).max(2)[0] for x in (low, high)]
    alpha = attention(low, high)
    assert alpha.shape == (2, 4, 1, 1)
    expected = torch.sigmoid(attention.convs(torch.cat(pooled, dim=1)[..., None, None]))
    torch.testing.assert_close(alpha, expected)


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, low, high):
        return low.new_full((low.shape[0], 1, *low.shape[2:]), self.value)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_uafm_weighs_the_low_side_by_alpha_and_the_upsampled_one_by_the_rest(alpha):
    torch.manual_seed(0)
    uafm = UAFM(3, 4, 5, attention=Constant(alpha)).eval()
    low, high = torch.randn(1, 3, 7, 9), torch.randn(1, 4, 4, 5)
    up = F.interpolate(high, size=(7, 9), mode="bilinear")
    expected = uafm.smooth(alpha * uafm.project(low) + (1 - alpha) * up)
    torch.testing.assert_close(uafm(low, high), expected)


def test_uafm_without_attention_is_a_sum():
    torch.manual_seed(0)
    uafm = UAFM(3, 4, 5, attention=None).eval()
    low, high = torch.randn(1, 3, 6, 8), torch.randn(1, 4, 3, 4)
    up = F.interpolate(high, size=(6, 8), mode="bilinear")
    torch.testing.assert_close(uafm(low, high), uafm.smooth(uafm.project(low) + up))
