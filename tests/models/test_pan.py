"""PAN: its two modules by hand, its widths, and images of any size."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.backbones.resnet import resnet18
from segkit.models import pan
from segkit.models.pan import PAN, FeaturePyramidAttention, GlobalAttentionUpsample


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("build", "backbone"), [(pan.pan_resnet50, 23_508_032), (pan.pan_resnet101, 42_500_160)]
)
def test_parameters(build, backbone):
    """By submodule as smp 0.6.0, PAN on resnet50 at 19 classes: 24,265,018 in total."""
    with torch.device("meta"):
        model = build(num_classes=19)
    decoder = [model.fpa, model.gau4, model.gau3, model.gau2]
    assert parameters(model.backbone) == backbone
    assert sum(map(parameters, decoder)) == 751_495
    assert parameters(model.head) == 5_491
    assert tuple(model.backbone.strides) == (4, 8, 16, 16)


def test_kernels_of_the_pyramid():
    fpa = FeaturePyramidAttention(4, 2)
    down = [conv.conv.kernel_size[0] for conv in (fpa.down1, fpa.down2, fpa.down3)]
    assert down == [conv.conv.kernel_size[0] for conv in (fpa.up1, fpa.up2, fpa.up3)] == [7, 5, 3]


@torch.no_grad()
def test_feature_pyramid_attention_written_out():
    torch.manual_seed(0)
    fpa = FeaturePyramidAttention(4, 2).eval()
    x = torch.randn(2, 4, 16, 24)

    def up(x):
        return F.interpolate(x, scale_factor=2.0, mode="bilinear")

    one = fpa.down1(F.max_pool2d(x, 2))
    two = fpa.down2(F.max_pool2d(one, 2))
    three = fpa.down3(F.max_pool2d(two, 2))
    assert three.shape == (2, 1, 2, 3)
    attention = up(fpa.up1(one) + up(fpa.up2(two) + up(fpa.up3(three))))
    expected = fpa.pixel(x) * attention + fpa.image(x.mean((2, 3), keepdim=True))
    torch.testing.assert_close(fpa(x), expected)


@torch.no_grad()
@pytest.mark.parametrize(
    ("gate", "weights"), [(nn.ReLU(), [3.0, 0.0]), (nn.Sigmoid(), [0.9526, 0.0474])]
)
def test_the_deeper_mean_weighs_the_channels_of_the_shallower(gate, weights):
    gau = GlobalAttentionUpsample(2, 2, gate=gate).eval()
    for conv in (gau.weigh, gau.low):
        conv.bn.eps = 0.0
        nn.init.zeros_(conv.conv.bias)
        nn.init.dirac_(conv.conv.weight)
    high = torch.tensor([[1.0, 5.0], [-5.0, -1.0]]).reshape(1, 2, 1, 2)  # means 3 and -3
    low = torch.ones(1, 2, 2, 4)
    expected = F.interpolate(high, (2, 4), mode="bilinear")
    expected = expected + torch.tensor(weights).reshape(1, 2, 1, 1)
    torch.testing.assert_close(gau(low, high), expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_halving_rounds_up_and_never_ends_at_nothing(size):
    x = torch.randn(1, 1, size, size)
    assert pan.halve(x).shape[-1] == (size + 1) // 2
    assert FeaturePyramidAttention(1, 2).eval()(x).shape == (1, 2, size, size)


def test_gates_and_errors():
    with torch.device("meta"):
        assert isinstance(pan.pan_resnet50(num_classes=3).gau4.gate, nn.ReLU)
        assert isinstance(pan.pan_resnet50(num_classes=3, gate="sigmoid").gau2.gate, nn.Sigmoid)
        with pytest.raises(ValueError, match="gate is 'softmax'.*'relu'"):
            pan.pan_resnet50(num_classes=3, gate="softmax")
        with pytest.raises(ValueError, match="num_classes is 1"):
            pan.pan_resnet50(num_classes=1)
    with pytest.raises(ValueError, match="batch of 2 or more"):
        PAN(resnet18(), num_classes=3)(torch.randn(1, 3, 96, 96))
    assert PAN.aux_losses == {}
