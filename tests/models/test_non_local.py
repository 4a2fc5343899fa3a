"""Non-local network: mmsegmentation's counts, the block's formula and its start."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from segkit.backbones.resnet import resnet50_v1c
from segkit.models.non_local import NonLocalBlock, NonLocalNet, non_local_resnet50


def count(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(build, **options):
    with torch.device("meta"):
        return build(**{"num_classes": 19, **options})


def test_parameters_of_every_submodule_are_those_of_mmsegmentation():
    model = on_meta(non_local_resnet50)
    assert {n: count(m) for n, m in model.named_children() if count(m)} == {
        "backbone": 23_508_032,  # torchvision's stem; mmsegmentation's has 19,232 more
        "reduce": 9_438_208,
        "non_local": 526_080,
        "smooth": 2_360_320,
        "fuse": 11_797_504,
        "head": 9_747,
        "aux_head": 2_364_691,
    }
    assert count(model) == 50_004_582


def test_with_its_stem_total_and_computation_are_mmsegmentations():
    with torch.device("meta"):
        model = NonLocalNet(resnet50_v1c(output_stride=8), num_classes=19).eval()
    assert count(model) == 50_023_814
    assert count(model) - count(model.aux_head) == 47_659_123
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, 512, 1024, device="meta"))
    assert counter.get_total_flops() / 1e9 == pytest.approx(867.7008, abs=1e-3)


def test_block_is_the_formula():
    torch.manual_seed(0)
    block = NonLocalBlock(6, inner_channels=4).double().eval()
    torch.nn.init.ones_(block.expand.bn.weight)
    for embed in (block.theta, block.phi):
        torch.nn.init.normal_(embed.weight)
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    theta, phi, g = (f(x).flatten(2) for f in (block.theta, block.phi, block.g))
    similarity = torch.einsum("bci,bcj->bij", theta, phi) / math.sqrt(4)
    weights = similarity.exp() / similarity.exp().sum(dim=2, keepdim=True)
    y = torch.einsum("bij,bcj->bci", weights, g).unflatten(2, (3, 4))
    torch.testing.assert_close(block(x), x + block.expand(y))


@pytest.mark.parametrize("training", [True, False])
def test_block_starts_as_the_identity(training):
    x = torch.randn(2, 8, 5, 6)
    assert torch.equal(NonLocalBlock(8).train(training)(x), x)


def test_one_pixel_reaches_all():
    torch.manual_seed(0)
    block = NonLocalBlock(8).eval()
    torch.nn.init.ones_(block.expand.bn.weight)
    x = torch.randn(1, 8, 6, 7)
    poked = x.clone()
    poked[..., 0, 0] += 10
    assert ((block(poked) - block(x)).abs().amax(dim=1) > 0).all()


def test_block_is_finite_in_half_precision():
    block = NonLocalBlock(16, inner_channels=256).eval()
    torch.nn.init.ones_(block.expand.bn.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert block(3000 * torch.randn(1, 16, 12, 12)).isfinite().all()


def test_aux_is_scored_from_c4():
    model = on_meta(non_local_resnet50)
    assert model.aux_losses["c4"].weight == 0.4
    assert model(torch.empty(2, 3, 33, 47, device="meta")).aux["c4"].shape == (2, 19, 5, 6)
