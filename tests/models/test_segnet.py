"""SegNet: unpooling, the encoder's mirror image, and the counts."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import vgg16_bn

from segkit.models.segnet import SegNet, segnet, unpool


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_counts_by_module():
    """PaddleSeg's, but for its third convolution at stride 2: 128 * 128 * 9 + 3 * 128."""
    with torch.device("meta"):
        model = segnet(num_classes=19)
    assert parameters(model.features) == 38_976 + 221_952 + 1_476_864 + 5_902_848 + 7_082_496
    decoder = [parameters(m) for m in model.decoder]
    extra = 128 * 128 * 9 + 3 * 128
    assert decoder == [7_082_496, 5_902_080, 1_476_480, 369_600 - extra, 48_019 - 10_963]
    assert parameters(model.head) == 10_963
    assert parameters(model) == 29_601_811 - extra == 29_453_971


def test_encoder_and_decoder_mirror_each_other():
    with torch.device("meta"):
        model = segnet(num_classes=5)
    down = [(m.in_channels, m.out_channels) for m in model.features if isinstance(m, nn.Conv2d)]
    up = [(m.in_channels, m.out_channels) for m in model.decoder.modules() if type(m) is nn.Conv2d]
    assert len(down) == 13
    assert [*up, (64, 3)] == [(o, i) for i, o in reversed(down)]


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (5, 4)])
def test_unpooling_is_torchs(size):
    x = torch.randn(2, 3, *size)
    x, indices = F.max_pool2d(x, 2, return_indices=True, ceil_mode=True)
    values = torch.randn_like(x)
    expected = F.max_unpool2d(values, indices, 2, output_size=size)
    assert torch.equal(unpool(values, indices, size), expected)


def test_unpooling_by_hand():
    plane = torch.tensor([[[[1.0, 9.0, 2.0], [3.0, 4.0, 8.0], [7.0, 5.0, 6.0]]]])
    x, indices = F.max_pool2d(plane, 2, return_indices=True, ceil_mode=True)
    expected = torch.tensor([[[[0.0, 9.0, 0.0], [0.0, 0.0, 8.0], [7.0, 0.0, 6.0]]]])
    assert torch.equal(unpool(x, indices, (3, 3)), expected)


def test_unpooling_is_deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        x = torch.randn(1, 2, 5, 7)
        x, indices = F.max_pool2d(x, 2, return_indices=True, ceil_mode=True)
        assert unpool(x, indices, (5, 7)).shape == (1, 2, 5, 7)
    finally:
        torch.use_deterministic_algorithms(False)


@torch.no_grad()
def test_encoder_is_torchvisions_and_decoder_is_written_out():
    torch.manual_seed(0)
    model = segnet(num_classes=3).eval()
    reference = vgg16_bn().features.eval()
    reference.load_state_dict(model.features.state_dict())
    images = torch.randn(1, 3, 64, 32)
    x, pools = images, []
    for layer in reference:
        if isinstance(layer, nn.MaxPool2d):
            size = x.shape
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            pools.append((indices, size))
        else:
            x = layer(x)
    for convs in model.decoder:
        indices, size = pools.pop()
        x = F.max_unpool2d(x, indices, 2, output_size=size)
        for conv in convs:
            x = F.relu(conv.bn(conv.conv(x)))
    expected = F.conv2d(x, model.head.weight, model.head.bias, padding=1)
    torch.testing.assert_close(model(images).logits, expected)


def test_imagenet_weights_reach_the_encoder(monkeypatch):
    state = vgg16_bn().state_dict()
    weights = "torchvision.models.VGG16_BN_Weights.get_state_dict"
    monkeypatch.setattr(weights, lambda self, **_: dict(state))
    model = segnet(num_classes=2, weights_backbone="IMAGENET1K_V1")
    assert torch.equal(model.features[0].weight, state["features.0.weight"])
    assert torch.equal(model.features[41].running_var, state["features.41.running_var"])
    grey = segnet(num_classes=2, in_channels=1, weights_backbone="IMAGENET1K_V1")
    assert torch.equal(grey.features[0].weight, state["features.0.weight"].sum(dim=1, keepdim=True))


def test_segnet_refuses():
    with torch.device("meta"):
        with pytest.raises(ValueError, match="num_classes is 1"):
            SegNet(num_classes=1)
        with pytest.raises(ValueError, match="IMAGENET1K_V1"):
            segnet(num_classes=2, weights_backbone="imagenet")
