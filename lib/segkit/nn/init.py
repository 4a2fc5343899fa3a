"""How weights start."""

from __future__ import annotations

from typing import Literal

from torch import nn


def init_kaiming(module: nn.Module, *, mode: Literal["fan_in", "fan_out"] = "fan_in") -> None:
    """Draw every convolution in `module` from He's normal distribution; biases to zero.

    Batch normalisation is left at scale 1 and shift 0, where torch puts it. A module on the meta
    device, or without convolutions, is left as it is.

    Args:
        module: what to initialise, in place, with all its children.
        mode: which fan sets the variance, 2 / fan: "fan_in" keeps the size of the activations,
            "fan_out" that of the gradients.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015, https://arxiv.org/abs/1502.01852
    """
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode=mode, nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)


def init_decoder(network: nn.Module) -> None:
    """Draw every convolution of a network by `init_kaiming`, those of its ``backbone`` aside."""
    for name, child in network.named_children():
        if name != "backbone":
            init_kaiming(child)
