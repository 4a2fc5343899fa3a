"""Semantic FPN: the widths, the pyramid and the branch of the paper."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.backbones.resnet import resnet18, resnet50
from segkit.backbones.vgg import vgg16
from segkit.models import fpn
from segkit.models.fpn import FeaturePyramid, SemanticFPN, UpBranch
from segkit.outputs import Stages


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("build", "backbone"),
    [(fpn.fpn_resnet50, 23_508_032), (fpn.fpn_resnet101, 42_500_160)],
)
def test_parameters(build, backbone):
    """Neck and head as mmsegmentation 1.2.2, fpn_r50 and fpn_r101 at 19 classes."""
    with torch.device("meta"):
        model = build(num_classes=19)
    assert parameters(model.backbone) == backbone
    assert parameters(model.pyramid) == 3_344_384
    assert parameters(model.branches) + parameters(model.head) == 1_626_259
    assert parameters(model) == backbone + 3_344_384 + 1_626_259


def test_parameters_of_smp():
    with torch.device("meta"):
        model = fpn.fpn_resnet50(num_classes=19, smooth=False, dropout=0.2)
    assert parameters(model.pyramid) + parameters(model.branches) == 2_607_872
    assert parameters(model) == 26_118_355
    assert model.dropout.p == 0.2


@torch.no_grad()
def test_the_way_down_repeats_pixels_and_adds():
    pyramid = FeaturePyramid(Stages(1, 1, 1, 1), 1, smooth=False)
    for conv in pyramid.laterals:
        nn.init.ones_(conv.weight)
        nn.init.zeros_(conv.bias)
    sides = [(9, 1.0), (5, 10.0), (3, 100.0), (2, 1000.0)]
    stages = Stages(*(torch.full((1, 1, side, side), value) for side, value in sides))
    p2, p3, p4, p5 = pyramid(stages)
    assert p5.unique().tolist() == [1000.0]
    assert p4.unique().tolist() == [1100.0]
    assert p3.unique().tolist() == [1110.0]
    assert p2.unique().tolist() == [1111.0]
    stages.c5[0, 0] = torch.tensor([[1.0, 2], [3, 4]])
    _, _, p4, _ = pyramid(stages)
    assert p4[0, 0].tolist() == [[101.0, 101, 102], [101, 101, 102], [103, 103, 104]]


def test_branches_have_as_many_steps_as_the_paper():
    with torch.device("meta"):
        model = fpn.fpn_resnet50(num_classes=19)
    assert [len(branch.convs) for branch in model.branches] == [1, 1, 2, 3]
    norms = [m for m in model.branches.modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == 7
    assert {(m.num_groups, m.num_channels) for m in norms} == {(32, 128)}
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.branches.modules())


@torch.no_grad()
def test_a_branch_convolves_before_it_enlarges():
    torch.manual_seed(0)
    branch = UpBranch(4, 32, steps=2)
    x = torch.randn(1, 4, 3, 2)
    first, second = branch.convs
    middle = F.interpolate(first(x), (5, 4), mode="bilinear")
    expected = F.interpolate(second(middle), (9, 7), mode="bilinear")
    torch.testing.assert_close(branch(x, [(5, 4), (9, 7)]), expected)


@torch.no_grad()
def test_a_batch_of_one_is_trained_as_in_a_larger_one():
    """Group normalisation sees one image at a time: the branch does not mix them."""
    torch.manual_seed(0)
    branch = UpBranch(4, 32, steps=1).train()
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(branch(x, [(9, 9)])[:1], branch(x[:1], [(9, 9)]))


@pytest.mark.parametrize("build", [vgg16, lambda: resnet50(output_stride=16)], ids=["vgg", "os16"])
def test_any_backbone(build):
    with torch.device("meta"):
        model = SemanticFPN(build(), num_classes=3)
        assert model(torch.empty(2, 3, 65, 97)).logits.shape == (2, 3, 65, 97)


def test_errors():
    with torch.device("meta"):
        with pytest.raises(ValueError, match="num_classes is 1"):
            fpn.fpn_resnet50(num_classes=1)
        with pytest.raises(ValueError, match="channels is 100.*multiple of 32"):
            SemanticFPN(resnet18(), num_classes=3, channels=100)
    assert SemanticFPN.aux_losses == {}
