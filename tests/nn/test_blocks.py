"""The blocks that networks share."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.nn import (
    ConvBN,
    ConvBNReLU,
    ResizeLogits,
    check_num_classes,
    init_kaiming,
    resize,
)


@pytest.mark.parametrize(
    ("options", "side"),
    [({}, 9), ({"stride": 2}, 5), ({"dilation": 4}, 9), ({"kernel_size": 1}, 9)],
)
def test_conv_keeps_the_size_but_for_its_stride(options, side):
    conv = ConvBN(2, 4, **options).eval()
    assert conv(torch.randn(1, 2, 9, 9)).shape == (1, 4, side, side)


def test_conv_bn_relu_is_its_name():
    block = ConvBNReLU(3, 4)
    x = torch.randn(2, 3, 5, 5)
    y = F.conv2d(x, block.conv.weight, padding=1)
    y = (y - y.mean((0, 2, 3), keepdim=True)) / (
        y.var((0, 2, 3), keepdim=True, correction=0) + 1e-5
    ).sqrt()
    torch.testing.assert_close(block(x), y.clamp(min=0), atol=1e-5, rtol=1e-4)
    assert block.conv.bias is None


def test_bias_and_groups_are_those_asked_for():
    assert ConvBN(4, 8, bias=True).conv.bias.shape == (8,)
    assert ConvBN(4, 8, groups=4).conv.weight.shape == (8, 1, 3, 3)


@pytest.mark.parametrize("block", [ConvBN, ConvBNReLU])
def test_one_value_per_channel_is_refused_in_training(block):
    conv = block(3, 4, 1)
    with pytest.raises(ValueError, match=rf"{block.__name__}\(3, 4, 1\).*batch of 2 or more"):
        conv(torch.randn(1, 3, 1, 1))


def test_two_values_per_channel_are_enough_and_eval_needs_one():
    conv = ConvBN(3, 4, 1)
    assert conv(torch.randn(2, 3, 1, 1)).isfinite().all()
    assert conv(torch.randn(1, 3, 1, 2)).isfinite().all()
    assert conv.eval()(torch.randn(1, 3, 1, 1)).isfinite().all()


def test_synchronised_normalisation_is_left_to_count_by_itself():
    conv = nn.SyncBatchNorm.convert_sync_batchnorm(ConvBN(3, 4, 1))
    with pytest.raises(ValueError, match="Expected more than 1 value|SyncBatchNorm expected"):
        conv(torch.randn(1, 3, 1, 1))


@pytest.mark.parametrize(("mode", "fan"), [("fan_in", 32 * 9), ("fan_out", 64 * 9)])
def test_kaiming_draws_the_variance_of_the_fan_and_clears_biases(mode, fan):
    module = nn.Sequential(nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64))
    init_kaiming(module, mode=mode)
    assert module[0].weight.std().item() == pytest.approx(math.sqrt(2 / fan), rel=0.03)
    assert not module[0].bias.any()
    assert (module[1].weight == 1).all()


@pytest.mark.parametrize("num_classes", [1, 0, -3, 2.5, "3"])
def test_fewer_than_two_classes_are_refused(num_classes):
    with pytest.raises(ValueError, match=rf"num_classes is {num_classes!r};.*num_classes=2"):
        check_num_classes(num_classes)


def test_two_classes_and_more_pass_through():
    assert check_num_classes(2) == 2
    assert check_num_classes(150) == 150


def test_resize_takes_pixel_centres_not_corners():
    row = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    expected = torch.tensor([0.0, 0.25, 0.75, 1.0]).view(1, 1, 1, 4)
    torch.testing.assert_close(resize(row, (1, 4)), expected)
    torch.testing.assert_close(ResizeLogits()(row, (1, 4)), expected)


def test_resize_keeps_the_layout_and_the_last_step_gives_planes():
    x = torch.randn(2, 5, 4, 6).contiguous(memory_format=torch.channels_last)
    assert resize(x, (8, 12)).is_contiguous(memory_format=torch.channels_last)
    assert ResizeLogits()(x, (8, 12)).is_contiguous()


def test_resize_comes_back_to_the_dtype_where_autocast_takes_float32(monkeypatch):
    interpolate = F.interpolate
    monkeypatch.setattr(F, "interpolate", lambda x, **how: interpolate(x.float(), **how))
    features = torch.randn(1, 2, 3, 3).bfloat16()
    assert resize(features, (6, 6)).dtype == torch.bfloat16
    assert ResizeLogits()(features, (6, 6)).dtype == torch.float32


def test_resize_leaves_no_cast_in_an_exported_graph():
    class Resize(nn.Module):
        def forward(self, x):
            return resize(x, (6, 8))

    graph = torch.export.export(Resize(), (torch.randn(1, 2, 3, 4),)).graph
    calls = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert calls == ["aten.upsample_bilinear2d.vec"]


def test_aligned_corners_keep_the_corners():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    aligned, apart = resize(x, (3, 5), align_corners=True), resize(x, (3, 5))
    corners = [[0.0, 2.0], [3.0, 5.0]]
    assert aligned[0, 0, ::2, ::4].tolist() == corners
    assert aligned[0, 0, 1].tolist() == [1.5, 2.0, 2.5, 3.0, 3.5]
    assert not torch.equal(aligned, apart)
    torch.testing.assert_close(ResizeLogits(align_corners=True)(x, (3, 5)), aligned)
