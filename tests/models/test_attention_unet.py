"""Attention U-Net: PaddleSeg's counts, both gates written out, and the maps."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.models.attention_unet import AttentionUNet, attention_unet, full_gate, grid_gate
from segkit.nn import resize


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def small(**arguments):
    torch.manual_seed(0)
    arguments = {"num_classes": 3, "in_channels": 1, "channels": (4, 6, 8, 10)} | arguments
    return AttentionUNet(**arguments).eval()


def test_paddleseg_counts_by_module():
    """PaddleSeg keeps a bias in front of batch normalisation, which has a mean of its own."""
    with torch.device("meta"):
        model = attention_unet(num_classes=19, gates="upsampled_bilinear")

    def count(module):
        norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
        return parameters(module) + sum(m.num_features for m in norms)

    assert count(model.contract) == 18_851_136
    assert [count(m) for m in model.up_convs] == [4_720_128, 1_180_416, 295_296, 73_920]
    assert [count(m) for m in model.gates] == [263_939, 66_435, 16_835, 4_323]
    assert [count(m) for m in model.expand] == [7_080_960, 1_771_008, 443_136, 110_976]
    assert count(model.heads) == 1_235
    assert count(model) == 34_879_743


def test_paper_counts_by_hand():
    with torch.device("meta"):
        model = attention_unet(num_classes=19)
    widths = [512, 256, 128]
    gates = [4 * c * c + (2 * c * c + c) + (c + 1) for c in widths]  # theta, phi, psi
    assert [parameters(m) for m in model.gates] == gates
    heads = [19 * (c + 1) for c in (*widths, 64)]
    assert [parameters(m) for m in model.heads] == heads
    assert parameters(model.fuse) == 19 * (4 * 19 + 1)
    assert parameters(model) == 33_470_726


@torch.no_grad()
def test_grid_gate_is_equation_1_written_out():
    torch.manual_seed(0)
    gate = grid_gate(4, 8)
    skip, signal = torch.randn(2, 4, 12, 16), torch.randn(2, 8, 6, 8)
    x = F.conv2d(skip, gate.theta.weight, stride=2)
    q = F.relu(x + F.conv2d(signal, gate.phi.weight, gate.phi.bias))
    alpha = F.conv2d(q, gate.psi.weight, gate.psi.bias).sigmoid()
    alpha = F.interpolate(alpha, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(gate(skip, signal), alpha)


@torch.no_grad()
def test_full_gate_written_out():
    torch.manual_seed(0)
    gate = full_gate(4).eval()
    skip, signal = torch.randn(2, 4, 12, 16), torch.randn(2, 4, 12, 16)
    alpha = gate.psi(F.relu(gate.theta(skip) + gate.phi(signal))).sigmoid()
    torch.testing.assert_close(gate(skip, signal), alpha)


@torch.no_grad()
def test_network_is_figure_1_written_out():
    model = small()
    images = torch.randn(2, 1, 32, 48)
    x1 = model.contract[0](images)
    x2 = model.contract[1](F.max_pool2d(x1, 2))
    x4 = model.contract[2](F.max_pool2d(x2, 2))
    x8 = model.contract[3](F.max_pool2d(x4, 2))
    alpha4 = model.gates[0](x4, x8)
    up4 = model.expand[0](torch.cat([alpha4 * x4, resize(x8, (8, 12))], dim=1))
    alpha2 = model.gates[1](x2, up4)
    up2 = model.expand[1](torch.cat([alpha2 * x2, resize(up4, (16, 24))], dim=1))
    up1 = model.expand[2](torch.cat([x1, resize(up2, (32, 48))], dim=1))
    scores = [head(x) for head, x in zip(model.heads, (up4, up2, up1), strict=True)]
    scores = torch.cat([resize(score, (32, 48)) for score in scores], dim=1)
    torch.testing.assert_close(model(images).logits, model.fuse(scores))
    torch.testing.assert_close(model.attention(images), {4: alpha4, 2: alpha2})


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@torch.no_grad()
def test_upsampled_network_written_out(mode):
    gates = "upsampled" if mode == "nearest" else "upsampled_bilinear"
    model = small(gates=gates, channels=(4, 6))
    images = torch.randn(1, 1, 32, 48)
    x1 = model.contract[0](images)
    x2 = model.contract[1](F.max_pool2d(x1, 2))
    up = model.up_convs[0](F.interpolate(x2, scale_factor=2, mode=mode))
    alpha = model.gates[0](x1, up)
    x = model.expand[0](torch.cat([alpha * x1, up], dim=1))
    torch.testing.assert_close(model(images).logits, model.heads[0](x))
    torch.testing.assert_close(model.attention(images), {1: alpha})


@pytest.mark.parametrize(
    ("gates", "strides"), [("grid", [4, 2]), ("upsampled_bilinear", [4, 2, 1])]
)
@torch.no_grad()
def test_attention_maps_of_an_odd_size(gates, strides):
    model = small(gates=gates)
    alphas = model.attention(torch.randn(2, 1, 33, 47))
    assert list(alphas) == strides
    for stride, alpha in alphas.items():
        assert alpha.shape == (2, 1, -(-33 // stride), -(-47 // stride))
        assert ((alpha > 0) & (alpha < 1)).all()


@torch.no_grad()
def test_a_shut_gate_hides_its_skip():
    model = small()
    images = torch.randn(1, 1, 32, 32)
    for gate in model.gates:
        nn.init.zeros_(gate.psi.weight)
        nn.init.constant_(gate.psi.bias, -100)
    assert all(alpha.max() < 1e-30 for alpha in model.attention(images).values())
    seen = []
    model.expand[0].register_forward_hook(lambda _, x, y: seen.append(x[0][:, :8]))
    model(images)
    assert seen[0].abs().max() < 1e-20


def test_attention_unet_refuses():
    with pytest.raises(ValueError, match="num_classes is 1"):
        small(num_classes=1)
    with pytest.raises(ValueError, match="gates is 'soft'"):
        small(gates="soft")
    with pytest.raises(ValueError, match="two levels"):
        small(channels=(4,))
