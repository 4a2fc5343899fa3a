"""A batch normalisation goes into its convolution where that is the same, and nowhere else."""

from __future__ import annotations

import copy
import types

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.export.fold_batch_norm import fold_batch_norm


@pytest.fixture(scope="module")
def folded(lived_in):
    """Folds a copy, requires that it computes the same, and says how many went."""

    def fold(network: nn.Module) -> int:
        lived_in(network)
        copied = copy.deepcopy(network)
        count = fold_batch_norm(copied, torch.empty(1, 4, 8, 8, device="meta"))
        x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            for found, expected in zip(copied(x), network(x), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        return count

    return fold


class Block(nn.Module):
    """A convolution and a normalisation, used as `how` says."""

    def __init__(self, how, conv=None):
        super().__init__()
        self.how = how
        self.bn = nn.BatchNorm2d(4)  # registered first: the order of registration says nothing
        self.conv = conv or nn.Conv2d(4, 4, 3, padding=1)
        self.other = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.how(self, x)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 1, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.ConvTranspose2d(4, 4, 2, stride=2),
        nn.ConvTranspose2d(4, 4, 3, groups=2, bias=False),
    ],
)
def test_a_convolution_takes_its_normalisation(folded, conv):
    assert folded(Block(lambda self, x: (self.bn(self.conv(x)),), conv)) == 1


@pytest.mark.parametrize(
    "how",
    [
        lambda self, x: (self.conv(self.bn(x)),),  # pre-activation
        lambda self, x: (self.bn(y := self.conv(x)) + y,),  # read twice, by an addition
        lambda self, x: (self.bn(y := self.conv(x)), y),  # read by who called
        lambda self, x: (self.bn(y := self.conv(x)), self.other(y)),
        lambda self, x: (self.bn(self.conv(self.conv(x))),),  # a convolution used twice
        lambda self, x: (self.bn(self.conv(x)), self.bn(x)),  # a normalisation used twice
        lambda self, x: (self.bn(self.conv(x).relu_()),),  # changed in place between them
        lambda self, x: (self.bn(y := self.conv(x)), x.clone().__setitem__(..., y)),  # and written
        lambda self, x: (self.bn(self.conv(x)), F.conv2d(x, self.conv.weight)),
        lambda self, x: (self.bn(F.conv2d(x, self.conv.weight)),),
        lambda self, x: (self.bn(self.conv(x)), x + self.conv.bias.sum()),
        lambda self, x: (self.bn(self.conv(x)) * self.bn.weight.mean(),),
        lambda self, x: (self.bn(self.conv(x)) + self.bn.bias.mean(),),
        lambda self, x: (self.bn(self.conv(x)) + self.bn.running_mean.mean(),),
        lambda self, x: (self.bn(self.conv(x)) + self.bn.running_var.sum(),),
    ],
)
def test_what_is_not_proven_stays(folded, how):
    assert folded(Block(how)) == 0


def test_a_watched_convolution_stays(folded):
    block = Block(lambda self, x: (self.bn(self.conv(x)),))
    block.conv.register_forward_hook(lambda *_: None)
    assert folded(block) == 0


def squared(self, x):
    return nn.BatchNorm2d.forward(self, x) ** 2


def with_bounded_weights(self, x):
    return F.conv2d(x, self.weight.tanh())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda block: setattr(block.bn, "forward", types.MethodType(squared, block.bn)),
        lambda block: setattr(
            block.conv, "forward", types.MethodType(with_bounded_weights, block.conv)
        ),
        lambda block: block.bn.train(),
        lambda block: setattr(block, "bn", nn.BatchNorm2d(4, track_running_stats=False).eval()),
    ],
)
def test_what_computes_something_of_its_own_stays(lived_in, spoil):
    block = lived_in(Block(lambda self, x: (self.bn(self.conv(x)),)))
    spoil(block)
    assert fold_batch_norm(block, torch.empty(1, 4, 16, 16, device="meta")) == 0


def test_asking_for_a_shape_reads_nothing(folded):
    assert folded(Block(lambda self, x: (self.bn(y := self.conv(x)) * y.shape[1] * y.dim(),))) == 1
