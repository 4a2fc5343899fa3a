"""What a network costs, measured on the meta device: no memory, no time, any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> dict[str, int]:
    """Parameters in total and by direct submodule, those of a list one by one.

    Running statistics of batch normalisation are buffers and do not count.
    """
    counts = {"total": sum(p.numel() for p in model.parameters())}
    for name, child in model.named_children():
        if amount := sum(p.numel() for p in child.parameters()):
            counts[name] = amount
    direct = sum(p.numel() for p in model.parameters(recurse=False))
    return counts | ({"(own)": direct} if direct else {})


def flops(model: nn.Module, size: Sequence[int], *, in_channels: int = 3) -> int:
    """Floating-point operations of one image in eval mode.

    Convolutions, linear layers and matrix products only; a multiply-add counts as two.

    Args:
        model: on the meta device; left in eval mode.
        size: (H, W), or (D, H, W) of a volume.
        in_channels: channels of the image.
    """
    model.eval()
    images = torch.empty(1, in_channels, *size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    return counter.get_total_flops()


def activation_bytes(model: nn.Module, size: Sequence[int]) -> int:
    """Bytes that autograd keeps for the backward pass of one image of a batch, in float32.

    Each storage counts once, parameters and buffers do not. Two images are run, since batch
    normalisation may need them, and halved.

    Args:
        model: on the meta device; left in train mode.
        size: (H, W), or (D, H, W) of a volume.
    """
    model.train()
    own = [*model.parameters(), *model.buffers()]
    keys = {tensor.untyped_storage()._cdata for tensor in own}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        key = tensor.untyped_storage()._cdata
        if key not in keys:
            kept[key] = tensor  # held, so that no other storage takes its address
        return tensor

    images = torch.empty(2, 3, *size, device="meta")
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(images)
        loss: Any = output.logits.sum()
    del loss
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) // 2


def shapes(model: nn.Module, sizes: Sequence[Sequence[int]]) -> dict[str, list[int]]:
    """The shape of the logits of one image at several sizes, each named as in "33x47"."""
    model.eval()
    found = {}
    for size in sizes:
        images = torch.empty(1, 3, *size, device="meta")
        found["x".join(map(str, size))] = list(model(images).logits.shape)
    return found
