"""Backbones by name, ours and timm's."""

import re
import sys

import pytest
import torch

from segkit.backbones import BACKBONES, create_backbone
from segkit.outputs import Stages


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BACKBONES))
def test_every_name_gives_a_backbone_for_any_channels(name):
    assert BACKBONES[name].__name__ == name
    with torch.device("meta"):
        model = create_backbone(name, in_channels=4).eval()
        stages = model(torch.empty(1, 4, 64, 96))
    assert isinstance(stages, Stages)
    for feature, channels, stride in zip(stages, model.channels, model.strides, strict=True):
        assert feature.shape == (1, channels, 64 // stride, 96 // stride)


def test_names_are_sorted():
    assert list(BACKBONES) == sorted(BACKBONES)


def test_options_reach_the_builder():
    with torch.device("meta"):
        assert create_backbone("resnet18", output_stride=8).strides == Stages(4, 8, 8, 8)
    with pytest.raises(ValueError, match="takes no output_strides.*no backbone does.*takes in_ch"):
        create_backbone("resnet18", output_strides=8)


@pytest.mark.parametrize("name", BACKBONES)
def test_an_output_stride_is_given_or_refused_with_alternatives(name):
    with torch.device("meta"):
        try:
            assert create_backbone(name, output_stride=16).strides == Stages(4, 8, 16, 16)
        except ValueError as error:
            others = re.search("those that do are (.*)\\. Leave it out", str(error))[1].split(", ")
            assert name not in others
            assert create_backbone(others[-1], output_stride=16).strides.c5 == 16


def test_unknown_names_are_answered_with_the_closest():
    with pytest.raises(ValueError, match=r"named 'resnet-18'; the closest names are resnet18, "):
        create_backbone("resnet-18")


def test_timm_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install 'segbook\[timm\]'"):
        create_backbone("timm:resnet18")


ENCODERS = {
    "resnet18": (4, 8, 16, 32),
    "convnext_atto": (4, 8, 16, 32),
    "mobilenetv3_small_050": (4, 8, 16, 32),
    "efficientnet_b0": (4, 8, 16, 32),
    "swin_tiny_patch4_window7_224": (4, 8, 16, 32),
    "hrnet_w18_small": (4, 8, 16, 32),
    "vit_tiny_patch16_224": (16, 16, 16, 16),
}


@pytest.fixture
def timm():
    return pytest.importorskip("timm", reason="pip install 'segbook[timm]'")


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_of_timm(timm, name):
    model = create_backbone(f"timm:{name}", in_channels=4)
    assert model.strides == Stages(*ENCODERS[name])
    for size in [(64, 96), (33, 47)]:
        stages = model(torch.randn(2, 4, *size))
        for feature, channels, stride in zip(stages, model.channels, model.strides, strict=True):
            assert feature.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))
    sum(f.square().sum() for f in stages).backward()
    assert [k for k, p in model.named_parameters() if p.grad is None] == []


@torch.no_grad()
def test_features_are_timms(timm):
    for name in ("resnet18", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"):
        ours = create_backbone(f"timm:{name}").eval()
        images = torch.randn(1, 3, 64, 96)
        theirs = ours.network(images)
        for feature, expected in zip(ours(images), theirs[-4:], strict=True):
            if name.startswith("swin"):
                expected = expected.permute(0, 3, 1, 2)
            torch.testing.assert_close(feature, expected, rtol=0, atol=0)
    depths = [path for path in ours.network.feature_info.module_name()]
    assert depths == ["blocks.2", "blocks.5", "blocks.8", "blocks.11"]  # a quarter each


@torch.no_grad()
def test_padding_is_at_the_right_and_the_bottom(timm):
    model = create_backbone("timm:resnet18").eval()
    images = torch.randn(1, 3, 40, 50)
    whole = torch.zeros(1, 3, 64, 64)
    whole[..., :40, :50] = images
    torch.testing.assert_close(model(images).c3, model(whole).c3[..., :5, :7])


def test_the_stem_where_there_is_one(timm):
    model = create_backbone("timm:efficientnet_b0").eval()
    stem, stages = model.forward_with_stem(torch.zeros(1, 3, 33, 47))
    assert stem.shape == (1, model.stem_channels, 17, 24)
    assert stages.c5.shape == (1, 320, 2, 2)
    model = create_backbone("timm:convnext_atto").eval()
    assert model.stem_channels == 0
    with pytest.raises(ValueError, match="first feature has stride 4"):
        model.forward_with_stem(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("output_stride", [16, 8])
def test_dilation_where_timm_can(timm, output_stride):
    model = create_backbone("timm:resnet18", output_stride=output_stride).eval()
    assert model.strides == Stages(4, 8, min(16, output_stride), output_stride)
    assert model(torch.zeros(1, 3, 33, 64)).c5.shape[-1] == 64 // output_stride
    for name in ("swin_tiny_patch4_window7_224", "hrnet_w18_small"):
        with pytest.raises(ValueError, match=f"timm cannot dilate {name}"):
            create_backbone(f"timm:{name}", output_stride=output_stride)


def test_encoders_that_cannot_be_a_backbone(timm):
    with pytest.raises(ValueError, match=r"levit_128s gives features at strides \[16, 32, 64\]"):
        create_backbone("timm:levit_128s")
    with pytest.raises(ValueError, match="no encoder named 'resnet19'; the closest names are res"):
        create_backbone("timm:resnet19")


def test_batch_of_one_value_names_the_cure(timm):
    model = create_backbone("timm:resnet18")
    with pytest.raises(ValueError, match="batch of 2 or more"):
        model(torch.zeros(1, 3, 32, 32))
    assert create_backbone("timm:convnext_atto")(torch.zeros(1, 3, 32, 32)).c5.shape[2:] == (1, 1)
