"""Stages of backbones: how far from the head each weight is."""

import pytest
import torch
from torch import nn

from segkit.backbones import BACKBONES, create_backbone
from segkit.backbones.stages import stage_depths
from segkit.outputs import Stages


def depths_by(name, cut):
    """The depths of a backbone on meta, of each part of its weights' names."""
    with torch.device("meta"):
        backbone = create_backbone(name)
    found = {}
    for weight, depth in stage_depths(backbone).items():
        found.setdefault(".".join(weight.split(".")[:cut]), set()).add(depth)
    return found


def test_resnet():
    assert depths_by("resnet18", 1) == {
        "conv1": {5}, "bn1": {5}, "layer1": {4}, "layer2": {3}, "layer3": {2}, "layer4": {1},
    }  # fmt: skip


def test_mit():
    assert depths_by("mit_b0", 2) == {f"stages.{i}": {4 - i} for i in range(4)}


def test_mobilenet_v2():
    ends = [2, 4, 7, 14, 18]
    expected = {f"features.{i}": {5 - sum(i >= end for end in ends)} for i in range(18)}
    assert depths_by("mobilenet_v2", 2) == expected


def test_hrnet():
    assert depths_by("hrnet_w18_small", 1) == {
        "stem": {5}, "stage1": {4}, "enter": {3}, "down2": {3}, "stage2": {3}, "down3": {2},
        "stage3": {2}, "down4": {1}, "stage4": {1},
    }  # fmt: skip


def test_timm():
    pytest.importorskip("timm", reason="pip install 'segbook[timm]'")
    found = depths_by("timm:convnext_atto", 2)
    assert found == {"network.stem_0": {4}, "network.stem_1": {4}} | {
        f"network.stages_{i}": {4 - i} for i in range(4)
    }


@pytest.mark.parametrize(
    "name", ["resnet50_vd", "stdc1", "vgg16", "vgg16_atrous", "vit_b_16", "xception41"]
)
def test_depths_fall_from_the_image_to_the_head(name):
    with torch.device("meta"):
        found = list(stage_depths(BACKBONES[name]()).values())
    assert found == sorted(found, reverse=True)
    assert set(found) >= {1, 2, 3, 4}


class Small(nn.Module):
    """Two convolutions; a frozen one, and one with a weight that is in no map."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 2, 3, stride=4, padding=1), nn.BatchNorm2d(2))
        self.last = nn.Conv2d(2, 2, 3, stride=8, padding=1)
        self.unused = nn.Parameter(torch.zeros(1))
        self.first.requires_grad_(False)

    def forward(self, images):
        x = self.first(images)
        return Stages(x, x, x, self.last(x))


def test_the_backbone_stays_as_it_is():
    backbone = Small()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    state = torch.get_rng_state()
    found = stage_depths(backbone)
    assert found == {
        "unused": 1, "first.0.weight": 4, "first.0.bias": 4, "first.1.weight": 4, "first.1.bias": 4,
        "last.weight": 1, "last.bias": 1,
    }  # fmt: skip
    assert backbone.training
    assert not backbone.first[0].weight.requires_grad
    assert backbone.last.weight.requires_grad
    assert backbone.last.weight.grad is None
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
