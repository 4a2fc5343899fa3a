"""Batch normalisation folded into the convolution before it, where that is proven to be the same.

In eval mode a batch normalisation is a factor and an offset for each channel. After a convolution
both can be part of its weights, but only if nobody else reads what the convolution makes. The order
of registration does not tell (pre-activation, a convolution used twice), and a graph cannot be
traced through Python that asks for shapes. So the network runs once, without numbers, and is
watched.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from segkit.export.surgery import Call, replace, tensors, watch
from segkit.nn import BATCH_NORMS

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


def fold_batch_norm(network: nn.Module, example: Tensor) -> int:
    """Fold what can be folded, in place.

    Where a batch normalisation was, an ``nn.Identity`` is. One whose numbers the network reads in
    another way than by calling it stays; asking it for a dtype or a device is not seen, and fails.

    Args:
        network: in eval mode.
        example: images that it takes, on the meta device.

    Returns:
        How many batch normalisations are gone.
    """
    pairs = _pairs(network, example)
    for conv_name, norm_name in pairs:
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        _fold(conv, norm)
        replace(network, norm, nn.Identity())
    return len(pairs)


class _Reads(TorchFunctionMode):
    """Counts the calls that read each tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        self.alive: list[Any] = []  # or another tensor could take the id of one that is gone

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # Whoever gets a number or a word has asked for a shape or a dtype, and read nothing.
        if result is None or any(True for _ in tensors(result)):
            read = list(tensors((args, kwargs)))
            self.count.update(id(tensor) for tensor in read)
            self.alive += [read, result]
        return result


def _pairs(network: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Names of the convolutions and batch normalisations that can be one."""
    reads = _Reads()
    calls, output = watch(network, example, (*CONVOLUTIONS, *BATCH_NORMS), reads)
    times = Counter(call.name for call in calls)
    made_by: dict[int, Call] = {}
    for call in calls:
        if _plain(network, call.name, CONVOLUTIONS):
            made_by[id(call.output)] = call
    for tensor in tensors(output):
        made_by.pop(id(tensor), None)  # who called reads it too

    pairs = []
    for call in calls:
        maker = made_by.get(id(call.input))
        if maker is None or not _plain(network, call.name, BATCH_NORMS):
            continue
        conv, norm = maker.module, call.module
        # The result and what the two hold are each read once: by this pair.
        held = (conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        once = [reads.count[id(x)] for x in (maker.output, *held) if x is not None]
        if norm.running_mean is not None and {times[maker.name], times[call.name], *once} == {1}:
            pairs.append((maker.name, call.name))
    return pairs


def _plain(network: nn.Module, name: str, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module is one of these, no subclass, and does what its class does in eval mode."""
    module = network.get_submodule(name)
    if type(module) not in kinds or module.training or "forward" in vars(module):
        return False
    if module._forward_hooks or module._forward_pre_hooks:  # there is no public way to ask
        return False
    return isinstance(module.weight, nn.Parameter) or module.weight is None


@torch.no_grad()
def _fold(conv: Any, norm: Any) -> None:
    """Make ``conv(x)`` what ``norm(conv(x))`` was; in float64, rounded once."""
    weight, mean = conv.weight.double(), norm.running_mean.double()
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight.double()
    before = 0 if conv.bias is None else conv.bias.double()
    bias = (before - mean) * factor
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    if isinstance(conv, _TRANSPOSED):  # (in, out / groups, ...): the groups lie along the inputs
        grouped = weight.unflatten(0, (conv.groups, -1))
        shape = (conv.groups, 1, -1, *[1] * (weight.ndim - 2))
        scaled = (grouped * factor.view(shape)).flatten(0, 1)
    else:
        scaled = weight * factor.view(-1, *[1] * (weight.ndim - 1))
    dtype = conv.weight.dtype
    conv.weight = nn.Parameter(scaled.to(dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
