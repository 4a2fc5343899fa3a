"""Ghost batches: the statistics of several GPUs on one device."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from segkit.engine.ghost import ghost_batches


def make() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4)
    )


IMAGES = torch.randn(6, 3, 9, 9, generator=torch.Generator().manual_seed(1)) * torch.arange(
    1.0, 7
).view(6, 1, 1, 1)


@pytest.mark.parametrize("groups", [2, 3])
def test_each_part_is_normalised_by_itself(groups):
    model, alone = make(), make()
    with ghost_batches(model, groups):
        together = model(IMAGES)
    parts = [copy.deepcopy(alone)(part) for part in IMAGES.chunk(groups)]
    torch.testing.assert_close(together, torch.cat(parts), rtol=0, atol=1e-6)
    assert (together - alone(IMAGES)).abs().max() > 0.1


def test_gradients_are_those_of_the_parts():
    model, alone = make(), make()
    with ghost_batches(model, 3):
        model(IMAGES).square().mul(IMAGES[:, :1, :5, :5]).sum().backward()
    for part in IMAGES.chunk(3):
        alone(part).square().mul(part[:, :1, :5, :5]).sum().backward()
    for a, b in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-3)


def test_running_statistics_are_those_of_the_first_part():
    model, first = make(), make()
    with ghost_batches(model, 2):
        model(IMAGES)
    first(IMAGES[:3])
    for a, b in zip(model.buffers(), first.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_one_group_changes_nothing():
    model, alone = make(), make()
    with ghost_batches(model, 1):
        assert torch.equal(model(IMAGES), alone(IMAGES))
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), alone.buffers(), strict=True))


def test_eval_mode_is_left_alone_and_so_are_odd_batches_then():
    model = make().eval()
    with ghost_batches(model, 4):
        inside = model(IMAGES)
    assert torch.equal(inside, model(IMAGES))


def test_it_is_put_back_also_after_an_error():
    model, alone = make(), make()
    with (
        pytest.raises(ValueError, match="6 images do not make 4 equal parts"),
        ghost_batches(model, 4),
    ):
        model(IMAGES)
    assert torch.equal(model(IMAGES), alone(IMAGES))


def test_a_batch_has_a_part():
    with pytest.raises(ValueError, match="groups is 0"), ghost_batches(make(), 0):
        pass


def test_one_inside_another_takes_its_place_for_a_while():
    norm = nn.BatchNorm2d(3)
    maps = torch.randn(8, 3, 4, 4)
    with ghost_batches(norm, 2):
        halves = norm(maps)
        with ghost_batches(norm, 4):
            quarters = norm(maps)
        torch.testing.assert_close(norm(maps), halves)
    assert "forward" not in norm.__dict__
    torch.testing.assert_close(
        quarters, torch.cat([nn.BatchNorm2d(3)(part) for part in maps.chunk(4)])
    )
