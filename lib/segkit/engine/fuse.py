"""Batch normalisation folded into the convolution before it, where that is proven to be the same.

In eval mode a batch normalisation is a factor and an offset for each channel. After a convolution
both can be part of its weights, but only if nobody else reads what the convolution makes. The order
of registration does not tell (pre-activation, a convolution used twice), and a graph cannot be
traced through Python that asks for shapes. So the network runs once, without numbers, and is
watched.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Exactly these: a subclass may do more in its forward, such as an activation."""


def fuse_batch_norm(network: nn.Module, example: Tensor) -> int:
    """Fold what can be folded, in place.

    Where a batch normalisation was, an ``nn.Identity`` is. One whose numbers the network reads in
    another way than by calling it stays; asking it for a dtype or a device is not seen, and fails.

    Args:
        network: in eval mode.
        example: images that it takes, on the meta device.

    Returns:
        How many batch normalisations are gone.
    """
    pairs = _pairs(copy.deepcopy(network).to("meta"), example)
    for conv_name, norm_name in pairs:
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        _fold(conv, norm)
        replace(network, norm, nn.Identity())
    return len(pairs)


def replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module where another one is, wherever that is."""
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                parent._modules[name] = new


class _Reads(TorchDispatchMode):
    """Counts the operations that read each tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        self.alive: list[Any] = []  # or another tensor could take the id of one that is gone

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        self.count.update(id(tensor) for tensor in read)
        self.alive += [read, result]
        return result


def _pairs(twin: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Names of the convolutions and batch normalisations that can be one; the twin is used up."""
    calls: Counter[nn.Module] = Counter()
    made_by: dict[int, tuple[str, nn.Module]] = {}
    given_to: list[tuple[str, nn.Module, int]] = []

    def watch_conv(name: str, conv: nn.Module) -> None:
        def after(module: nn.Module, inputs: Any, output: Tensor) -> None:
            calls[conv] += 1
            made_by[id(output)] = name, conv

        conv.register_forward_hook(after)

    def watch_norm(name: str, norm: nn.Module) -> None:
        def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            calls[norm] += 1
            given_to.append((name, norm, id(inputs[0])))

        norm.register_forward_pre_hook(before)

    for name, module in twin.named_modules():
        own = module.training or "forward" in vars(module)  # it computes something else
        if own or module._forward_hooks or module._forward_pre_hooks:
            continue  # somebody wants to see what it reads or makes
        if type(module) in CONVOLUTIONS and "weight" in module._parameters:
            watch_conv(name, module)
        elif type(module) in NORMS and module.running_mean is not None:
            watch_norm(name, module)

    with torch.no_grad(), _Reads() as reads:
        output = twin(example)
    returned = {id(x) for x in tree_leaves(output)}

    pairs = []
    for norm_name, norm, tensor in given_to:
        conv_name, conv = made_by.get(tensor, ("", None))
        if conv is None or tensor in returned:
            continue
        # The result and what the two hold are each read once: by this pair.
        held = (conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        once = [reads.count[id(x)] for x in held if x is not None]
        if all(n == 1 for n in (calls[conv], calls[norm], reads.count[tensor], *once)):
            pairs.append((conv_name, norm_name))
    return pairs


@torch.no_grad()
def _fold(conv: nn.Module, norm: nn.Module) -> None:
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
