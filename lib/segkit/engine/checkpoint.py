"""Checkpoints: the whole state of a training in one file, which a kill at any moment leaves whole.

The state is a tree of dicts, lists and numbers whose leaves may be tensors. Tensors go into a
safetensors file under numbered names, the tree into its JSON header with references to them, and a
digest of all of it shows damage. Nothing is ever unpickled, and a file that somebody made to do
harm can be refused, no more.

    folder/last.safetensors       the newest
    folder/previous.safetensors   the one before, used with a word when the newest is damaged; on a
                                  disk that is nearly full there is none while a third is written
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from segkit import random_state
from segkit.files import open_regular
from segkit.weights.files import open_tensors, sync, write

LAST, PREVIOUS = "last.safetensors", "previous.safetensors"
FORMAT = "segkit.checkpoint.2"
"""Before it, the digest did not cover shapes and dtypes."""


def save_checkpoint(folder: str | Path, state: dict[str, Any]) -> Path:
    """Write a training's state, with the state of every random number generator.

    Written to a temporary file, flushed to the disk, then renamed; the one before it is kept. So
    there are three for a moment: where the disk has no room for that, the oldest goes first.

    Args:
        folder: the folder of checkpoints; made if it is missing.
        state: a tree of dict, list, tuple, str, int, float, bool, None and tensors.

    Returns:
        The path of the newest checkpoint.

    Raises:
        OSError: the disk is full or the folder cannot be written; the checkpoints there are whole.
        ValueError: something in the state is none of the allowed types.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_flatten({"state": state, "rng": random_state.state()}, tensors))
    metadata = {"format": FORMAT, "tree": tree, "digest": _digest(tree, tensors)}
    temporary = folder / f".{LAST}.tmp"
    temporary.unlink(missing_ok=True)  # of a killed process; a link is removed, not followed
    size = len(tree) + sum(tensor.nbytes for tensor in tensors.values())
    if (folder / LAST).exists() and shutil.disk_usage(folder).free < size:  # room for two
        (folder / PREVIOUS).unlink(missing_ok=True)
    write(tensors, temporary, metadata)
    if (folder / LAST).exists():
        os.replace(folder / LAST, folder / PREVIOUS)
    os.replace(temporary, folder / LAST)
    sync(folder)  # the renames too
    return folder / LAST


def load_checkpoint(
    folder: str | Path, *, restore_rng: bool = True, warn: Callable[[str], None] = warnings.warn
) -> dict[str, Any] | None:
    """Read the newest whole checkpoint of a folder.

    Args:
        folder: the folder of checkpoints.
        restore_rng: whether the random number generators are set to what they were.
        warn: called when the newest is damaged and the one before it is taken.

    Returns:
        The state that was saved, or None where there is no checkpoint at all.

    Raises:
        ValueError: there are checkpoints, but none is whole.
    """
    paths = (Path(folder) / LAST, Path(folder) / PREVIOUS)
    if not any(path.exists() for path in paths):
        return None
    faults = []
    for path in paths:
        try:
            state, rng = _read(path)
            if restore_rng:
                random_state.restore(rng)
        except FileNotFoundError:
            faults.append(f"{path} is missing: the run was ended while it was being replaced")
            continue
        except ValueError as error:
            faults.append(f"checkpoint {path} is damaged: {error}")
            continue
        if faults:
            warn(f"{faults[0]}; going on from {path.name}")
        return state
    raise ValueError("no whole checkpoint: " + "; ".join(faults))


def _read(path: Path) -> tuple[Any, Any]:
    """The state and the random numbers' state of a file."""
    if not os.path.lexists(path):
        raise FileNotFoundError(path)
    open_regular(path).close()  # a pipe would be waited for
    try:
        with open_tensors(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"it is no whole file ({error})") from error
    if metadata.get("format") not in (FORMAT, "segkit.checkpoint.1"):
        raise ValueError("it was not written by segkit")
    try:
        tree = metadata["tree"]
        if metadata["digest"] != _digest(tree, tensors, metadata["format"]):
            raise ValueError("its digest does not fit its content")
        whole = _unflatten(json.loads(tree), tensors)
        if not isinstance(whole["state"], dict):
            raise ValueError(f"a {type(whole['state']).__name__}")
        return whole["state"], whole["rng"]
    except (ValueError, TypeError, KeyError, RuntimeError) as error:  # RecursionError, too
        what = f"{type(error).__name__}: {error!s:.80}"
        raise ValueError(f"it holds no training state ({what})") from error


def _digest(tree: str, tensors: dict[str, Tensor], format: str = FORMAT) -> str:
    """SHA-256 over the tree and the tensors, in the order of their names."""
    digest = hashlib.sha256(tree.encode())
    for name in sorted(tensors):
        if format == FORMAT:
            digest.update(f"{name} {tensors[name].dtype} {[*tensors[name].shape]}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _flatten(node: Any, tensors: dict[str, Tensor]) -> Any:
    """A JSON tree in which dicts are lists of pairs (their keys may be numbers)."""
    if isinstance(node, Tensor):
        name = f"t{len(tensors):06d}"
        tensors[name] = node.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(node, dict):
        return {"dict": [[key, _flatten(value, tensors)] for key, value in node.items()]}
    if isinstance(node, tuple):
        return {"tuple": [_flatten(value, tensors) for value in node]}
    if isinstance(node, list):
        return [_flatten(value, tensors) for value in node]
    if isinstance(node, str | bool | int | float | None):
        return node
    raise ValueError(f"a checkpoint cannot hold a {type(node).__name__}: {node!r:.80}")


def _unflatten(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_unflatten(value, tensors) for value in node]
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_unflatten(value, tensors) for value in content)
    return {key: _unflatten(value, tensors) for key, value in content}
