"""Looking at a network while it runs without numbers, and exchanging its parts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Call(NamedTuple):
    """One call of a module: its name in the network, its first argument and what it made."""

    name: str
    module: nn.Module
    input: Any
    output: Any


def watch(
    network: nn.Module,
    example: Tensor,
    kinds: tuple[type[nn.Module], ...],
    within: AbstractContextManager | None = None,
) -> tuple[list[Call], Any]:
    """Run a copy of a network without numbers.

    Args:
        network: stays as it is.
        example: images that it takes, on the meta device.
        kinds: of the modules whose calls are noted.
        within: entered while the copy runs.

    Returns:
        The calls, in their order and with modules of the copy, and what the network returns.
    """
    twin = copy.deepcopy(network).to("meta")
    calls: list[Call] = []

    def note(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls.append(Call(name, module, next(iter(inputs), None), output))

    for name, module in twin.named_modules():
        if isinstance(module, kinds):
            module.register_forward_hook(partial(note, name))
    with torch.no_grad(), within or nullcontext():
        return calls, twin(example)


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
