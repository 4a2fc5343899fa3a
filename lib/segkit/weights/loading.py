"""From a source of weights into a network that they fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

from segkit.files import shown
from segkit.weights import torchvision_weights
from segkit.weights.downloads import Source, fetch
from segkit.weights.files import is_pickle, read_header, read_shapes, read_tensors
from segkit.weights.torchvision_weights import Rename
from segkit.weights.wrappers import match_names, plain_names, plain_state, unwrapped

Network = TypeVar("Network", bound=nn.Module)


def load_weights(model: nn.Module, source: Source, *, strict: bool = True) -> dict[str, Any]:
    """Load weights into a network, on the device where it is.

    Names are compared as if neither side were wrapped: a compiled, parallel or averaged network
    gets its weights, and of a file that was saved with something around the network one prefix of
    all names (``module.``, ``_orig_mod.``, ``model.`` and the like) is taken off, with a warning.

    Args:
        model: the network, changed in place; as it was when anything is raised.
        source: see `Source`. What lies on the net is downloaded once, into `cache_dir`;
            torchvision's weights into the cache of torch.hub. Networks that torchvision has weights
            of also take its ``.pth`` files, read by ``torch.load(..., weights_only=True)``.
        strict: False loads the tensors whose name and shape fit and warns about the others.

    Returns:
        The file's header, see `read_header`; of torchvision's weights "source" and "classes".

    Raises:
        ValueError: the file is a pickle, damaged or another network's, its checksum is wrong, or
            it holds NaN or infinite numbers.
        FileNotFoundError: there is no such file.
        ConnectionError: the download failed; what arrived is kept for the next attempt.
    """
    own = state_of(model)
    stored = open_for(model, source)
    fitting = (own.keys() & stored.shapes.keys()) - set(other_shapes(own, stored.shapes))
    if found := misfit(stored, model):
        if strict or not fitting:
            raise misfit_error(found, stored.header)
        warnings.warn(f"{found}; the rest was loaded", stacklevel=2)
    put(model, stored.tensors(fitting))
    if stored.prefix:
        warnings.warn(f"{stored.name}: {stored.said()}", stacklevel=2)
    return stored.header


def with_weights(model: Network, source: Source | None) -> Network:
    """Load weights into a network, or none; how every builder ends.

    Args:
        model: the network.
        source: see `Source`; None leaves the network as it is.

    Returns:
        The same network. Errors are `load_weights`'.
    """
    if source is not None:
        load_weights(model, source)
    return model


class Stored(NamedTuple):
    """Weights that lie somewhere, under a network's names; their numbers are read when asked for.

    Attributes:
        name: what messages call them.
        header: see `read_header`.
        shapes: the tensors, on the meta device unless they are in memory anyway.
        read: gives some of the tensors by name.
        prefix: what was taken off their names for the network's, see `match_names`.
    """

    name: str
    header: dict[str, Any]
    shapes: Mapping[str, Tensor]
    read: Callable[[Collection[str]], dict[str, Tensor]]
    prefix: str

    def tensors(self, names: Collection[str]) -> dict[str, Tensor]:
        """Some of the tensors, by name."""
        return self.read(names)

    def said(self) -> str:
        """That a prefix was taken off, as a clause."""
        return f"{self.prefix!r} was taken off the names of its tensors"


def open_for(model: nn.Module, source: Source, *, rename: Rename | None = None) -> Stored:
    """Find weights for a network, without reading a file's tensors.

    Args:
        model: the network.
        source: see `Source`.
        rename: of the tensors of a ``.pth`` file, which is read with one only; None takes that of
            torchvision's names, where the network has one.

    Raises:
        ValueError: as `load_weights`; a tensor of NaN or infinite numbers when it is read.
    """
    network = unwrapped(model)
    header: dict[str, Any] = {}
    state = None
    if torchvision_weights.is_name(source):
        name = str(source)
        header, state = torchvision_weights.download(name, network)
    else:
        name = str(path := fetch(source))
        rename = rename or torchvision_weights.renaming(network)
        if rename and is_pickle(path):
            state = torchvision_weights.read_pth(path, rename)
        else:
            header = read_header(path)
    shapes = read_shapes(path) if state is None else state
    buffers = dict(network.named_buffers())
    own = plain_names(network)
    mine = plain_state(network)
    names, prefix = match_names(shapes, own, source=name)

    def read(wanted: Collection[str]) -> dict[str, Tensor]:
        theirs = {names[key] for key in wanted}
        found = read_tensors(path, theirs) if state is None else state
        tensors = {key: found[names[key]] for key in wanted}
        _refuse_other_kinds(name, tensors, mine)
        _refuse_non_finite(name, tensors, {k: buffers.get(own.get(k, k)) for k in tensors})
        return tensors

    return Stored(name, header, {k: shapes[v] for k, v in names.items()}, read, prefix)


def _refuse_non_finite(
    name: str, tensors: dict[str, Tensor], buffers: Mapping[str, Tensor | None]
) -> None:
    broken = [
        key
        for key, tensor in tensors.items()
        # A mask of -inf is meant.
        if not _finite(tensor) and ((own := buffers[key]) is None or _finite(own))
    ]
    if broken:
        raise ValueError(
            f"{shown(name)} has NaN or infinite numbers in {len(broken)} of {len(tensors)} "
            f"tensors, first in {_short(min(broken))}, as after a training that diverged: give "
            "weights of an earlier step or of another run"
        )


def _refuse_other_kinds(
    name: str, tensors: Mapping[str, Tensor], mine: Mapping[str, Tensor]
) -> None:
    """Refuse what torch would cast with a loss of what the numbers mean: cut off, or quantised."""
    other = [
        key
        for key, tensor in tensors.items()
        if key in mine and mine[key].is_floating_point() and not tensor.is_floating_point()
    ]
    if other:
        key = min(other)
        raise ValueError(
            f"{shown(name)} has {tensors[key].dtype} in {_short(key)} and {len(other) - 1} more of "
            f"{len(tensors)} tensors, where the network has {mine[key].dtype}: they are quantised "
            "or another "
            "network's; give the weights as floating-point numbers"
        )


def _finite(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor are; integers and complex ones are not looked at."""
    if not tensor.is_floating_point():
        return True
    # Torch has no isfinite for every kind of 8 bits.
    return bool((tensor if tensor.itemsize > 1 else tensor.float()).isfinite().all())


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network that has memory to load weights into, see `plain_state`."""
    own = plain_state(unwrapped(model))
    if any(tensor.is_meta for tensor in own.values()):
        raise ValueError("the model is on the meta device: model.to_empty(device=...) comes first")
    return own


def put(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors, by the names of `state_of`, into a network."""
    network = unwrapped(model)
    names = plain_names(network)
    network.load_state_dict({names[key]: tensor for key, tensor in tensors.items()}, strict=False)


