"""OCNet: the authors' layers counted, object context pooling worked by hand."""

import math

import pytest
import torch

from segkit.models.ocnet import (
    ASPOC,
    BaseOC,
    ObjectContextPooling,
    ocnet_resnet50,
    ocnet_resnet101,
)


def count(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(build, **options):
    with torch.device("meta"):
        return build(**{"num_classes": 19, **options})


def pooling(**options):
    torch.manual_seed(0)
    block = ObjectContextPooling(6, key_channels=4, value_channels=5, **options).double().eval()
    torch.nn.init.normal_(block.expand.weight)
    return block


# The layers of OCNet.pytorch, without the biases that batch normalisation cancels.
KEY, VALUE, EXPAND = 512 * 256 + 512, 512 * 256 + 256, 256 * 512 + 512
BASE = KEY + VALUE + EXPAND + (1024 * 512 + 1024)
ATTENTION = (256 * 128 + 256) + (256 * 256 + 256) + (256 * 256 + 256)
CONTEXT = (9 * 512 * 256 + 512) + ATTENTION + (256 * 256 + 512)
ASP = CONTEXT + (512 * 256 + 512) + 3 * (9 * 512 * 256 + 512) + (1280 * 512 + 1024)


@pytest.mark.parametrize(
    ("build", "options", "backbone", "context"),
    [
        (ocnet_resnet50, {}, 23_508_032, BASE),
        (ocnet_resnet101, {}, 42_500_160, BASE),
        (ocnet_resnet50, {"context": "asp"}, 23_508_032, ASP),
        (ocnet_resnet101, {"context": "asp"}, 42_500_160, ASP),
    ],
)
def test_parameters_are_those_of_the_authors_layers(build, options, backbone, context):
    model = on_meta(build, **options)
    assert {n: count(m) for n, m in model.named_children() if count(m)} == {
        "backbone": backbone,
        "reduce": 9 * 2048 * 512 + 1024,
        "context": context,
        "head": 512 * 19 + 19,
        "aux_head": 9 * 1024 * 512 + 1024 + 512 * 19 + 19,
    }


def test_context_is_a_mean_of_all_pixels_weighted_by_likeness():
    block = pooling()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    key, value = block.key(x).flatten(2), block.value(x).flatten(2)
    likeness = torch.einsum("bci,bcj->bij", key, key) / math.sqrt(4)
    weights = likeness.exp() / likeness.exp().sum(dim=2, keepdim=True)
    expected = torch.einsum("bij,bcj->bci", weights, value).unflatten(2, (3, 4))
    torch.testing.assert_close(block(x), block.expand(expected))


def test_pooled_context_compares_maxima_of_cells():
    block, pooled = pooling(), pooling(pool=2)
    x = torch.randn(1, 6, 5, 7, dtype=torch.float64)
    cells = torch.nn.functional.max_pool2d(x, 2)
    expected = torch.nn.functional.interpolate(block(cells), (5, 7), mode="bilinear")
    torch.testing.assert_close(pooled(x), expected)


def test_pixels_have_no_places():
    block = pooling()
    x = torch.randn(1, 6, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(block(x.flip(2, 3)), block(x).flip(2, 3))


def test_training_starts_without_context():
    block = ObjectContextPooling(6, key_channels=4, value_channels=5).eval()
    assert not block(torch.randn(1, 6, 4, 4)).any()
    base = BaseOC(8)
    assert not base.context.expand.weight.any()
    assert base.fuse.conv.weight.any()


def test_asp_oc_sees_four_fields_of_view():
    with torch.device("meta"):
        block = ASPOC()
    convs = [branch.conv for branch in block.branches]
    assert [(c.kernel_size[0], c.dilation[0]) for c in convs] == [(1, 1), (3, 12), (3, 24), (3, 36)]
    assert block.context.pool == 2
    assert block(torch.empty(2, 512, 5, 6, device="meta")).shape == (2, 512, 5, 6)


def test_context_is_finite_in_half_precision():
    block = ObjectContextPooling(16, key_channels=256, value_channels=16).eval()
    torch.nn.init.normal_(block.expand.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert block(300 * torch.randn(1, 16, 12, 12)).isfinite().all()


def test_aux_is_scored_from_c4():
    model = on_meta(ocnet_resnet50)
    assert model.aux_losses["c4"].weight == 0.4
    output = model(torch.empty(2, 3, 33, 47, device="meta"))
    assert output.aux["c4"].shape == (2, 19, 5, 6)


def test_an_unknown_context_is_refused():
    with pytest.raises(ValueError, match="'base' or 'asp'"):
        on_meta(ocnet_resnet50, context="pyramid")
