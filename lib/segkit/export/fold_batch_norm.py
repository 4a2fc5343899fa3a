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
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

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
    pairs = _pairs(copy.deepcopy(network).to("meta"), example)
    for conv_name, norm_name in pairs:
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        _fold(conv, norm)
        replace(network, norm, nn.Identity())
    return len(pairs)


def replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module where another one is, under all of its names."""
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if module is old:
            network.set_submodule(name, new)


def tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors in nested dicts, lists and tuples."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from tensors(branch)


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


def _pairs(twin: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Names of the convolutions and batch normalisations that can be one; the twin is used up."""
    calls: Counter[str] = Counter()
    made_by: dict[int, str] = {}
    given_to: list[tuple[str, int]] = []

    def after_conv(name: str, conv: nn.Module, inputs: Any, output: Tensor) -> None:
        calls[name] += 1
        made_by[id(output)] = name

    def before_norm(name: str, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[name] += 1
        given_to.append((name, id(inputs[0])))

    for name, module in twin.named_modules():
        own = module.training or "forward" in vars(module)  # it computes something else
        # Private, but torch has no other word for whether somebody watches a module.
        if own or module._forward_hooks or module._forward_pre_hooks:
            continue
        if type(module) in CONVOLUTIONS and isinstance(module.weight, nn.Parameter):
            module.register_forward_hook(partial(after_conv, name))
        # Exactly these: a subclass may do more in its forward, such as an activation.
        elif type(module) in BATCH_NORMS and module.running_mean is not None:
            module.register_forward_pre_hook(partial(before_norm, name))

    with torch.no_grad(), _Reads() as reads:
        returned = {id(tensor) for tensor in tensors(twin(example))}

    pairs = []
    for norm_name, tensor in given_to:
        conv_name = made_by.get(tensor)
        if conv_name is None or tensor in returned:
            continue
        conv, norm = twin.get_submodule(conv_name), twin.get_submodule(norm_name)
        # The result and what the two hold are each read once: by this pair.
        held = (conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        once = [reads.count[id(x)] for x in held if x is not None]
        if all(n == 1 for n in (calls[conv_name], calls[norm_name], reads.count[tensor], *once)):
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
