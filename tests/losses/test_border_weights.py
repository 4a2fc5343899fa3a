"""Equation 2 of U-Net: by hand, by brute force over all pixels, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch

from segkit.losses import border_weights


def brute(instances, strength=10.0, sigma=5.0):
    """All distances at once, without windows."""
    place = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in instances.shape))
    flat = instances.flatten()
    distance = torch.stack(
        [torch.cdist(place, place[flat == n]).amin(1) for n in flat.unique() if n]
    )
    two = distance.sort(0).values[:2].sum(0).reshape(instances.shape)
    return strength * torch.exp(-(two**2) / (2 * sigma**2))


def test_by_hand():
    one_pixel_apart = torch.tensor([[1, 0, 2]])
    want = 10 * math.exp(-(2**2) / 50)  # in the middle 1 + 1; within an object 0 + 2
    torch.testing.assert_close(border_weights(one_pixel_apart), torch.full((1, 3), want))


@pytest.mark.parametrize("sigma", [1.0, 5.0])
def test_windows_change_nothing(sigma):
    torch.manual_seed(0)
    instances = torch.zeros(90, 70, dtype=torch.uint8)
    for n in range(1, 12):
        top, left = int(torch.randint(84, ())), int(torch.randint(62, ()))
        instances[top : top + 6, left : left + 8] = n
    instances[80:, 60:] = 250  # numbers need not follow each other
    got = border_weights(instances, sigma=sigma)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), brute(instances, sigma=sigma), atol=4e-3, rtol=1e-4)


def test_one_object_has_no_border():
    assert border_weights(torch.tensor([[0, 1, 1, 0]])).tolist() == [[0, 0, 0, 0]]
    assert not border_weights(torch.zeros(3, 4, dtype=torch.int64)).any()


def test_what_is_refused():
    for wrong in (torch.zeros(2, 3), torch.zeros(1, 2, 3, dtype=torch.int64), torch.tensor([[-1]])):
        with pytest.raises(ValueError, match="instances are"):
            border_weights(wrong)
    for options in ({"sigma": 0}, {"strength": -1}, {"sigma": math.nan}):
        with pytest.raises(ValueError, match="strength="):
            border_weights(torch.zeros(2, 3, dtype=torch.int64), **options)


def test_large_objects_take_memory_by_their_size_alone():
    """All distances between two such objects' pixels would be 40 GB."""
    instances = torch.zeros(340, 340, dtype=torch.int64)
    instances[:, :168], instances[:, 172:] = 1, 2
    got = border_weights(instances)
    want = 10 * math.exp(-(5**2) / 50)  # four pixels of gap: d1 + d2 = 5 on each
    torch.testing.assert_close(got[:, 168:172], torch.full((340, 4), want))
    assert not got[:, :140].any()
