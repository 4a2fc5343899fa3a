"""No New-Net: the paper's 3D U-Net written out, any size, one voxel."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.models.no_new_net import InstanceNorm, NoNewNet, no_new_net


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def small(**arguments):
    torch.manual_seed(0)
    arguments = {"num_classes": 3, "in_channels": 1, "channels": (4, 8, 16)} | arguments
    return NoNewNet(**arguments)


def test_paper_widths_by_hand():
    """30 channels, four poolings, half the channels before each upsampling."""
    with torch.device("meta"):
        model = no_new_net(num_classes=4, in_channels=4)
    convs = [(m.in_channels, m.out_channels) for m in model.modules() if isinstance(m, nn.Conv3d)]
    assert convs == [
        *[(4, 30), (30, 30), (30, 60), (60, 60), (60, 120), (120, 120), (120, 240), (240, 240)],
        *[(240, 480), (480, 240)],
        *[(480, 240), (240, 120), (240, 120), (120, 60), (120, 60), (60, 30), (60, 30), (30, 30)],
        (30, 4),
    ]
    by_hand = sum(27 * i * o + 2 * o for i, o in convs[:-1]) + 30 * 4 + 4
    assert parameters(model) == by_hand == 14_490_784
    assert model.spatial_dims == 3
    slopes = {m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {1e-2}


@torch.no_grad()
def test_network_is_figure_1_written_out():
    model = small()
    volumes = torch.randn(2, 1, 8, 12, 16)

    def convolve(block, x):
        for conv, norm, _ in block:
            x = F.conv3d(x, conv.weight, padding=1)
            mean = x.mean(dim=(2, 3, 4), keepdim=True)
            var = x.var(dim=(2, 3, 4), keepdim=True, correction=0)
            x = (x - mean) / (var + 1e-5).sqrt()
            x = x * norm.weight.reshape(-1, 1, 1, 1) + norm.bias.reshape(-1, 1, 1, 1)
            x = F.leaky_relu(x, 0.01)
        return x

    def double(x):
        return F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)

    x1 = convolve(model.contract[0], volumes)
    x2 = convolve(model.contract[1], F.max_pool3d(x1, 2))
    x = convolve(model.bottom, F.max_pool3d(x2, 2))
    x = convolve(model.expand[0], torch.cat([x2, double(x)], dim=1))
    x = convolve(model.expand[1], torch.cat([x1, double(x)], dim=1))
    expected = F.conv3d(x, model.head.weight, model.head.bias)
    torch.testing.assert_close(model(volumes).logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 16, 16), (33, 33, 47), (17, 40, 128), (128, 128, 128)])
@pytest.mark.parametrize("in_channels", [1, 4])
def test_logits_have_the_size_of_the_volumes(size, in_channels):
    with torch.device("meta"):
        model = no_new_net(num_classes=5, in_channels=in_channels)
        for mode in (True, False):
            output = model.train(mode)(torch.empty(2, in_channels, *size))
            assert output.logits.shape == (2, 5, *size)
            assert output.aux == {}


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_a_training_step_reaches_every_parameter(precision):
    model = small().train()
    with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
        logits = model(torch.randn(1, 1, 11, 13, 9)).logits
        loss = F.cross_entropy(logits.float(), torch.randint(0, 3, (1, 11, 13, 9)))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


@torch.no_grad()
def test_each_volume_by_itself_in_training_too():
    model = small().train()
    volumes = torch.randn(2, 1, 10, 12, 9)
    together = model(volumes).logits
    torch.testing.assert_close(together[:1], model(volumes[:1]).logits)
    torch.testing.assert_close(together, model.eval()(volumes).logits)


def test_one_voxel_keeps_the_shift():
    """What (x - mean) / sqrt(var + eps) gives; torch itself refuses."""
    norm = InstanceNorm(3)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 3, 1, 1, 1)
    torch.testing.assert_close(norm(x), norm.bias.reshape(1, 3, 1, 1, 1).expand(2, 3, 1, 1, 1))
    two = torch.randn(2, 3, 1, 1, 2)
    torch.testing.assert_close(norm(two), F.instance_norm(two, weight=norm.weight, bias=norm.bias))
    logits = small().train()(torch.randn(1, 1, 4, 4, 4)).logits  # one voxel at the bottom
    assert logits.isfinite().all()


@pytest.mark.slow
@torch.no_grad()
def test_export_and_compile():
    model = small().eval()
    for size in [(16, 16, 24), (9, 11, 13)]:
        volumes = torch.randn(1, 1, *size)
        program = torch.export.export(model, (volumes,)).module()
        torch.testing.assert_close(program(volumes).logits, model(volumes).logits)
    compiled = torch.compile(small().to("meta"), backend="eager", fullgraph=True)
    logits = compiled(torch.empty(2, 1, 16, 17, 18, device="meta")).logits
    assert logits.shape == (2, 3, 16, 17, 18)


def test_no_new_net_refuses():
    with pytest.raises(ValueError, match=r"takes volumes \(B, C, D, H, W\)"):
        small()(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match="twice as wide"):
        small(channels=(4, 8, 12))
    with pytest.raises(ValueError, match="num_classes is 1"):
        no_new_net(num_classes=1)
