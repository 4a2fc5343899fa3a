"""U²-Net: counts by stage, the RSU written out, and how the sides are fused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.models.u2net import RSU, Block, U2Net, u2net, u2netp
from segkit.nn import resize


def parameters(model):
    return sum(p.numel() for p in model.parameters())


REFERENCE = {
    u2net: (
        [206_016, 305_856, 1_108_992, 3_986_688, 10_034_688, 10_034_688],
        [139_200, 323_904, 1_181_952, 4_280_064, 12_393_984],
        [10_963, 10_963, 21_907, 43_795, 87_571, 87_571],
        44_260_987,
    ),
    u2netp: (
        [67_200, 95_328, 88_320, 81_312, 81_312, 81_312],
        [139_200, 132_192, 125_184, 118_176, 118_176],
        [10_963] * 6,
        1_195_675,
    ),
}


@pytest.mark.parametrize("build", REFERENCE, ids=lambda build: build.__name__)
def test_counts_by_stage(build):
    """PaddleSeg's at 19 classes."""
    encoder, decoder, sides, total = REFERENCE[build]
    with torch.device("meta"):
        model = build(num_classes=19)
    assert [parameters(m) for m in model.encoder] == encoder
    assert [parameters(m) for m in model.decoder] == decoder
    assert [parameters(m) for m in model.side] == sides
    assert parameters(model.fuse) == 2_185
    assert parameters(model) == total


@pytest.mark.parametrize(("build", "count"), [(u2net, 44_009_869), (u2netp, 1_131_181)])
def test_the_authors_counts_for_one_class(build, count):
    """The sides have a plane of 3x3 kernels and a bias for each class, the fusion 6 K² + K."""
    with torch.device("meta"):
        two, three = build(num_classes=2), build(num_classes=3)
    one_side = parameters(three.side) - parameters(two.side)
    assert parameters(two) - one_side - (6 * 4 + 2) + (6 + 1) == count


def test_receptive_scales():
    """RSU-L has L levels: L - 2 poolings and a last convolution of dilation 2."""
    with torch.device("meta"):
        model = u2net(num_classes=2)
    assert [len(m.down) + 1 for m in model.encoder] == [7, 6, 5, 4, 4, 4]
    assert [len(m.down) + 1 for m in model.decoder] == [7, 6, 5, 4, 4]
    flat = model.encoder[5]
    convs = [*flat.down, flat.bottom, *flat.up]
    assert [m.conv.dilation[0] for m in convs] == [1, 2, 4, 8, 4, 2, 1]
    pooled = model.encoder[0]
    assert [m.conv.dilation[0] for m in pooled.down] == [1] * 6
    assert pooled.bottom.conv.dilation == (2, 2)


def test_rsu_is_figure_2_written_out():
    torch.manual_seed(0)
    block = RSU(3, Block(4, 5, 6)).eval()
    x = torch.randn(2, 3, 24, 16)
    f = block.enter(x)
    down1 = block.down[0](f)
    down2 = block.down[1](F.max_pool2d(down1, 2))
    down3 = block.down[2](F.max_pool2d(down2, 2))
    up3 = block.up[0](torch.cat([block.bottom(down3), down3], dim=1))
    up2 = block.up[1](torch.cat([resize(up3, (12, 8)), down2], dim=1))
    up1 = block.up[2](torch.cat([resize(up2, (24, 16)), down1], dim=1))
    torch.testing.assert_close(block(x), up1 + f)


def test_sides_are_fused_and_trained():
    torch.manual_seed(0)
    model = u2netp(num_classes=3).train()
    output = model(torch.randn(2, 3, 33, 47))
    assert {name: aux.weight for name, aux in model.aux_losses.items()} == {
        f"side{i}": 1.0 for i in range(1, 7)
    }
    assert [tuple(side.shape[2:]) for side in output.aux.values()] == [
        *[(33, 47), (17, 24), (9, 12), (5, 6), (3, 3), (2, 2)]
    ]
    large = [resize(side, (33, 47)) for side in output.aux.values()]
    expected = F.conv2d(torch.cat(large, dim=1), model.fuse.weight, model.fuse.bias)
    torch.testing.assert_close(output.logits, expected)


def test_initialisation_is_xaviers():
    torch.manual_seed(0)
    model = u2netp(num_classes=2)
    for conv in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        assert not conv.bias.any()
        bound = (6 / (9 * (conv.in_channels + conv.out_channels))) ** 0.5
        if conv.weight.numel() > 2000:
            assert conv.weight.abs().max() <= bound
            assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_u2net_refuses():
    with pytest.raises(ValueError, match="num_classes is 1"), torch.device("meta"):
        u2netp(num_classes=1)
    with pytest.raises(ValueError, match="six and five"):
        U2Net(num_classes=2, encoder=[Block(4, 4, 4)], decoder=[])
    with pytest.raises(ValueError, match="batch of 2 or more"):
        u2netp(num_classes=2).train()(torch.randn(1, 3, 32, 32))
