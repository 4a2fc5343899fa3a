"""Autocast: where a kernel is longer than its image the gradients are float32's."""

import pytest
import torch
from torch import nn

from segkit.engine.autocast import autocast

CPU = torch.device("cpu")


def fill_memory():
    """Leave numbers in freed memory, as a step before does, for kernels that do not write all."""
    blocks = [torch.full((2**n,), torch.nan) for n in range(6, 22)]
    del blocks


def gradients(layer, images, dtype):
    layer.zero_grad()
    fill_memory()
    with autocast(CPU, dtype):
        logits = layer(images)
    torch.manual_seed(1)
    logits.float().mul(torch.randn(logits.shape)).sum().backward()
    return logits, layer.weight.grad.clone()


LONG = [
    (nn.Conv2d(64, 32, 7, padding=3), (2, 2)),
    (nn.Conv2d(64, 32, 3, stride=2, padding=1), (4, 1)),
    (nn.Conv2d(32, 32, (5, 1), padding=(2, 0), groups=32), (1, 8)),
    (nn.Conv3d(30, 30, 3, padding=1), (2, 4, 4)),
    (nn.Conv3d(16, 16, 3, stride=2, padding=1), (4, 1, 2)),
    (nn.ConvTranspose2d(32, 32, 5, stride=2, padding=2), (1, 3)),
    (nn.ConvTranspose3d(32, 32, 3, stride=2, padding=1), (4, 1, 1)),
]


@pytest.mark.parametrize(("layer", "size"), LONG, ids=lambda value: str(value)[:70])
def test_long_kernels_are_computed_in_float32(layer, size):
    images = torch.randn(2, layer.in_channels, *size)
    exact, wanted = gradients(layer, images, None)
    for _ in range(3):
        logits, got = gradients(layer, images, torch.bfloat16)
        assert logits.dtype is torch.bfloat16
        torch.testing.assert_close(logits, exact.bfloat16(), atol=0, rtol=0)
        # The gradient that arrives is rounded to bfloat16, three digits.
        torch.testing.assert_close(got, wanted, atol=0.02 * wanted.abs().max().item(), rtol=0)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv2d(64, 32, 7, padding=3), (7, 9)),
        (nn.Conv2d(64, 32, 3, padding=6, dilation=6), (4, 4)),  # right in oneDNN, and ASPP's
        (nn.ConvTranspose2d(32, 32, 2, stride=2), (1, 1)),
    ],
    ids=str,
)
def test_others_are_computed_in_bfloat16(layer, size):
    images = torch.randn(2, layer.in_channels, *size)
    exact, wanted = gradients(layer, images, None)
    logits, got = gradients(layer, images, torch.bfloat16)
    assert logits.dtype is torch.bfloat16
    assert not torch.equal(logits, exact.bfloat16())
    torch.testing.assert_close(got, wanted, atol=0.02 * wanted.abs().max().item(), rtol=0)


def test_float32_is_left_alone():
    layer, images = nn.Conv2d(3, 4, 3, padding=1), torch.randn(1, 3, 2, 2)
    with autocast(CPU, None):
        assert layer(images).dtype is torch.float32
