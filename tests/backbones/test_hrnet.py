"""HRNet: counts of other implementations, sizes, and the exchange worked by hand."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.backbones.hrnet import (
    HRModule,
    HRNet,
    concatenate,
    hrnet_w18,
    hrnet_w18_small,
    hrnet_w32,
    hrnet_w48,
)
from segkit.outputs import Stages


def tiny(**options):
    torch.manual_seed(0)
    return HRNet(width=2, modules=(1, 1, 1), depth=1, **options)


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (hrnet_w18_small, 3_860_720),  # mmsegmentation 1.2.2, sssegmentation
        (hrnet_w18, 9_562_260),  # those and PaddleSeg
        (hrnet_w32, 29_305_536),  # timm 1.0.31's hrnet_w32 with head=""
        (hrnet_w48, 65_325_120),  # mmsegmentation, sssegmentation, PaddleSeg
    ],
)
def test_parameters_are_those_of_other_implementations(build, count):
    with torch.device("meta"):
        backbone = build()
    assert sum(p.numel() for p in backbone.parameters()) == count


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 47), (32, 32)])
def test_stages_have_the_strides_and_channels_they_announce(size):
    with torch.device("meta"):
        backbone = hrnet_w18_small().eval()
        features = backbone(torch.empty(1, 3, *size))
    assert isinstance(features, Stages)
    assert backbone.channels == Stages(c2=18, c3=36, c4=72, c5=144)
    assert backbone.strides == Stages(c2=4, c3=8, c4=16, c5=32)
    for feature, channels, stride in zip(
        features, backbone.channels, backbone.strides, strict=True
    ):
        expected = (1, channels, math.ceil(size[0] / stride), math.ceil(size[1] / stride))
        assert feature.shape == expected


@pytest.mark.parametrize("in_channels", [1, 4])
def test_images_of_other_than_three_channels(in_channels):
    backbone = tiny(in_channels=in_channels).eval()
    assert backbone(torch.randn(1, in_channels, 33, 47)).c5.shape == (1, 16, 2, 2)


def test_exchange_by_hand():
    module = HRModule((1, 2), depth=1).eval()
    for branch in module.branches:
        nn.init.zeros_(branch[0].bn2.weight)  # a residual block that adds nothing
    nn.init.ones_(module.paths[0][1].conv.weight)  # sums the two channels
    nn.init.ones_(module.paths[1][0][0].conv.weight)  # sums 3x3 pixels around each second one
    fine, coarse = torch.ones(1, 1, 5, 7), torch.full((1, 2, 3, 4), 2.0)

    fine, coarse = module([fine, coarse])
    torch.testing.assert_close(fine, torch.full((1, 1, 5, 7), 1.0 + 4.0), atol=1e-3, rtol=0)
    expected = torch.tensor([[4.0, 6, 6, 4], [6, 9, 9, 6], [4, 6, 6, 4]]) + 2.0
    torch.testing.assert_close(coarse, expected.expand(1, 2, 3, 4), atol=1e-3, rtol=0)


def test_every_branch_sees_every_other():
    module = HRModule((2, 4, 8, 16), depth=1).eval()
    maps = [
        torch.rand(1, 2 * 2**i, *size, requires_grad=True)
        for i, size in enumerate([(9, 12), (5, 6), (3, 3), (2, 2)])
    ]
    for fused in module(maps):
        seen = torch.autograd.grad(fused.sum(), maps, retain_graph=True)
        assert all(gradient.any() for gradient in seen)


def test_the_way_up_is_bilinear_or_nearest():
    step = torch.tensor([0.0, 4.0]).expand(1, 1, 2, 2)
    size = torch.Size((4, 4))
    rows = {
        kind: HRModule((1, 2), depth=1, upsampling=kind)._upsample(step, size)[0, 0, 0].tolist()
        for kind in ("bilinear", "nearest")
    }
    assert rows == {"bilinear": [0, 1, 3, 4], "nearest": [0, 0, 4, 4]}
    with pytest.raises(ValueError, match="'bilinear' or 'nearest'"):
        tiny(upsampling="bicubic")


@torch.no_grad()
def test_corners_may_be_aligned_everywhere():
    torch.manual_seed(0)
    images = torch.randn(1, 3, 64, 96)
    plain, aligned = tiny(), tiny(align_corners=True)
    aligned.load_state_dict(plain.state_dict())
    modules = [m for m in aligned.modules() if isinstance(m, HRModule)]
    assert len(modules) == 3
    x = torch.randn(1, 4, 4, 6)
    for module in modules:
        expected = F.interpolate(x, (8, 12), mode="bilinear", align_corners=True)
        assert torch.equal(module._upsample(x, torch.Size((8, 12))), expected)
    assert not torch.equal(plain.eval()(images).c2, aligned.eval()(images).c2)
    features = aligned(images)
    coarser = [
        F.interpolate(each, features.c2.shape[-2:], mode="bilinear", align_corners=True)
        for each in features[1:]
    ]
    expected = torch.cat([features.c2, *coarser], dim=1)
    assert torch.equal(concatenate(features, align_corners=True), expected)


def test_no_parameter_is_left_out():
    backbone = tiny()
    sum(x.sum() for x in backbone(torch.randn(2, 3, 33, 47))).backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


def test_concatenation_starts_with_c2_at_its_size():
    stages = Stages(*(torch.full((1, 1, n, n + 1), float(n)) for n in (7, 4, 2, 1)))
    whole = concatenate(stages)
    assert whole.shape == (1, 4, 7, 8)
    assert whole[0, :, 3, 3].tolist() == [7, 4, 2, 1]


def test_one_small_image_in_training_names_the_cure():
    with pytest.raises(ValueError, match="batch of 2 or more"):
        tiny()(torch.randn(1, 3, 32, 32))
