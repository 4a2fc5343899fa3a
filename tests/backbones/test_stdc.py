"""STDC against the counts of the released code and the block's definition in the paper."""

import math

import pytest
import torch

from segkit.backbones.stdc import STDC, STDCBlock, stdc1, stdc2
from segkit.outputs import Stages


@pytest.mark.parametrize(("build", "count"), [(stdc1, 5_318_304), (stdc2, 9_348_768)])
def test_parameters_are_those_of_the_released_features(build, count):
    with torch.device("meta"):
        backbone = build()
    assert sum(p.numel() for p in backbone.parameters()) == count


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 47), (32, 32)])
def test_stages_have_the_strides_and_channels_they_announce(size):
    with torch.device("meta"):
        backbone = stdc1().eval()
        features = backbone(torch.empty(1, 3, *size))
    assert isinstance(features, Stages)
    for feature, channels, stride in zip(
        features, backbone.channels, backbone.strides, strict=True
    ):
        expected = (1, channels, math.ceil(size[0] / stride), math.ceil(size[1] / stride))
        assert feature.shape == expected


def test_channels_and_strides_are_named_by_stage():
    backbone = STDC(depths=(1, 1, 1))
    assert backbone.channels == Stages(c2=64, c3=256, c4=512, c5=1024)
    assert backbone.strides == Stages(c2=4, c3=8, c4=16, c5=32)


@pytest.mark.parametrize("in_channels", [1, 4])
def test_images_of_other_than_three_channels(in_channels):
    backbone = STDC(depths=(1, 1, 1), in_channels=in_channels).eval()
    assert backbone(torch.randn(1, in_channels, 32, 32)).c5.shape == (1, 1024, 1, 1)
    assert backbone.stem.conv.weight.shape == (32, in_channels, 3, 3)


def test_depth_counts_the_blocks_of_each_stage():
    backbone = stdc2()
    assert [len(s) for s in (backbone.stage3, backbone.stage4, backbone.stage5)] == [4, 5, 3]


def test_block_concatenates_four_widths_of_growing_receptive_field():
    block = STDCBlock(16, 64).eval()
    x = torch.randn(1, 16, 15, 15)
    result = block(x)
    parts = result.split([32, 16, 8, 8], dim=1)
    torch.testing.assert_close(parts[0], block.conv1(x))
    torch.testing.assert_close(parts[1], block.conv2(block.conv1(x)))

    poked = x.clone()
    poked[0, :, 7, 7] += 100.0
    changed = [(block(poked) - result).split([32, 16, 8, 8], dim=1)[k].abs() for k in range(4)]
    sides = [int((c.amax(dim=(0, 1)) > 0).sum(dim=1).max()) for c in changed]
    assert sides == [1, 3, 5, 7]


def test_stride_2_pools_the_first_part_and_convolves_the_others():
    block = STDCBlock(16, 64, stride=2).eval()
    x = torch.randn(1, 16, 9, 12)
    result = block(x)
    assert result.shape == (1, 64, 5, 6)
    pooled = torch.nn.functional.avg_pool2d(block.conv1(x), 3, stride=2, padding=1)
    torch.testing.assert_close(result[:, :32], pooled)
    assert block.downsample.conv.groups == 32


def test_pooling_may_leave_the_padding_out():
    ones = torch.ones(1, 32, 9, 12)
    averages = STDCBlock(16, 64, stride=2, count_include_pad=False).skip(ones)
    torch.testing.assert_close(averages, torch.ones(1, 32, 5, 6))
    assert STDCBlock(16, 64, stride=2).skip(ones).min().item() == pytest.approx(4 / 9)
    for build in (stdc1, stdc2):
        pools = [m for m in build(count_include_pad=False).modules() if hasattr(m, "ceil_mode")]
        assert [pool.count_include_pad for pool in pools] == [False] * 3


def test_weights_start_as_in_the_authors_code():
    torch.manual_seed(0)
    backbone = stdc1()
    weight = backbone.stage4[0].conv2.conv.weight  # 3x3, 256 -> 128 channels
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    assert all(p.unique().item() == 1 for n, p in backbone.named_parameters() if "bn.weight" in n)
    assert all(p.unique().item() == 0 for n, p in backbone.named_parameters() if n.endswith("bias"))
