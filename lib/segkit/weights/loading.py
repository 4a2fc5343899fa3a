"""From a source of weights into a network that they fit."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

from torch import Tensor, nn

from segkit.weights import torchvision_weights
from segkit.weights.downloads import Source, fetch
from segkit.weights.files import is_pickle, read

Network = TypeVar("Network", bound=nn.Module)


def load_weights(model: nn.Module, source: Source, *, strict: bool = True) -> dict[str, Any]:
    """Load weights into a network, on the device where it is.

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
    name, header, tensors = read_for(model, source)
    shapes = other_shapes(own, tensors)
    if shapes or own.keys() != tensors.keys():
        found = misfit(name, model, tensors)
        fitting = (own.keys() & tensors.keys()) - set(shapes)
        if strict or not fitting:
            raise misfit_error(found, header)
        warnings.warn(f"{found}; the rest was loaded", stacklevel=2)
    fitting = {k: v for k, v in tensors.items() if k in own and k not in shapes}
    model.load_state_dict(fitting, strict=False)
    return header


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


def read_for(model: nn.Module, source: Source) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """What a source is called, its header, and its tensors under the names of a network's.

    Raises:
        ValueError: a tensor has NaN or infinite numbers; and as `load_weights`.
    """
    if torchvision_weights.is_name(source):
        name = str(source)
        header, tensors = torchvision_weights.download(name, model)
    else:
        name = str(path := fetch(source))
        rename = torchvision_weights.renaming(model)
        if rename and is_pickle(path):
            header, tensors = {}, torchvision_weights.read_pth(path, rename)
        else:
            header, tensors = read(path, with_tensors=True)
    own = dict(model.named_buffers())  # a mask of -inf is meant
    if broken := [
        k for k, t in tensors.items() if not _finite(t) and (k not in own or _finite(own[k]))
    ]:
        raise ValueError(
            f"{name} has NaN or infinite numbers in {len(broken)} of {len(tensors)} tensors, first "
            f"in {broken[0]}, as after a training that diverged: give weights of an earlier step "
            "or of another run"
        )
    return name, header, tensors


def _finite(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor are; integers and complex ones are not looked at."""
    if not tensor.is_floating_point():
        return True
    # Torch has no isfinite for every kind of 8 bits.
    return bool((tensor if tensor.itemsize > 1 else tensor.float()).isfinite().all())


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network that has memory to load weights into."""
    own = model.state_dict()
    if any(tensor.is_meta for tensor in own.values()):
        raise ValueError("the model is on the meta device: model.to_empty(device=...) comes first")
    return own


def other_shapes(own: dict[str, Tensor], tensors: dict[str, Tensor]) -> list[str]:
    """The names that both have, with tensors of different shapes; sorted."""
    return sorted(k for k in own.keys() & tensors.keys() if own[k].shape != tensors[k].shape)


def misfit(name: str, model: nn.Module, tensors: dict[str, Tensor]) -> str:
    """In which tensors a file and a network differ, in words."""
    own = model.state_dict()
    different = [
        f"{k} {[*tensors[k].shape]} for {[*own[k].shape]}" for k in other_shapes(own, tensors)
    ]
    return (
        f"{name} does not fit {type(model).__name__}: "
        f"{_some('missing', sorted(own.keys() - tensors.keys()))}; "
        f"{_some('not in the model', sorted(tensors.keys() - own.keys()))}; "
        f"{_some('of another shape', different)}"
    )


def misfit_error(found: str, header: dict[str, Any]) -> ValueError:
    """The error for a `misfit`, with what the file says about itself."""
    written = f"{header.get('builder', 'no builder')}, {header.get('arguments', '')}"
    return ValueError(
        f"{found}. Build the network that the file is for (its header says: {written}) or, "
        "where a part fits, load that with strict=False"
    )


def _some(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} {what}" + (f" ({', '.join(names[:5])}{more})" if names else "")
