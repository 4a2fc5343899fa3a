"""Attention between pixels, by hand."""

import math

import torch

from segkit.nn.pixel_attention import pixel_attention


def test_mean_of_the_values_by_hand():
    # One pixel asks, two answer. Products of 0 and 2 log 3, of four channels: weights 1 to 3.
    query = torch.ones(1, 4, 1, 1)
    key = torch.zeros(1, 4, 1, 2)
    key[0, :, 0, 1] = math.log(3) / 2
    value = torch.tensor([[4.0, 8.0], [0.0, 1.0]]).reshape(1, 2, 1, 2)
    result = pixel_attention(query, key, value)
    torch.testing.assert_close(result, torch.tensor([7.0, 0.75]).reshape(1, 2, 1, 1))


def test_every_pixel_stays_at_its_place():
    torch.manual_seed(0)
    query, key = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 2, 6)
    value = torch.randn(2, 7, 2, 6)
    likeness = torch.einsum("bchw,bcij->bhwij", query, key) / math.sqrt(3)
    weights = likeness.flatten(3).softmax(dim=3).view_as(likeness)
    expected = torch.einsum("bhwij,bdij->bdhw", weights, value)
    torch.testing.assert_close(pixel_attention(query, key, value), expected)


def test_equal_pixels_give_the_mean():
    value = torch.arange(6.0).reshape(1, 1, 2, 3)
    alike = torch.ones(1, 2, 2, 3)
    assert pixel_attention(alike, alike, value).flatten().tolist() == [2.5] * 6
