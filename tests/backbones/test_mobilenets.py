"""MobileNets V1, V2 and V3 against the counts of their releases and the tables of their papers."""

import pytest
import torch
from torch import nn
from torchvision import models

from segkit.backbones.mobilenet_v1 import mobilenet_v1
from segkit.backbones.mobilenet_v2 import mobilenet_v2
from segkit.backbones.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from segkit.outputs import Stages

ALL = [mobilenet_v1, mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small]


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("build", "options", "count"),
    [
        # timm's mobilenetv1_100 without its classifier, 4,231,976 - 1,025,000.
        (mobilenet_v1, {}, 3_206_976),
        (mobilenet_v2, {}, 1_811_712),  # mmsegmentation's backbone
        (mobilenet_v2, {"last_conv": True}, 2_223_872),  # segmentation-models-pytorch's encoder
        (mobilenet_v3_large, {}, 2_971_952),  # torchvision's deeplabv3_mobilenet_v3_large
        (mobilenet_v3_small, {}, 927_008),  # mmsegmentation's backbone
    ],
)
def test_parameters_are_those_of_the_releases(build, options, count):
    with torch.device("meta"):
        assert parameters(build(**options)) == count


@pytest.mark.slow
@pytest.mark.parametrize("build", ALL)
@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("size", [(64, 96), (33, 47)])
def test_features_have_the_sizes_they_announce(build, output_stride, size):
    with torch.device("meta"):
        model = build(output_stride=output_stride, in_channels=4)
        stem, stages = model.forward_with_stem(torch.empty(2, 4, *size))
    assert isinstance(stages, Stages)
    assert model.strides.c5 == output_stride
    channels, strides = (model.stem_channels, *model.channels), (2, *model.strides)
    for feature, width, stride in zip((stem, *stages), channels, strides, strict=True):
        assert feature.shape == (2, width, -(-size[0] // stride), -(-size[1] // stride))


@pytest.mark.parametrize(
    ("build", "channels"),
    [
        (mobilenet_v1, (64, 128, 256, 512, 1024)),  # Table 1
        (mobilenet_v2, (16, 24, 32, 96, 320)),  # Table 2
        (mobilenet_v3_large, (16, 24, 40, 112, 960)),  # Table 1
        (mobilenet_v3_small, (16, 16, 24, 48, 576)),  # Table 2
    ],
)
def test_channels_are_those_of_the_papers(build, channels):
    with torch.device("meta"):
        model = build()
    assert (model.stem_channels, *model.channels) == channels


@pytest.mark.parametrize("build", ALL)
@pytest.mark.parametrize("output_stride", [16, 8])
@torch.no_grad()
def test_dilation_computes_the_pixels_of_the_strided_network(build, output_stride):
    # Squeeze-and-excitation looks at the whole map, whose mean dilation does change.
    strided, dilated = build(), build(output_stride=output_stride)
    dilated.load_state_dict(strided.state_dict())
    for model in (strided, dilated):
        model.double().eval()
        for name, module in list(model.named_modules()):
            if "SqueezeExcitation" in type(module).__name__:
                parent, _, child = name.rpartition(".")
                setattr(model.get_submodule(parent), child, nn.Identity())
    images = torch.randn(1, 3, 65, 71, dtype=torch.float64)
    step = 32 // output_stride
    expected = strided(images).c5
    assert expected.std() > 0
    torch.testing.assert_close(dilated(images).c5[..., ::step, ::step], expected)


@pytest.mark.parametrize("build", [mobilenet_v3_large, mobilenet_v3_small])
def test_dilate_first_is_torchvisions_rule(build):
    def geometry(features):
        convs = [m for m in features.modules() if isinstance(m, nn.Conv2d)]
        return [(m.kernel_size, m.stride, m.dilation, m.padding) for m in convs]

    with torch.device("meta"):
        theirs = geometry(getattr(models, build.__name__)(dilated=True).features)
        assert geometry(build(output_stride=16, dilate_first=True).features) == theirs
        assert geometry(build(output_stride=16).features) != theirs


def test_width_multiplies_the_channels():
    with torch.device("meta"):
        half = mobilenet_v1(width=0.5)
    assert (half.stem_channels, *half.channels) == (32, 64, 128, 256, 512)
    # Section 3.3: about alpha squared; depthwise convolutions and normalisation only by alpha.
    assert 0.25 < parameters(half) / 3_206_976 < 0.27
    with pytest.raises(ValueError, match=r"width is 0.*1, 0\.75"):
        mobilenet_v1(width=0)


def test_features_after_the_first_block_of_a_stage():
    model = mobilenet_v3_large(after_first=True).eval()
    assert model.channels == Stages(24, 40, 80, 960)
    images = torch.randn(1, 3, 64, 64)
    late = mobilenet_v3_large().eval()
    late.load_state_dict(model.state_dict())
    early, late = model(images), late(images)
    assert [f.shape[1:] for f in early[:3]] == [(24, 16, 16), (40, 8, 8), (80, 4, 4)]
    assert torch.equal(early.c5, late.c5)
    assert not torch.equal(early.c3, late.c3)


def test_a_reduced_tail_has_half_the_channels_and_no_weights():
    with torch.device("meta"):
        assert mobilenet_v3_large(reduced_tail=True).channels.c5 == 480
        assert mobilenet_v3_large(reduced_tail=True, last_conv=False).channels.c5 == 80
        assert mobilenet_v3_small(reduced_tail=True).channels.c5 == 288
    with pytest.raises(ValueError, match="reduced_tail=False"):
        mobilenet_v3_large(reduced_tail=True, weights="IMAGENET1K_V1")


@pytest.mark.parametrize("build", ALL)
def test_every_parameter_learns(build):
    model = build()
    features = model(torch.randn(2, 3, 33, 47))
    sum(f.square().sum() for f in features).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("build", ALL)
def test_batch_of_one_value_names_the_cure(build):
    model = build()
    with pytest.raises(ValueError, match=r"one value per channel.*stride 32.*batch of 2 or more"):
        model(torch.randn(1, 3, 32, 32))
    assert model(torch.randn(1, 3, 32, 33)).c5.shape[2:] == (1, 2)
    assert model.eval()(torch.randn(1, 3, 32, 32)).c5.shape[2:] == (1, 1)


def test_unknown_output_stride():
    with pytest.raises(ValueError, match="output_stride is 4; it may be 8, 16 or 32"):
        mobilenet_v2(output_stride=4)
