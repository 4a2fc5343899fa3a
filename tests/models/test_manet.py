"""MA-Net: its attention by hand, its widths, and images of any size."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.backbones.resnet import resnet18
from segkit.backbones.vgg import vgg16
from segkit.models import manet
from segkit.models.manet import MFAB, MANet, PositionAttention, SqueezeExcite


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("build", "backbone", "decoder", "total"),
    [
        (manet.manet_resnet34, 21_284_672, 10_498_816, 31_786_243),
        (manet.manet_resnet50, 23_508_032, 123_931_816, 147_442_603),
    ],
)
def test_parameters(build, backbone, decoder, total):
    """By submodule as smp 0.6.0, MAnet at 19 classes."""
    with torch.device("meta"):
        model = build(num_classes=19)
    assert parameters(model.backbone) == backbone
    assert sum(map(parameters, (model.context, model.decoder, model.refine))) == decoder
    assert parameters(model.head) == 2_755
    assert parameters(model) == total


@torch.no_grad()
def test_each_pixel_gathers_from_the_pixels_that_resemble_it():
    attention = PositionAttention(2, key_channels=2)
    # Three pixels; the first asks for what the third shows, the others ask for nothing special.
    query = torch.tensor([[[50.0, 0, 0], [0.0, 0, 0]]])
    key = torch.tensor([[[0.0, 0, 1], [0.0, 0, 0]]])
    value = torch.tensor([[[1.0, 2, 6], [10.0, 20, 60]]])
    gathered = attention.gather(query, key, value)
    torch.testing.assert_close(gathered, torch.tensor([[[6.0, 3, 3], [60.0, 30, 30]]]))


@torch.no_grad()
def test_attention_is_scaled_dot_product_attention_without_the_scale():
    torch.manual_seed(0)
    block = PositionAttention(8, key_channels=4)
    x = torch.randn(2, 8, 3, 5)
    query, key, value = (
        conv(x).flatten(2).transpose(1, 2) for conv in (block.query, block.key, block.value)
    )
    gathered = F.scaled_dot_product_attention(query, key, value, scale=1.0)
    expected = block.smooth(x + gathered.transpose(1, 2).reshape(x.shape))
    torch.testing.assert_close(block(x), expected)


@torch.no_grad()
def test_attention_follows_its_pixels():
    """Mirror the image and the 3x3 kernels, and the result is mirrored: nothing is scrambled."""
    torch.manual_seed(0)
    block = PositionAttention(4)
    x = torch.randn(1, 4, 5, 6)
    plain = block(x)
    for conv in (block.value, block.smooth):
        conv.weight.copy_(conv.weight.flip(-1))
    torch.testing.assert_close(block(x.flip(-1)).flip(-1), plain)


@torch.no_grad()
def test_fusion_written_out():
    torch.manual_seed(0)
    block = MFAB(6, 32, 4).eval()
    high, low = torch.randn(2, 6, 3, 4), torch.randn(2, 32, 5, 8)
    x = block.reduce[1](block.reduce[0](high))
    x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[..., :5, :]

    def squeeze(module, x):
        _, down, _, up, _ = module
        hidden = F.relu(F.conv2d(x.mean((2, 3), keepdim=True), down.weight, down.bias))
        return torch.sigmoid(F.conv2d(hidden, up.weight, up.bias))

    x = x * (squeeze(block.weigh_high, x) + squeeze(block.weigh_low, low))
    expected = block.fuse[1](block.fuse[0](torch.cat([x, low], dim=1)))
    torch.testing.assert_close(block(high, low), expected)
    assert block.weigh_low[1].out_channels == 2  # a sixteenth


def test_no_squeeze_starts_with_all_its_units_dead():
    torch.manual_seed(0)
    model = MANet(resnet18(), num_classes=3)
    squeezes = [m for m in model.modules() if isinstance(m, SqueezeExcite)]
    assert len(squeezes) == 8
    for squeeze in squeezes:
        means = torch.rand(16, squeeze[1].in_channels, 1, 1)
        assert squeeze[2](squeeze[1](means)).flatten(1).gt(0).any(dim=1).all()


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (63, 65), (97, 34)])
def test_any_size(size):
    with torch.device("meta"):
        model = MANet(resnet18(), num_classes=3)
        assert model(torch.empty(2, 3, *size)).logits.shape == (2, 3, *size)


def test_errors():
    with torch.device("meta"):
        with pytest.raises(ValueError, match="num_classes is 1"):
            manet.manet_resnet34(num_classes=1)
        with pytest.raises(ValueError, match="five"):
            MANet(resnet18(), num_classes=3, decoder_channels=(64, 32))
        with pytest.raises(ValueError, match="VGG16 has no forward_with_stem"):
            MANet(vgg16(), num_classes=3)
        assert isinstance(MANet(resnet18(), num_classes=3).head, nn.Conv2d)
    assert MANet.aux_losses == {}
