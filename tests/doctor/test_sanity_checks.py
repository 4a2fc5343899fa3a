"""A good training passes every sanity check, and each fault fails the one that it belongs to."""

import math
import re

import pytest
import torch
from torch import nn

from segkit import data, transforms
from segkit.doctor import run_sanity_checks
from segkit.losses.combine import AuxLoss
from segkit.outputs import SegOutput

SIZE = (48, 60)


class Small(nn.Module):
    """A network of three convolutions, one of which may be cut off."""

    def __init__(self, *, cut=False, bias=0.0):
        super().__init__()
        self.cut = cut
        self.first = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.second = nn.Sequential(
            nn.Conv2d(24, 24, 3, padding=2, dilation=2), nn.BatchNorm2d(24), nn.ReLU()
        )
        self.head = nn.Conv2d(24, 11, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.constant_(self.head.bias, 0.0)
        self.head.bias.data[7] = bias

    aux_losses: dict[str, AuxLoss] = {}

    def forward(self, images):
        x = self.first(images)
        side = self.second(x.detach() if self.cut else x)
        return SegOutput(self.head(side if self.cut else x + side), {})


def pairs(split, length):
    transform = transforms.train(SIZE, (1.0, 1.0), flip=0, jitter=0)
    streets = data.SyntheticStreets(split, size=SIZE, length=length, transform=transform)
    images, labels = zip(*(streets[i] for i in range(length)), strict=True)
    return torch.stack(images), torch.stack(labels)


TRAIN, HELD_OUT = pairs("train", 16), pairs("val", 8)


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def run(build=Small, optimizer=sgd, train=TRAIN, held_out=HELD_OUT, **options):
    options = {"steps": 60, **options}
    return list(run_sanity_checks(build, train, held_out, build_optimizer=optimizer, **options))


def failed(findings):
    return [finding.check for finding in findings if finding.severity != "note"]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_good_training_passes_every_check(seed):
    found = run(seed=seed)
    assert [finding.check for finding in found] == [
        "learning_start", "learning_gradients", "learning_one_batch", "learning_true_labels",
    ]  # fmt: skip
    assert not failed(found), "\n".join(map(str, found))
    loss = re.match(r"loss at the start ([\d.]+);", found[0].what)
    assert float(loss[1]) == pytest.approx(math.log(11), abs=0.1)
    assert not any(finding.fix for finding in found)
    assert "normal is 1.20 to 4.80, as knowing nothing costs ln 11 = 2.40" in found[0].what


def test_a_head_with_a_huge_bias_fails_the_start_only():
    found = run(lambda: Small(bias=20.0), steps=10)
    assert failed(found)[0] == "learning_start"
    assert len(found) > 1  # from there one may learn
    assert "biases 0" in str(found[0])


def test_a_cut_branch_fails_the_gradients():
    found = run(lambda: Small(cut=True))
    assert failed(found) == ["learning_gradients"]
    assert found[-1].check == "learning_gradients"
    assert "first.0.weight" in found[-1].what
    assert ".detach()" in str(found[-1])


def test_nan_in_the_network_fails_the_gradients():
    class Rooted(Small):
        def forward(self, images):
            output = super().forward(images)  # the root of 0 has an infinite slope
            return output._replace(logits=output.logits + (self.head.bias * 0).sqrt().sum())

    found = run(Rooted)
    assert failed(found) == ["learning_gradients"]
    assert "NaN" in found[-1].what


def test_a_learning_rate_of_zero_fails_one_batch():
    found = run(optimizer=lambda model: sgd(model, 0.0))
    assert failed(found) == ["learning_one_batch"]
    assert "; 0% of the weights have changed" in found[-1].what
    assert "learning rate is 0" in str(found[-1])


def test_an_optimizer_of_other_weights_fails_one_batch():
    found = run(optimizer=lambda model: sgd(Small()))
    assert failed(found) == ["learning_one_batch"]
    assert "; 0% of the weights have changed" in found[-1].what


def test_a_rate_that_diverges_fails_one_batch():
    found = run(Plain, lambda model: sgd(model, 1e4))
    assert failed(found)[-1] == "learning_one_batch"


class Plain(Small):
    """The same without normalisation, which would hold any rate in check."""

    def __init__(self):
        super().__init__()
        self.first[1] = self.second[1] = nn.Identity()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_masks_of_other_images_fail_the_true_labels(seed):
    order = torch.randperm(16, generator=torch.Generator().manual_seed(seed + 1))
    train = TRAIN[0], TRAIN[1][order]
    held_out = HELD_OUT[0], HELD_OUT[1].roll(3, 0)
    found = run(train=train, held_out=held_out, seed=seed)
    assert failed(found) == ["learning_true_labels"], "\n".join(map(str, found))
    assert "do not belong together" in str(found[-1])


def test_the_callers_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    run(steps=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_too_few_pairs_or_no_labels_are_refused():
    few = TRAIN[0][:3], TRAIN[1][:3]
    with pytest.raises(ValueError, match="8 or more for training, and one"):
        run(train=few)
    with pytest.raises(ValueError, match="no pixel is labelled"):
        run(train=(TRAIN[0], torch.full_like(TRAIN[1], 255)))
