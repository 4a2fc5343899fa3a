"""U-Net's two convolutions and its step up, written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.nn.double_conv import DoubleConv, UpBlock, init_up_convs


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
@pytest.mark.parametrize(("padded", "size"), [(True, (7, 9)), (False, (3, 5))])
def test_two_convolutions_written_out(padded, size):
    torch.manual_seed(0)
    block = DoubleConv(3, 4, padded=padded, batch_norm=False)
    assert parameters(block) == (9 * 3 * 4 + 4) + (9 * 4 * 4 + 4)
    x = images = torch.randn(2, 3, 7, 9)
    for conv in (block[0], block[2]):
        x = F.conv2d(x, conv.weight, conv.bias, padding=int(padded)).relu()
    assert x.shape[-2:] == size
    torch.testing.assert_close(block(images), x)


@torch.no_grad()
@pytest.mark.parametrize(("padded", "size"), [(True, (7, 9)), (False, (3, 5))])
def test_batch_normalisation_takes_the_place_of_biases(padded, size):
    torch.manual_seed(0)
    block = DoubleConv(3, 4, padded=padded)
    assert parameters(block) == (9 * 3 * 4 + 8) + (9 * 4 * 4 + 8)
    x = images = torch.randn(2, 3, 7, 9)
    for conv in block:
        x = F.conv2d(x, conv.conv.weight, padding=int(padded))
        x = F.batch_norm(x, None, None, training=True).relu()
    assert x.shape[-2:] == size
    torch.testing.assert_close(block(images), x)


@torch.no_grad()
@pytest.mark.parametrize("skips", [(), (2,), (2, 3)])
@pytest.mark.parametrize("size", [(8, 12), (7, 11), (8, 11)])
def test_nearest_repeats_pixels_and_crops(size, skips):
    torch.manual_seed(0)
    block = UpBlock(5, sum(skips), 4).eval()
    assert parameters(block.up) == 0
    below = torch.randn(1, 5, 4, 6)
    skips = [torch.randn(1, width, *size) for width in skips]
    x = below.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[..., : size[0], : size[1]]
    expected = block.convs(torch.cat([x, *skips], dim=1))
    torch.testing.assert_close(block(below, skips, size), expected)


@torch.no_grad()
@pytest.mark.parametrize("upsample", ["transposed", "bilinear"])
def test_what_is_below_is_brought_to_the_width_first(upsample):
    torch.manual_seed(0)
    block = UpBlock(6, 2, 4, upsample=upsample, batch_norm=False)
    below, skip = torch.randn(1, 6, 4, 6), torch.randn(1, 2, 7, 12)
    if upsample == "transposed":
        assert parameters(block.up) == 4 * 6 * 4 + 4
        x = F.conv_transpose2d(below, block.up.weight, block.up.bias, stride=2)[..., :7, :12]
    else:
        assert parameters(block.up) == 6 * 4 + 4
        x = F.interpolate(below, (7, 12), mode="bilinear", align_corners=False)
        x = F.conv2d(x, block.up.weight, block.up.bias)
    expected = block.convs(torch.cat([x, skip], dim=1))
    torch.testing.assert_close(block(below, [skip], (7, 12)), expected)


def test_an_unknown_upsampling_is_refused():
    with pytest.raises(ValueError, match="upsample is 'cubic'; take one of"):
        UpBlock(4, 4, 4, upsample="cubic")


@torch.no_grad()
def test_up_convolutions_keep_the_size_of_rectified_features():
    torch.manual_seed(0)
    model = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(256, 256, 2, stride=2))
    init_up_convs(model)
    assert not model[1].bias.any()
    # Half of the energy is lost in the ReLU and comes back with the variance of 2 / N.
    assert model(torch.randn(2, 256, 8, 8)).std().item() == pytest.approx(1, rel=0.05)


def test_other_layers_and_missing_biases_are_left_alone():
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ConvTranspose2d(2, 2, 2, stride=2, bias=False))
    weights = [p.detach().clone() for p in model[0].parameters()]
    init_up_convs(model)
    assert all(torch.equal(a, b) for a, b in zip(weights, model[0].parameters(), strict=True))
