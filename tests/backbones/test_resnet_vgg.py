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


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_basic_blocks_refuse_dilation(name):
    with pytest.raises(ValueError, match=rf"{name} has basic blocks.*output_stride is 8.*resnet50"):
        getattr(resnet, name)(output_stride=8)


def test_unknown_output_stride():
    with pytest.raises(ValueError, match="output_stride is 4; it may be 8, 16 or 32"):
        resnet.resnet50(output_stride=4)


def test_weights_enum_is_loaded_without_the_classifier(monkeypatch):
    torch.manual_seed(0)
    resnet_state, vgg_state = models.resnet18().state_dict(), {}
    vgg_state = {f"features.{k}": v for k, v in vgg.vgg16().features.state_dict().items()}
    vgg_state["classifier.0.weight"] = torch.zeros(1)
    states = {"ResNet18_Weights": resnet_state, "VGG16_Weights": vgg_state}
    asked = []

    def no_download(self, **arguments):
        asked.append(arguments)
        return states[type(self).__name__]

    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", no_download)
    ours = resnet.resnet18(weights=models.ResNet18_Weights.IMAGENET1K_V1)
    assert torch.equal(ours.layer4[1].conv2.weight, resnet_state["layer4.1.conv2.weight"])
    ours = vgg.vgg16(weights=models.VGG16_Weights.IMAGENET1K_V1)
    assert torch.equal(ours.features[28].weight, vgg_state["features.28.weight"])
    assert asked == [{"check_hash": True, "weights_only": True}] * 2


@pytest.mark.parametrize(
    ("build", "weights"),
    [
        (resnet.resnet18, models.ResNet18_Weights.DEFAULT),
        (vgg.vgg16, models.VGG16_Weights.DEFAULT),
    ],
)
def test_weights_for_rgb_refuse_other_channels(build, weights):
    with pytest.raises(ValueError, match="in_channels is 1"):
        build(in_channels=1, weights=weights)


def test_weights_of_another_network_are_refused():
    with pytest.raises(TypeError, match="ResNet18_Weights"):
        resnet.resnet18(weights=models.ResNet50_Weights.DEFAULT)


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
