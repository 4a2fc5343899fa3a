"""Freezing: what is frozen does not change, what is not does."""

import pytest
import torch
from torch import nn

from segkit import engine, losses
from segkit.engine.freeze import freeze
from segkit.outputs import SegOutput


class Network(nn.Module):
    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), norm(4), nn.Dropout(0.5))
        self.neck = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 2, 1)
        self.aux_losses = {}

    def forward(self, images):
        return SegOutput(self.head(self.neck(self.backbone(images))), {})


def trained(part, steps=3):
    """What three steps, with an evaluation between them, leave of each tensor: changed or not."""
    model = Network()
    freeze(model, part)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    images, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 2, (2, 8, 8))
    stream = engine.train(
        model,
        iter([(images, labels)] * steps),
        loss=losses.combine(losses.cross_entropy, {}),
        optimizer=torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5),
        steps=steps,
    )
    for _ in stream:
        engine.evaluate(model, [(images, labels)], num_classes=2)  # leaves the modes as they were
        assert model.backbone[2].training
        assert model.neck.training
    return {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}


HEAD = {"neck.weight", "neck.bias", "neck.running_mean", "neck.running_var",
        "neck.num_batches_tracked", "head.weight", "head.bias"}  # fmt: skip


def test_a_frozen_backbone_keeps_its_weights_and_statistics():
    assert trained("backbone") == HEAD


def test_frozen_norms_let_the_convolutions_learn():
    assert trained("backbone_norms") == HEAD | {"backbone.0.weight", "backbone.0.bias"}


def test_nothing_frozen_changes_everything():
    assert trained("none") == set(Network().state_dict())


def test_a_frozen_norm_normalises_by_the_statistics_it_came_with():
    model = Network()
    freeze(model, "backbone_norms")
    assert model.backbone[1].frozen
    assert not model.backbone[1].training
    assert not hasattr(model.neck, "frozen")
    images = 5 + torch.randn(2, 3, 8, 8)
    expected = model.backbone[0](images) / (1 + model.backbone[1].eps) ** 0.5
    torch.testing.assert_close(model.backbone[1](model.backbone[0](images)), expected)


@pytest.mark.parametrize(
    ("part", "norm", "line"),
    [
        ("none", nn.BatchNorm2d, ""),
        (
            "backbone",
            nn.BatchNorm2d,
            "frozen: the backbone, 120 of 138 parameters, and its BatchNorms' statistics",
        ),
        (
            "backbone_norms",
            nn.BatchNorm2d,
            "frozen: the backbone's BatchNorms, 8 of 138 parameters, and their statistics",
        ),
        (
            "backbone",
            lambda width: nn.GroupNorm(2, width),
            "frozen: the backbone, 120 of 138 parameters",
        ),
    ],
)
def test_it_says_what_is_frozen(part, norm, line):
    model = Network(norm=norm)
    model.head.requires_grad_(False)  # by somebody else
    assert freeze(model, part) == line


@pytest.mark.parametrize(
    ("model", "part", "match"),
    [
        (nn.Conv2d(3, 2, 1), "backbone", "Conv2d has none"),
        (Network(norm=lambda width: nn.GroupNorm(2, width)), "backbone_norms", "no BatchNorm"),
        (Network(), "head", "part is 'head'"),
    ],
)
def test_what_cannot_be_frozen_is_refused(model, part, match):
    with pytest.raises(ValueError, match=match):
        freeze(model, part)


def test_a_backbone_without_batchnorm_can_be_frozen_whole():
    model = Network(norm=lambda width: nn.GroupNorm(2, width))
    freeze(model, "backbone")
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "neck.weight", "neck.bias", "head.weight", "head.bias",
    }  # fmt: skip
