"""DeepLab-LargeFOV: the count of the paper, its rates, and what VGG's weights still compute."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.backbones.vgg_atrous import vgg16_atrous
from segkit.models.deeplab_v1 import DeepLabV1, deeplab_v1_vgg16


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_parameters_are_the_papers():
    """Table 2 of the paper: 20.5 M at 21 classes."""
    with torch.device("meta"):
        model = deeplab_v1_vgg16(num_classes=21)
    assert parameters(model.backbone) == 14_714_688
    assert parameters(model.fc6) == 512 * 1024 * 9 + 1024
    assert parameters(model.fc7) == 1024 * 1024 + 1024
    assert parameters(model.head) == 1024 * 21 + 21
    assert parameters(model) == 20_505_429


def test_layers_are_the_papers():
    with torch.device("meta"):
        model = deeplab_v1_vgg16(num_classes=21)
    convs = [m for m in model.backbone.features if isinstance(m, nn.Conv2d)]
    assert [conv.dilation[0] for conv in convs] == [1] * 10 + [2] * 3
    pools = [m for m in model.backbone.features if isinstance(m, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride, p.padding) for p in pools] == [(3, 2, 1)] * 3 + [
        (3, 1, 1)
    ] * 2
    assert model.fc6.dilation == (12, 12)
    assert model.dropout.p == 0.5


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (57, 65)])
def test_sizes(size):
    torch.manual_seed(0)
    model = DeepLabV1(vgg16_atrous(), num_classes=3, channels=16).eval()
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        output = model(images)
        features = model.backbone(images)
    assert output.logits.shape == (1, 3, *size)
    assert output.aux == {}
    for feature, stride in zip(features, model.backbone.strides, strict=True):
        assert feature.shape[-2:] == (-(-size[0] // stride), -(-size[1] // stride))


def test_scores_lie_on_every_eighth_pixel():
    torch.manual_seed(0)
    model = DeepLabV1(vgg16_atrous(), num_classes=3, channels=16).eval()
    seen = []
    model.head.register_forward_hook(lambda m, a, scores: seen.append(scores))
    with torch.no_grad():
        logits = model(torch.randn(1, 3, 41, 57)).logits
    torch.testing.assert_close(logits[..., ::8, ::8], seen[0])


def test_forward_written_out():
    """The released prototxt, layer by layer."""
    torch.manual_seed(0)
    model = DeepLabV1(vgg16_atrous(), num_classes=3, channels=16).double().eval()
    images = torch.randn(1, 3, 41, 49, dtype=torch.float64)
    convs = iter([m for m in model.backbone.features if isinstance(m, nn.Conv2d)])
    x = images
    for number, (depth, pool_stride) in enumerate([(2, 2), (2, 2), (3, 2), (3, 1), (3, 1)], 1):
        rate = 2 if number == 5 else 1
        for _ in range(depth):
            conv = next(convs)
            x = F.relu(F.conv2d(x, conv.weight, conv.bias, padding=rate, dilation=rate))
        x = F.max_pool2d(x, 3, pool_stride, 1)
    x = F.avg_pool2d(x, 3, 1, 1)
    x = F.relu(F.conv2d(x, model.fc6.weight, model.fc6.bias, padding=12, dilation=12))
    x = F.relu(F.conv2d(x, model.fc7.weight, model.fc7.bias))
    x = F.conv2d(x, model.head.weight, model.head.bias)
    expected = F.interpolate(x, (41, 49), mode="bilinear", align_corners=True)
    assert expected.std() > 1e-3
    torch.testing.assert_close(model(images).logits, expected, rtol=0, atol=1e-9)


def test_options_and_refusals():
    with torch.device("meta"):
        model = deeplab_v1_vgg16(num_classes=3, in_channels=4, rate=4)
        assert model.fc6.dilation == (4, 4)
        assert model.backbone.features[0].in_channels == 4
        with pytest.raises(ValueError, match="num_classes is 1"):
            deeplab_v1_vgg16(num_classes=1)
