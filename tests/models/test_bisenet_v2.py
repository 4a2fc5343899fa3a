"""BiSeNet V2: the counts of its implementations, its blocks written out, a short training."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from segkit.losses import combine, cross_entropy
from segkit.models.bisenet_v2 import (
    BiSeNetV2,
    Booster,
    ContextEmbedding,
    GatherExpansion,
    GuidedAggregation,
    Stem,
    bisenet_v2,
)
from segkit.nn import FCNHead


def count(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(**options):
    with torch.device("meta"):
        return bisenet_v2(**{"num_classes": 19, **options})


def semantic(model):
    return (model.stem, model.stage3, model.stage4, model.stage5, model.context)


def test_parameters_of_every_submodule_are_those_of_coincheung():
    """CoinCheung/BiSeNet, lib/models/bisenetv2.py, 19 classes."""
    model = on_meta()
    assert count(model.detail) == 519_232
    assert sum(map(count, semantic(model))) == 1_159_504
    assert count(model.aggregation) == 478_720
    assert count(model.head) == 1_201_171
    boosters = {name: count(booster) for name, booster in model.boosters.items()}
    assert boosters == {"c2": 37_475, "c3": 112_211, "c4": 374_291, "c5": 1_348_883}
    assert count(model) == 5_231_487
    assert count(model) - count(model.boosters) == 3_358_627


def test_narrow_heads_are_those_of_paddleseg_up_to_its_biases():
    """PaddleSeg keeps a bias in front of batch normalisation: one more per channel inside."""
    widths = (16, 32, 64, 128)
    model = on_meta(head_channels=128, booster_channels=widths, booster_upsampling=False)
    assert count(model.head) == 150_291 - 128
    expected = [2_675, 9_939, 38_291, 150_291]
    for booster, paddle, width in zip(model.boosters.values(), expected, widths, strict=True):
        assert count(booster) == paddle - width


@pytest.mark.parametrize(("options", "gflops"), [({}, 49.2066), ({"head_channels": 128}, 32.0163)])
def test_computation_is_that_of_coincheung_and_of_paddleseg(options, gflops):
    model = on_meta(**options).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, 512, 1024, device="meta"))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, abs=1e-4)


def test_strides_and_channels_of_both_branches():
    """Table 1: the detail branch ends at stride 8, the semantic one at stride 32."""
    model = on_meta()
    images = torch.empty(2, 3, 256, 512, device="meta")
    assert model.detail(images).shape == (2, 128, 32, 64)
    x, shapes = images, []
    for stage in semantic(model):
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(16, 64, 128), (32, 32, 64), (64, 16, 32), (128, 8, 16), (128, 8, 16)]


@pytest.mark.parametrize("upsampling", [True, False])
def test_aux_keep_their_own_resolution(upsampling):
    model = on_meta(booster_upsampling=upsampling)
    aux = model(torch.empty(2, 3, 64, 128, device="meta")).aux
    first = 2 if upsampling else 4
    assert {name: tuple(value.shape[1:]) for name, value in aux.items()} == {
        f"c{i + 2}": (19, 64 // (first << i), 128 // (first << i)) for i in range(4)
    }
    assert aux.keys() == model.aux_losses.keys()
    assert all(loss.weight == 1 and loss.loss is None for loss in model.aux_losses.values())
    assert model.eval()(torch.empty(1, 3, 64, 128, device="meta")).aux == {}
    kind = Booster if upsampling else FCNHead
    assert all(type(booster) is kind for booster in model.boosters.values())


# Blocks, written out


def test_stem_joins_strided_convolution_and_pooling():
    stem = Stem(3, 16).eval()
    x = stem.conv(torch.randn(2, 3, 33, 47))
    assert x.shape == (2, 16, 17, 24)
    joined = []
    stem.fuse.register_forward_pre_hook(lambda _, args: joined.append(args[0]))
    stem(images := torch.randn(2, 3, 33, 47))
    x = stem.conv(images)
    torch.testing.assert_close(joined[0][:, 16:], F.max_pool2d(x, 3, 2, 1))
    torch.testing.assert_close(joined[0][:, :16], stem.convs(x))
    assert stem.convs[0].conv.out_channels == 8


def test_gather_expansion_at_stride_1_adds_its_input():
    layer = GatherExpansion(8, 8).eval()
    assert layer.expand.conv.groups == 8
    assert layer.expand.conv.out_channels == 48
    nn.init.zeros_(layer.project.conv.weight)
    x = torch.randn(2, 8, 5, 7)
    assert torch.equal(layer(x), x.relu())


def test_gather_expansion_at_stride_2_halves_both_ways():
    layer = GatherExpansion(8, 12, stride=2).eval()
    groups = [m.groups for m in layer.modules() if isinstance(m, nn.Conv2d)]
    assert groups == [1, 8, 48, 8, 1, 1]  # gather, expand twice, shortcut, project
    x = torch.randn(2, 8, 5, 7)
    assert layer(x).shape == (2, 12, 3, 4)
    nn.init.zeros_(layer.project.conv.weight)
    torch.testing.assert_close(layer(x), layer.shortcut(x).relu())
    # Table 1: 6 times wider. 3x3 8 to 8, two depthwise, 1x1; batch normalisation twice each.
    expected = 9 * 64 + 16 + 9 * 48 + 96 + 9 * 48 + 96 + 48 * 12 + 24 + 9 * 8 + 16 + 96 + 24
    assert count(layer) == expected


def test_context_embedding_adds_one_vector_per_image():
    layer = ContextEmbedding(8).eval()
    given = []
    layer.smooth.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    x = torch.randn(2, 8, 3, 5)
    layer(x)
    added = given[0] - x
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added))
    mean = x.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(added[:, :, :1, :1], layer.conv(mean / (1 + 1e-5) ** 0.5))


def test_context_embedding_names_the_cure_for_a_batch_of_one():
    layer = ContextEmbedding(8)
    with pytest.raises(ValueError, match="batch of 2 or more"):
        layer(torch.randn(1, 8, 3, 5))
    assert layer.eval()(torch.randn(1, 8, 3, 5)).shape == (1, 8, 3, 5)


def gates(layer, *, fine, coarse):
    """Make both gates constant: convolutions to zero, the logit of the gate as a shift."""
    nn.init.zeros_(layer.semantic_up.conv.weight)
    nn.init.constant_(layer.semantic_up.bn.bias, fine)
    depthwise, pointwise = layer.semantic_keep
    nn.init.zeros_(depthwise.conv.weight)
    nn.init.constant_(depthwise.bn.bias, coarse)
    nn.init.dirac_(pointwise.weight)


def test_aggregation_with_open_and_closed_gates():
    layer = GuidedAggregation(6).eval()
    detail, semantic = torch.randn(2, 6, 5, 6), torch.randn(2, 6, 2, 2)
    given = []
    layer.fuse.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    with torch.no_grad():
        gates(layer, fine=100.0, coarse=-100.0)
        layer(detail, semantic)
        torch.testing.assert_close(given[-1], layer.detail_keep(detail))
        gates(layer, fine=-100.0, coarse=100.0)
        layer(detail, semantic)
        down = layer.detail_down(detail)
    assert down.shape == (2, 6, 2, 2)
    up = F.interpolate(down, (5, 6), mode="bilinear", align_corners=False)
    torch.testing.assert_close(given[-1], up)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (35, 65), (97, 63)])
def test_both_branches_meet_at_any_size(size):
    model = on_meta()
    detail, semantic = [], []
    model.aggregation.detail_down.register_forward_hook(lambda _, x, y: detail.append(y.shape))
    model.aggregation.semantic_keep.register_forward_hook(lambda _, x, y: semantic.append(y.shape))
    assert model(torch.empty(2, 3, *size, device="meta")).logits.shape == (2, 19, *size)
    assert detail == semantic


def test_refuses():
    with pytest.raises(ValueError, match="num_classes is 1"):
        on_meta(num_classes=1)
    model = BiSeNetV2(num_classes=2, head_channels=8, booster_channels=(8,) * 4)
    with pytest.raises(ValueError, match="batch of 2 or more"):
        model(torch.randn(1, 3, 64, 64))


@pytest.mark.slow
def test_network_trains():
    """Left is class 0, right class 1, by colour and noise; void on top."""
    torch.manual_seed(0)
    model = bisenet_v2(num_classes=3, head_channels=64, booster_channels=(32,) * 4)
    labels = torch.zeros(4, 64, 64, dtype=torch.long)
    for i, edge in enumerate((12, 28, 36, 52)):
        labels[i, :, edge:] = 1
        labels[i, 40:, :edge] = 2
    images = F.one_hot(labels, 3).movedim(-1, 1) + 0.3 * torch.randn(4, 3, 64, 64)
    labels[:, :3] = 255
    loss_of = combine(cross_entropy, model.aux_losses)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    first = last = None
    for _ in range(30):
        loss, parts = loss_of(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first = first or parts
        last = parts
    assert last.keys() == {"main", "c2", "c3", "c4", "c5"}
    assert all(last[name] < 0.5 * first[name] for name in last)
    assert last["main"] < 0.3
