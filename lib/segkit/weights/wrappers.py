"""What is around a network while it trains, and what that puts into the names of its tensors.

`torch.compile` adds ``_orig_mod.``, DataParallel and DistributedDataParallel ``module.``, an
AveragedModel ``module.`` and a counter beside it; Lightning keeps the network as an attribute of
its own, ``model.`` or ``net.``. None of it is the network's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
DEEPEST = 8
"""Parts of a name that may be a prefix: a name of a million parts would be cut a million times."""
COUNTER = "n_averaged"
"""What an AveragedModel counts beside the weights."""


def unwrapped(model: Any) -> Any:
    """The network inside compiled, parallel and averaged ones; itself where there is none."""
    while inner := _inner(model):
        model = getattr(model, inner)
    return model


def plain_names(model: nn.Module) -> dict[str, str]:
    """The names of a network's tensors as if nothing in it were wrapped, with those they have."""
    wrapped = [
        (f"{name}." if name else "", f"{inner}.")
        for name, module in model.named_modules()
        if (inner := _inner(module))
    ]
    names = {}
    for name in model.state_dict():
        plain = name
        for outer, inner in reversed(wrapped):  # what lies deepest comes first
            if plain == outer + COUNTER:
                break
            if plain.startswith(outer + inner):
                plain = outer + plain.removeprefix(outer + inner)
        else:
            names[plain] = name
    return names


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network as if nothing in it were wrapped."""
    state = model.state_dict()
    return {plain: state[name] for plain, name in plain_names(model).items()}


def _inner(module: Any) -> str:
    """The attribute in which a module holds what it wraps; "" for one that wraps nothing."""
    if isinstance(module, (*PARALLEL, AveragedModel)):
        return "module"
    # Its class is torch._dynamo's, whose import takes a second.
    return "_orig_mod" if isinstance(getattr(module, "_orig_mod", None), nn.Module) else ""


def without_wrappers(name: str) -> str:
    """A tensor's name without what torch's own wrappers put into it, wherever they stand."""
    return re.sub(r"(^|\.)(?:(?:module|_orig_mod)\.)+", r"\1", name)


def match_names(
    names: Collection[str], own: Collection[str], *, source: str
) -> tuple[dict[str, str], str]:
    """Find a network's names in those of a file that was saved with something around it.

    Args:
        names: of a file's tensors.
        own: of the network's.
        source: what the file is called.

    Returns:
        The file's names by what they are called in the network, and the prefix that was taken off
        for it: "" where the names are the network's, or closer to them than with any prefix.

    Raises:
        ValueError: the file holds all of the network under several prefixes.
    """
    bare = {without_wrappers(name): name for name in names}
    best = ({name: name for name in names}, "")
    most = len(best[0].keys() & own)
    for candidate in ({name: name for name in names}, bare):
        found = Counter(
            name[:end]
            for name in candidate
            for end in [0, *(dot.end() for dot in islice(re.finditer(r"\.", name), DEEPEST))]
            if name[end:] in own
        )
        for prefix, count in sorted(found.items(), key=lambda item: (len(item[0]), item[0])):
            if count <= most or 2 * count < len(own):
                continue
            whole = sorted(each for each, number in found.items() if number == len(own))
            if len(whole) > 1:
                raise ValueError(
                    f"{source} holds the network {len(whole)} times, its names beginning with "
                    f"{' and '.join(f'{each!r:.80}' for each in whole[:3])}: keep one. import "
                    "segkit; from safetensors.torch import load_file; "
                    f"state = {{k: v for k, v in load_file({source!r}).items() "
                    f"if k.startswith({whole[0]!r:.80})}}; "
                    "segkit.save_weights(state, 'one.safetensors', header={})"
                )
            most = count
            mapped = {
                name.removeprefix(prefix): candidate[name]
                # Those with the prefix last: they are the network's.
                for name in sorted(candidate, key=lambda name: name.startswith(prefix))
                if name.rpartition(".")[2] != COUNTER
            }
            best = (mapped, prefix or _between(names, candidate))
    return best


def _between(names: Collection[str], bare: dict[str, str]) -> str:
    """What was taken out of the middle of the names."""
    return next(part for part in ("_orig_mod.", "module.") for n in bare.values() if part in n)
