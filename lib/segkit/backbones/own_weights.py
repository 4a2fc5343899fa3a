"""A backbone's weights from a file of one's own: its state dict, a classifier's or a network's."""

from __future__ import annotations

import os
import re
from typing import Any

from torch import Tensor, nn

from segkit.backbones.pretrained import adapt_channels
from segkit.files import nearby_said, shown
from segkit.weights.downloads import fetch
from segkit.weights.loading import open_for, other_shapes, put, state_of

ENDINGS = (".safetensors", ".pth", ".pt", ".bin")


def is_file(weights: object) -> bool:
    """Whether weights of a backbone are named by a file or an address, not as torchvision's."""
    path = os.fspath(weights) if isinstance(weights, str | os.PathLike) else ""
    return path.endswith(ENDINGS) or os.sep in path


def load_backbone(model: nn.Module, source: str) -> None:
    """Load a file into a network's backbone; what the file holds beyond it is left out.

    Args:
        model: the network, whose ``backbone`` is changed in place.
        source: a ``.safetensors`` file, or a state dict that torch.save wrote, of the backbone, of
            a classifier on it (names as torchvision's or timm's) or of a whole network of ours; or
            such a file's address with its sha256, see `segkit.weights.Source`.

    Raises:
        ValueError: the network has no backbone, or there is no such file, or tensors of the
            backbone are not in it or have other shapes there: the message names them.
        ConnectionError: the download failed.
    """
    backbone: Any = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise ValueError(
            f"weights_backbone={source!r}: {type(model).__name__} has no attribute backbone to "
            "load them into; weights= loads a whole network"
        )
    if not (path := fetch(source)).is_file():
        raise ValueError(
            f"weights_backbone={source!r}: there is no such file{nearby_said(source)}; give a "
            ".safetensors or .pth file of the backbone, or weights by name, such as IMAGENET1K_V1"
        )
    encoder = _features_of(backbone)
    own = state_of(encoder)
    stored = open_for(encoder, str(path), rename=dict)
    names = {_plain(name): name for name in stored.shapes}
    found = {name: names[_plain(name)] for name in own if _plain(name) in names}
    shapes = {name: stored.shapes[theirs] for name, theirs in found.items()}
    missing = sorted(k for k in own.keys() - found if not k.endswith("num_batches_tracked"))
    first = {k for k in other_shapes(own, shapes) if _other_channels(own[k], shapes[k])}
    other = [k for k in other_shapes(own, shapes) if k not in first]
    if missing or other:
        raise ValueError(
            f"weights_backbone={source!r} are not of this backbone, {type(encoder).__name__}: "
            + "; ".join(
                [f"the file lacks {_some(missing)} of {len(own)} tensors"] * bool(missing)
                + [
                    "other shapes in the file: "
                    + _some([f"{k} {(*shapes[k].shape,)} for {(*own[k].shape,)}" for k in other])
                ]
                * bool(other)
                + [f"it holds {_some(sorted(stored.shapes))}"]
            )
        )
    tensors = stored.tensors(set(found.values()))
    put(
        encoder,
        {
            k: adapt_channels(tensors[v], own[k].shape[1]) if k in first else tensors[v]
            for k, v in found.items()
        },
    )


def _features_of(backbone: Any) -> nn.Module:
    """The module whose tensors are named as their makers name them: of timm's the one inside."""
    inner = getattr(backbone, "network", None)
    return inner if isinstance(inner, nn.Module) else backbone


def _plain(name: str) -> str:
    """A tensor's name by which timm's features, ``stages_0.blocks``, are ``stages.0.blocks``."""
    return re.sub(r"_(?=\d+\.)", ".", name)


def _other_channels(own: Tensor, stored: Tensor) -> bool:
    """Whether two kernels differ in the channels of the images only."""
    return own.dim() == stored.dim() == 4 and (
        (own.shape[0], 3, *own.shape[2:]) == (*stored.shape,)
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" * (len(names) > 3)
    return shown(", ".join(names[:3])) + more
