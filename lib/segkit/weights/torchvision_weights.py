"""Torchvision's weights of whole segmentation networks, under the names of ours.

Those that `converters.torchvision.RULES` names can take them: it renames the tensors.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit.weights.converters.torchvision import RULES, from_torchvision
from segkit.weights.files import find_state
from segkit.weights.wrappers import without_wrappers

Rename = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def is_name(source: object) -> bool:
    """Whether a source is written like torchvision's weights: ``FCN_ResNet50_Weights.DEFAULT``."""
    return re.fullmatch(r"\w+_Weights\.\w+", str(source)) is not None


def find(name: str) -> Any:
    """The weights of a name, a member of a torchvision ``WeightsEnum``; nothing is downloaded.

    Raises:
        ValueError: torchvision has no segmentation weights of this name; those it has are listed.
    """
    from torchvision import models

    kinds = [
        models.get_model_weights(model) for model in models.list_models(module=models.segmentation)
    ]
    known = {f"{k.__name__}.{n}": weights for k in kinds for n, weights in k.__members__.items()}
    if name not in known:
        raise ValueError(
            f"torchvision has no segmentation weights named {name!r}; it has "
            f"{', '.join(sorted(set(map(str, known.values()))))}. Weights of a classifier are for "
            "a backbone: weights_backbone"
        )
    return known[name]


def renaming(model: nn.Module) -> Rename | None:
    """The function that renames torchvision's tensors for a network, where it has one."""
    network = type(model).__name__
    return partial(from_torchvision, network=network) if network in RULES else None


def download(name: str, model: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Torchvision's weights for a network, from torch's cache or downloaded into it.

    Args:
        name: see `find`.
        model: whose names the tensors get.

    Returns:
        A header with "source" and "classes", and the tensors.

    Raises:
        ValueError: no such weights, none for this kind of network, or a file of another checksum.
        ConnectionError: the download failed.
    """
    rename, weights = renaming(model), find(name)
    if rename is None:
        raise ValueError(
            f"{name} are not for {type(model).__name__}, of which torchvision has no weights: "
            "give a .safetensors file"
        )
    file = Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])
    try:
        state = weights.get_state_dict(check_hash=True, weights_only=True, map_location="cpu")
    except OSError as error:
        raise ConnectionError(
            f"downloading {name} failed: {error}. Fetch {weights.url} in another way and put it "
            f"into {file.parent}"
        ) from error
    except Exception as error:  # a wrong checksum; or what a damaged file makes torch raise
        raise ValueError(
            f"{name}, from {weights.url}, are damaged or changed ({error}): delete {file} if it is "
            "there, and try again"
        ) from error
    header = {"source": name, "classes": list(weights.meta["categories"])}
    return header, _renamed(state, rename, name)


def read_pth(path: Path, rename: Rename) -> dict[str, Tensor]:
    """The tensors of a state dict that torchvision saved, read without running anything in it.

    A checkpoint of its training script, ``{"model": ..., "epoch": ...}``, will do.

    Raises:
        ValueError: it holds other things than tensors by name, or is damaged, or another network's.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # torch never compresses
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise ValueError("it is compressed, which torch.save does not do")
        given = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a hostile or damaged file makes torch raise
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} is damaged, or a pickle that holds more than tensors, and nothing in it was "
            f"run ({reason:.300}): give a plain state dict. Where you trust whoever made it: "
            "import torch; from segkit.weights.files import find_state; "
            f"state = torch.load({str(path)!r}, weights_only=False); "
            f"torch.save(find_state(state), {str(path.with_suffix('.plain.pth'))!r})"
        ) from error
    try:
        state = find_state(given)
    except ValueError as error:
        raise ValueError(f"{path} holds no plain state dict: {error}") from error
    return _renamed({without_wrappers(k): v for k, v in state.items()}, rename, path)


def _renamed(state: dict[str, Tensor], rename: Rename, source: object) -> dict[str, Tensor]:
    try:
        return rename(state)
    except (ValueError, TypeError) as error:  # a name of an unknown kind
        raise ValueError(
            f"{source} holds tensors of another network than torchvision's: where they are of one "
            "of ours, load its state dict and segkit.save_weights it as .safetensors"
        ) from error
