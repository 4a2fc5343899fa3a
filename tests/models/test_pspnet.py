"""PSPNet: widths, grids, the auxiliary head, and the forward pass written out."""

import pytest
import torch
from torch.nn import functional as F

from segkit.backbones.resnet import resnet18
from segkit.models import pspnet
from segkit.models.pspnet import PSPNet


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("build", "backbone"),
    [(pspnet.pspnet_resnet50, 23_508_032), (pspnet.pspnet_resnet101, 42_500_160)],
)
def test_parameters(build, backbone):
    """By submodule as mmsegmentation 1.2.2, pspnet_r50-d8-rsb, whose stem is torchvision's too."""
    with torch.device("meta"):
        model = build(num_classes=19)
    assert parameters(model.backbone) == backbone
    assert parameters(model.pyramid) + parameters(model.head) == 23_083_539
    assert parameters(model.aux_head) == 2_364_691
    assert parameters(model) == backbone + 23_083_539 + 2_364_691


def test_the_grids_of_the_paper():
    with torch.device("meta"):
        model = pspnet.pspnet_resnet50(num_classes=19)
        features = model.pyramid(torch.empty(2, 2048, 60, 60))
    assert model.pyramid.bins == (1, 2, 3, 6)
    assert [conv.conv.out_channels for conv in model.pyramid.convs] == [512] * 4  # a quarter each
    assert features.shape == (2, 4096, 60, 60)
    assert tuple(model.backbone.strides) == (4, 8, 8, 8)
    assert model.aux_losses["c4"].weight == 0.4
    assert model.head[3].p == 0.1


def test_paddleseg_is_wider():
    """Its head: 44,336,678 with a bias in front of each of six normalisations, and two heads."""
    with torch.device("meta"):
        model = pspnet.pspnet_resnet50(num_classes=19, channels=1024)
    own = parameters(model) - parameters(model.backbone)
    biases = 4 * 512 + 1024 + 256
    assert 44_336_678 - own <= biases
    assert model.head[0].out_channels == 1024


@torch.no_grad()
def test_forward_written_out():
    torch.manual_seed(0)
    model = PSPNet(resnet18(), num_classes=3, channels=16, bins=(1, 2)).eval()
    images = torch.randn(1, 3, 70, 101)
    c5 = model.backbone(images).c5
    parts = [c5]
    for size, conv in zip((1, 2), model.pyramid.convs, strict=True):
        x = F.adaptive_avg_pool2d(c5, size)
        x = F.relu(conv.bn(F.conv2d(x, conv.conv.weight)))
        parts.append(F.interpolate(x, c5.shape[-2:], mode="bilinear"))
    x = torch.cat(parts, dim=1)
    assert x.shape[1] == 2 * 512
    x = F.relu(model.head[1](F.conv2d(x, model.head[0].weight, padding=1)))
    x = F.conv2d(x, model.head[4].weight, model.head[4].bias)
    expected = F.interpolate(x, (70, 101), mode="bilinear")
    torch.testing.assert_close(model(images).logits, expected)


def test_aux_is_trained_only_and_may_be_left_out():
    model = PSPNet(resnet18(), num_classes=3, channels=16)
    images = torch.randn(2, 3, 33, 47)
    assert model(images).aux["c4"].shape == (2, 3, 3, 3)
    assert model.eval()(images).aux == {}
    bare = PSPNet(resnet18(), num_classes=3, channels=16, aux=False)
    assert bare(images).aux == bare.aux_losses == {}


def test_errors():
    with pytest.raises(ValueError, match="num_classes is 1"), torch.device("meta"):
        pspnet.pspnet_resnet50(num_classes=1)
    model = PSPNet(resnet18(), num_classes=3, channels=16)
    with pytest.raises(ValueError, match="batch of 2 or more"):
        model(torch.randn(1, 3, 96, 96))


def test_starts_with_unit_variance():
    torch.manual_seed(0)
    model = PSPNet(resnet18(), num_classes=3)
    conv = model.head[0]
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 1024)) ** 0.5, rel=0.02)
    assert not model.head[4].bias.any()
