"""ResNet and VGG-16 are torchvision's: same layers, same names, same features."""

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from segkit.backbones import resnet, vgg
from segkit.outputs import Stages

RESNETS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def without_classifier(network):
    return {k: v for k, v in network.state_dict().items() if not k.startswith("fc.")}


@pytest.mark.parametrize("name", RESNETS)
def test_resnet_has_torchvisions_names_and_sizes(name):
    with torch.device("meta"):
        ours = getattr(resnet, name)()
        theirs = getattr(models, name)()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in without_classifier(theirs).items()
    }
    assert parameters(ours) == parameters(theirs) - parameters(theirs.fc)


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [("resnet18", 32), ("resnet50", 32), ("resnet50", 16), ("resnet50", 8)],
)
def test_resnet_gives_torchvisions_features(name, output_stride):
    torch.manual_seed(0)
    dilate = {32: [False, False, False], 16: [False, False, True], 8: [False, True, True]}
    theirs = getattr(models, name)(replace_stride_with_dilation=dilate[output_stride]).eval()
    ours = getattr(resnet, name)(output_stride=output_stride).eval()
    ours.load_state_dict(without_classifier(theirs))
    layers = {"layer1": "c2", "layer2": "c3", "layer3": "c4", "layer4": "c5"}
    images = torch.randn(1, 3, 65, 71)
    expected = create_feature_extractor(theirs, layers)(images)

    features = ours(images)

    for stage in Stages._fields:
        feature = getattr(features, stage)
        torch.testing.assert_close(feature, expected[stage], rtol=0, atol=0)
        stride = getattr(ours.strides, stage)
        channels = getattr(ours.channels, stage)
        assert feature.shape == (1, channels, -(-65 // stride), -(-71 // stride))
    assert ours.strides.c5 == output_stride


def test_resnet_stem_is_the_stride_2_feature():
    torch.manual_seed(0)
    model = resnet.resnet18().eval()
    images = torch.randn(1, 3, 33, 48)

    stem, stages = model.forward_with_stem(images)

    assert stem.shape == (1, model.stem_channels, 17, 24)
    torch.testing.assert_close(stem, model.bn1(model.conv1(images)).relu(), rtol=0, atol=0)
    for stage, expected in zip(stages, model(images), strict=True):
        torch.testing.assert_close(stage, expected, rtol=0, atol=0)


@pytest.mark.parametrize("build", [resnet.resnet18, vgg.vgg16])
def test_other_channel_counts(build):
    torch.manual_seed(0)
    features = build(in_channels=5).eval()(torch.randn(2, 5, 32, 40))
    assert features.c5.shape == (2, 512, 1, 2)
    assert features.c5.std() > 0.1


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet18_v1c"])
@pytest.mark.parametrize("output_stride", [16, 8])
def test_dilation_computes_the_pixels_of_the_strided_network(name, output_stride):
    strided = getattr(resnet, name)().double().eval()
    dilated = getattr(resnet, name)(output_stride=output_stride).double().eval()
    dilated.load_state_dict(strided.state_dict())
    images = torch.randn(1, 3, 65, 71, dtype=torch.float64)
    step = 32 // output_stride
    expected = strided(images).c5
    torch.testing.assert_close(dilated(images).c5[..., ::step, ::step], expected)


def dilations(stage):
    convs = [m for m in stage.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert all(m.padding == m.dilation for m in convs)
    assert all(m.stride == (1, 1) for m in stage.modules() if isinstance(m, nn.Conv2d))
    return [m.dilation[0] for m in convs]


def test_dilations_of_basic_blocks():
    model = resnet.resnet18(output_stride=8)
    assert dilations(model.layer3) == [1, 2, 2, 2]
    assert dilations(model.layer4) == [2, 4, 4, 4]
    model = resnet.resnet18(output_stride=8, dilate_first=True)
    assert dilations(model.layer3) == [2] * 4
    assert dilations(model.layer4) == [4] * 4


def test_multi_grid_multiplies_the_dilation_of_the_last_units():
    # DeepLabV3, section 3.2.1: at output stride 16, multi-grid (1, 2, 4) gives 2, 4 and 8.
    model = resnet.resnet50(output_stride=16, multi_grid=(1, 2, 4), dilate_first=True)
    assert dilations(model.layer4) == [2, 4, 8]
    assert dilations(resnet.resnet50(output_stride=16, multi_grid=(1, 2, 4)).layer4) == [1, 4, 8]
    model = resnet.resnet34(output_stride=8, multi_grid=(1, 2, 1), dilate_first=True)
    assert dilations(model.layer4) == [4, 4, 8, 8, 4, 4]
    assert model.eval()(torch.zeros(1, 3, 33, 40)).c5.shape == (1, 512, 5, 5)


def test_multi_grid_needs_three_units():
    with pytest.raises(ValueError, match=r"multi_grid is \(1, 2, 4\), but the last stage has 2"):
        resnet.resnet18(multi_grid=(1, 2, 4))


@pytest.mark.parametrize("form", ["v1c", "vd"])
@pytest.mark.parametrize(
    ("depth", "count"),
    # The models of mmsegmentation 1.2.2 (R18-V1c, R50-V1c, R101-V1c) without their heads.
    [(18, 11_195_744), (50, 23_527_264), (101, 42_519_392)],
)
def test_deep_stems_have_the_counts_of_the_releases(depth, form, count):
    with torch.device("meta"):
        model = getattr(resnet, f"resnet{depth}_{form}")()
    assert parameters(model) == count
    assert model.stem_channels == 64
    names = set(model.state_dict())
    assert {"conv1.0.conv.weight", "conv1.1.bn.bias", "conv1.2.weight", "bn1.weight"} < names


def test_pooled_shortcuts_average_two_by_two_pixels():
    model = resnet.resnet18_vd().eval()
    shortcut = model.layer2[0].downsample
    x = torch.randn(1, 64, 5, 4)
    pooled = torch.stack([x[..., :4, i::2].unflatten(2, (2, 2)).mean(3) for i in (0, 1)]).mean(0)
    last = x[..., 4:, :].unflatten(3, (2, 2)).mean(4)  # the odd row is not mixed with padding
    torch.testing.assert_close(shortcut[0](x), torch.cat([pooled, last], dim=2))
    assert shortcut[1].stride == (1, 1)
    assert not any(isinstance(m, nn.AvgPool2d) for m in model.layer1.modules())


@pytest.mark.parametrize("form", ["v1c", "vd"])
@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_deep_resnets_have_the_sizes_they_announce(form, output_stride):
    with torch.device("meta"):
        model = getattr(resnet, f"resnet50_{form}")(output_stride=output_stride, in_channels=4)
        stem, stages = model.forward_with_stem(torch.empty(2, 4, 33, 47))
    assert stem.shape == (2, 64, 17, 24)
    for feature, channels, stride in zip(stages, model.channels, model.strides, strict=True):
        assert feature.shape == (2, channels, -(-33 // stride), -(-47 // stride))


def test_unknown_output_stride():
    with pytest.raises(ValueError, match="output_stride is 4; it may be 8, 16 or 32"):
        resnet.resnet50(output_stride=4)


def test_batch_of_one_value_names_layer_and_cure():
    model = resnet.resnet18()
    image = torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match="layer4 has one value per channel.*batch of 2"):
        model(image)
    assert model(image.repeat(2, 1, 1, 1)).c5.shape == (2, 512, 1, 1)
    assert model(torch.randn(1, 3, 32, 33)).c5.shape == (1, 512, 1, 2)
    assert resnet.resnet50(output_stride=16)(image).c5.shape == (1, 2048, 2, 2)
    for module in model.modules():  # frozen batch normalisation has nothing to complain about
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    assert model(image).c5.shape == (1, 512, 1, 1)


def test_vgg_gives_torchvisions_features():
    torch.manual_seed(0)
    ours = vgg.vgg16().eval()
    theirs = models.VGG(models.vgg.make_layers(models.vgg.cfgs["D"]), init_weights=False).features
    theirs.load_state_dict(ours.features.state_dict())
    images = torch.randn(1, 3, 64, 96)
    pools, x = [], images
    for layer in theirs:
        x = layer(x)
        if isinstance(layer, nn.MaxPool2d):
            pools.append(x)

    features = ours(images)

    assert parameters(ours) == 14_714_688
    for feature, expected, channels in zip(features, pools[1:], ours.channels, strict=True):
        torch.testing.assert_close(feature, expected, rtol=0, atol=0)
        assert feature.shape[1] == channels


def test_vgg_rounds_sizes_up():
    features = vgg.vgg16().eval()(torch.zeros(1, 3, 33, 100))
    assert [f.shape[-2:] for f in features] == [(9, 25), (5, 13), (3, 7), (2, 4)]


def test_vgg_keeps_the_size_of_activations():
    torch.manual_seed(0)
    with torch.no_grad():
        features = vgg.vgg16()(torch.randn(1, 3, 64, 64))
    assert all(0.5 < f.std() < 4 for f in features)