def other_shapes(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """The names that both have, with tensors of different shapes; sorted."""
    return sorted(k for k in own.keys() & tensors.keys() if own[k].shape != tensors[k].shape)


def misfit(stored: Stored, model: nn.Module) -> str:
    """In which tensors weights and a network differ, in words; "" where they do not."""
    network = unwrapped(model)
    own, tensors = plain_state(network), stored.shapes
    different = [
        f"{_short(k)} {[*tensors[k].shape]} for {[*own[k].shape]}"
        for k in other_shapes(own, tensors)
    ]
    if not different and own.keys() == tensors.keys():
        return ""
    without = f" ({stored.said()})" if stored.prefix else ""
    return (
        f"{shown(stored.name)} does not fit {type(network).__name__}{without}: "
        f"{_some('missing', sorted(own.keys() - tensors.keys()))}; "
        f"{_some('not in the model', sorted(tensors.keys() - own.keys()))}; "
        f"{_some('of another shape', different)}"
    )


def misfit_error(found: str, header: dict[str, Any]) -> ValueError:
    """The error for a `misfit`, with what the file says about itself."""
    written = f"{shown(header.get('builder', 'nothing')):.80}"
    if header.get("arguments"):
        written += f", {shown(header['arguments']):.200}"
    return ValueError(
        f"{found}. Build the network that the file is for (its header says: {written}) or, "
        "where a part fits, load that with strict=False"
    )


def _some(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    shown = ", ".join(map(_short, names[:5]))
    return f"{len(names)} {what}" + (f" ({shown}{more})" if names else "")


def _short(name: str) -> str:
    name = shown(name)
    return name if len(name) <= 120 else f"{name[:117]}..."
