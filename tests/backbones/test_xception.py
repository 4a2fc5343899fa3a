"""Aligned Xception: counts by part, strides, what is dilated, and what the stages are."""

import pytest
import torch
from torch import nn

from segkit.backbones.xception import Xception, XceptionBlock, xception41, xception65, xception71
from segkit.outputs import Stages


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def separable(channels, out):
    return 9 * channels + 2 * channels + channels * out + 2 * out


# timm 1.0.31, ``create_model(name, num_classes=0)``; the middle flow by hand: three separable
# convolutions of 728 channels a block.
@pytest.mark.parametrize(
    ("build", "expected", "entry", "middle"),
    [
        (xception41, 24_920_560, 3, 8),
        (xception65, 37_867_312, 3, 16),
        (xception71, 40_289_736, 5, 16),
    ],
)
def test_parameters(build, expected, entry, middle):
    with torch.device("meta"):
        model = build()
    assert parameters(model) == expected
    assert len(model.blocks) == entry + middle + 2
    flow = model.blocks[entry : entry + middle]
    assert parameters(flow) == middle * 3 * separable(728, 728)
    assert parameters(model.stem) == 3 * 32 * 9 + 64 + 32 * 64 * 9 + 128
    last = separable(1024, 1536) + separable(1536, 1536) + separable(1536, 2048)
    assert parameters(model.blocks[-1]) == last
    assert all(m.eps == 1e-3 for m in model.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("build", [xception41, xception65, xception71])
def test_stages(build, output_stride):
    with torch.device("meta"):
        model = build(in_channels=4, output_stride=output_stride).eval()
    features = model(torch.empty(1, 4, 65, 98, device="meta"))
    assert model.channels == Stages(256, 728, 1024, 2048)
    for feature, channels, stride in zip(features, model.channels, model.strides, strict=True):
        assert feature.shape == (1, channels, -(-65 // stride), -(-98 // stride))
    assert model.strides.c5 == output_stride


@pytest.mark.parametrize(
    ("output_stride", "expected"),
    [(32, (1, 1, 1, 1)), (16, (1, 1, 1, 2)), (8, (1, 2, 2, 4))],
)
def test_rates(output_stride, expected):
    """A block whose stride is replaced still reads the map before; those after it are dilated."""
    with torch.device("meta"):
        model = xception41(output_stride=output_stride)
    entry, middle, exit1, exit2 = model.blocks[2], model.blocks[3], *model.blocks[-2:]
    rates = tuple(
        {m.dilation[0] for m in block.modules() if isinstance(m, nn.Conv2d) and m.groups > 1}
        for block in (entry, middle, exit1, exit2)
    )
    assert rates == tuple({rate} for rate in expected)


def small(**arguments):
    torch.manual_seed(0)
    return Xception(((8, 2), (12, 2), (16, 2)), 1, **arguments).eval().double()


@pytest.mark.parametrize("output_stride", [16, 8])
def test_dilation_keeps_what_trained_weights_compute(output_stride):
    dense, sparse = small(output_stride=output_stride), small()
    dense.load_state_dict(sparse.state_dict())
    images = torch.randn(1, 3, 65, 97, dtype=torch.float64)
    with torch.no_grad():
        fine, coarse = dense(images).c5, sparse(images).c5
    step = 32 // output_stride
    assert coarse.std() > 0
    torch.testing.assert_close(fine[..., ::step, ::step], coarse, rtol=1e-9, atol=1e-9)


def test_c2_is_taken_before_the_stride():
    """As the release: behind the second separable convolution, and without its ReLU."""
    model = small()
    seen = {}
    model.blocks[1].conv2.register_forward_hook(lambda m, a, result: seen.update(c2=result.clone()))
    c2 = model(torch.randn(1, 3, 33, 47, dtype=torch.float64)).c2
    torch.testing.assert_close(c2, seen["c2"], rtol=0, atol=0)
    assert c2.min() < 0
    assert c2.shape == (1, 12, 9, 12)


def test_shortcuts():
    assert isinstance(XceptionBlock(8, (8, 8, 8)).shortcut, nn.Identity)
    assert XceptionBlock(8, (8, 8, 8), stride=2).shortcut.conv.stride == (2, 2)
    assert XceptionBlock(8, (8, 8, 16)).shortcut.conv.stride == (1, 1)
    assert XceptionBlock(8, (8, 8, 8), last=True).shortcut is None
    block = XceptionBlock(4, (4, 4, 4)).eval()
    nn.init.zeros_(block.conv3[2].bn.weight)
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(block(x)[0], x, rtol=0, atol=0)  # and x was not changed in place


def test_refusals():
    with pytest.raises(ValueError, match="output_stride is 4"):
        xception41(output_stride=4)
    model = small().float().train()
    with pytest.raises(ValueError, match="batch of 2 or more"):
        model(torch.randn(1, 3, 32, 32))
