"""A network as a program of torch.export, for images of any number and size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from segkit.export.logits import LogitsOnly

_ANY = 2**31
"""Pixels: a bound above it is none."""


class FromColours(nn.Module):
    """Logits of images as they are decoded: the normalisation of training is inside.

    Args:
        model: the network, put into eval mode.
        mean: of colours in 0..1, in the order of `channels`.
        std: in the same order.
        channels: the order of the colours that the network reads, of images that come as RGB.

    Returns (forward):
        logits (B, K, H, W) of uint8 images (B, 3, H, W), RGB.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        channels: str = "RGB",
    ) -> None:
        super().__init__()
        self.network = LogitsOnly(model)
        self.order = ["RGB".index(channel) for channel in channels]
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """The logits of images; see the class."""
        if self.order != sorted(self.order):
            images = images[:, self.order]
        return self.network((images.float() / 255 - self.mean) / self.std)


def export_program(network: nn.Module, images: Tensor) -> ExportedProgram:
    """Trace a network that returns a tensor; sides and, above one, batch may be any afterwards.

    Args:
        network: in eval mode.
        images: (B, C, H, W) or (B, C, D, H, W), of any values.

    Raises:
        ValueError: it asks for numbers, fixes a size, or does another thing above one.
    """
    free = {axis: Dim.DYNAMIC for axis in range(images.ndim) if axis != 1}
    if len(images) == 1:
        del free[0]
    try:
        with torch.no_grad():
            program = torch.export.export(network, (images,), dynamic_shapes=(free,))
    except Exception as error:  # whatever the network's own code meets with numbers unknown
        raise ValueError(
            "the network cannot be exported for images of every size: what its code asks of a "
            "tensor's numbers or size may not decide what it computes, and torch.export says: "
            f"{first_line(error)}"
        ) from error
    largest = min((sizes.upper for sizes in program.range_constraints.values()), default=_ANY)
    if largest < _ANY:  # which the program would say of other images, and an ONNX file would not
        raise ValueError(
            f"the network does another thing for images of sides above {largest} pixels than for "
            "smaller ones, and a program does one thing"
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine, which the file would carry
    return program


def first_line(error: Exception) -> str:
    """The first sentence of an error: torch's go on with advice and a stack."""
    lines = [line.strip(" -") for line in str(error).splitlines()]
    lines = [line for line in lines if line and "TORCH_LOGS" not in line]
    return f"{lines[0].split('. ')[0] if lines else type(error).__name__:.300}".rstrip(".")
