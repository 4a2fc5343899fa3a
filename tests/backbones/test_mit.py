"""MiT: sizes of the paper, reduction of the keys, attention that can be looked at."""

import pytest
import torch
from torch import nn

from segkit.backbones import mit
from segkit.outputs import Stages

# transformers 5.23.0 SegformerModel, PaddleSeg MixVisionTransformer, smp 0.6.0 mit_b0 … mit_b5
COUNTS = {
    "mit_b0": 3_319_392,
    "mit_b1": 13_151_424,
    "mit_b2": 24_196_288,
    "mit_b3": 44_072_128,
    "mit_b4": 60_842_688,
    "mit_b5": 81_443_008,
}


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name):
    with torch.device("meta"):
        model = getattr(mit, name)()
    assert parameters(model) == COUNTS[name]


def test_blocks_of_table_6():
    with torch.device("meta"):
        models = [getattr(mit, name)() for name in COUNTS]
    assert [[len(stage.blocks) for stage in model.stages] for model in models] == [
        [2, 2, 2, 2],
        [2, 2, 2, 2],
        [3, 4, 6, 3],
        [3, 4, 18, 3],
        [3, 8, 27, 3],
        [3, 6, 40, 3],
    ]
    for stage, heads, reduction in zip(models[0].stages, (1, 2, 5, 8), (8, 4, 2, 1), strict=True):
        attention = stage.blocks[0].attention
        assert (attention.heads, attention.reduction) == (heads, reduction)
        assert stage.blocks[0].ffn.expand.out_features == 4 * attention.q.in_features


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 96), (97, 130)])
def test_sizes_are_rounded_up(size):
    with torch.device("meta"):
        model = mit.mit_b0(in_channels=4)
        features = model(torch.empty(2, 4, *size))
    assert type(features) is Stages
    for feature, channels, stride in zip(features, model.channels, model.strides, strict=True):
        assert feature.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))


def test_stochastic_depth_rises_to_its_value():
    with torch.device("meta"):
        model = mit.mit_b2(stochastic_depth=0.3)
    chances = [block.stochastic_depth.p for stage in model.stages for block in stage.blocks]
    assert chances == pytest.approx([0.3 * i / 15 for i in range(16)])
    assert {block.stochastic_depth.mode for s in model.stages for block in s.blocks} == {"row"}


def test_eps_as_released():
    with torch.device("meta"):
        stage = mit.mit_b0().stages[0]
    block = stage.blocks[0]
    assert [norm.eps for norm in (block.norm1, block.norm2, stage.norm)] == [1e-6] * 3
    assert [norm.eps for norm in (stage.embed.norm, block.attention.norm)] == [1e-5] * 2


def test_initialisation_as_released():
    torch.manual_seed(0)
    block = mit.mit_b1().stages[3].blocks[0]
    assert block.attention.q.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not block.attention.q.bias.any()
    # Depthwise: nine values reach one output and one input reaches nine.
    assert block.ffn.depthwise.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.03)


def test_attention_by_hand():
    torch.manual_seed(0)
    attention = mit.EfficientSelfAttention(8, heads=2, reduction=2).eval()
    nn.init.normal_(attention.q.weight)
    x = torch.randn(1, 4, 6, 8)

    # Each 2x2 block of positions, all its channels, through one linear layer: Eq. 2.
    stacked = x.reshape(1, 2, 2, 3, 2, 8).permute(0, 1, 3, 5, 2, 4).reshape(1, 6, 32)
    keys = attention.norm(stacked @ attention.reduce.weight.flatten(1).T + attention.reduce.bias)
    q, k, v = attention.q(x.reshape(1, 24, 8)), attention.k(keys), attention.v(keys)
    weights, mixed = [], []
    for head in (slice(0, 4), slice(4, 8)):
        weights.append((q[..., head] @ k[..., head].mT / 4**0.5).softmax(-1))
        mixed.append(weights[-1] @ v[..., head])
    expected = attention.project(torch.cat(mixed, dim=-1)).reshape(1, 4, 6, 8)

    torch.testing.assert_close(attention(x), expected)
    torch.testing.assert_close(attention.weights(x), torch.stack(weights, dim=1))


@pytest.mark.parametrize(("pad", "keys"), [(False, 2), (True, 6)])
def test_a_map_that_r_does_not_divide_loses_its_border_unless_it_is_padded(pad, keys):
    torch.manual_seed(0)
    attention = mit.EfficientSelfAttention(8, heads=2, reduction=4, pad_reduction=pad)
    x = torch.randn(1, 5, 9, 8, requires_grad=True)
    weights = attention.weights(x)
    assert weights.shape == (1, 2, 45, keys)
    # Padded, the last row and column reach the keys: the first position's weights depend on them.
    (gradient,) = torch.autograd.grad(weights[:, :, 0].square().sum(), x)
    reached = gradient[0].abs().amax(dim=-1).gt(0)
    assert reached[:4, :8].all()
    assert reached[4].all() == reached[:, 8].all() == pad
    assert pad or not (reached[4].any() or reached[:, 8].any())


@torch.no_grad()
def test_the_rest_that_r_leaves_is_dropped_in_the_whole_backbone():
    torch.manual_seed(0)
    images = torch.randn(1, 3, 72, 88)  # maps of 18x22, 9x11, 5x6
    released = mit.mit_b0().eval()
    padded = mit.mit_b0(pad_reduction=True).eval()
    padded.load_state_dict(released.state_dict())
    assert released.attention(images, "c2", 0).shape == (1, 1, 18 * 22, 2 * 2)
    assert padded.attention(images, "c2", 0).shape == (1, 1, 18 * 22, 3 * 3)
    assert not torch.equal(released(images).c5, padded(images).c5)
    images = torch.randn(1, 3, 64, 96)
    assert torch.equal(released(images).c5, padded(images).c5)


@torch.no_grad()
def test_attention_of_a_block_is_what_forward_takes():
    torch.manual_seed(0)
    model = mit.mit_b0().eval()
    images = torch.randn(1, 3, 64, 96)
    block = model.stages[1].blocks[1]
    seen = {}
    hooks = [
        block.attention.register_forward_hook(lambda m, args, result: seen.update(x=args[0])),
        block.attention.v.register_forward_hook(lambda m, args, result: seen.update(v=result)),
        block.attention.project.register_forward_hook(
            lambda m, args, result: seen.update(mixed=args[0])
        ),
    ]
    model(images)
    for hook in hooks:
        hook.remove()

    weights = model.attention(images, "c3", 1)

    assert weights.shape == (1, 2, 8 * 12, 2 * 3)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 96))
    torch.testing.assert_close(weights, block.attention.weights(seen["x"]), rtol=0, atol=0)
    values = seen["v"].reshape(1, 6, 2, 32).transpose(1, 2)
    mixed = (weights @ values).transpose(1, 2).reshape(1, 8, 12, 64)
    torch.testing.assert_close(mixed, seen["mixed"])


def test_attention_of_no_block():
    with torch.device("meta"):
        model = mit.mit_b0()
        images = torch.empty(1, 3, 32, 32)
    with pytest.raises(ValueError, match="stage is 'c1'; it may be one of c2, c3, c4, c5"):
        model.attention(images, "c1", 0)
    with pytest.raises(ValueError, match="block is 2; c4 has the blocks 0 to 1"):
        model.attention(images, "c4", 2)
