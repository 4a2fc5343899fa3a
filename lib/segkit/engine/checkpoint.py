"""Checkpoints: the whole state of a training in one file, which a kill at any moment leaves whole.

The state is a tree of dicts, lists and numbers whose leaves may be tensors. Tensors go into a
safetensors file under numbered names, the tree into its JSON header with references to them, and a
digest of all of it shows damage. Nothing is ever unpickled.

    folder/last.safetensors       the newest
    folder/previous.safetensors   the one before, used with a word when the newest is damaged
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

LAST, PREVIOUS = "last.safetensors", "previous.safetensors"


def save_checkpoint(folder: str | Path, state: dict[str, Any]) -> Path:
    """Write a training's state, with the state of every random number generator.

    Written to a temporary file, flushed to the disk, then renamed; the one before it is kept.

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
    tree = json.dumps(_flatten({"state": state, "rng": _rng_state()}, tensors))
    metadata = {"format": "segkit.checkpoint.1", "tree": tree, "digest": _digest(tree, tensors)}
    temporary = folder / f".{LAST}.tmp"
    try:
        save_file(tensors, temporary, metadata)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
    except SafetensorError as error:  # safetensors wraps the operating system's error in its own
        temporary.unlink(missing_ok=True)
        raise OSError(f"cannot write a checkpoint into {folder}: {error}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if (folder / LAST).exists():
        os.replace(folder / LAST, folder / PREVIOUS)
    os.replace(temporary, folder / LAST)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the renames too
    finally:
        os.close(descriptor)
    return folder / LAST


def load_checkpoint(folder: str | Path, *, restore_rng: bool = True) -> dict[str, Any] | None:
    """Read the newest whole checkpoint of a folder.

    Args:
        folder: the folder of checkpoints.
        restore_rng: whether the random number generators are set to what they were.

    Returns:
        The state that was saved, or None where there is no checkpoint at all.

    Raises:
        ValueError: there are checkpoints, but none is whole.
    """
    faults = []
    for path in (Path(folder) / LAST, Path(folder) / PREVIOUS):
        if not path.exists():
            continue
        try:
            whole = _read(path)
        except ValueError as error:
            faults.append(str(error))
            continue
        if faults:
            warnings.warn(f"{faults[0]}; going on from {path.name}", stacklevel=2)
        if restore_rng:
            _set_rng_state(whole["rng"])
        return whole["state"]
    if faults:
        raise ValueError("no whole checkpoint: " + "; ".join(faults))
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"checkpoint {path} is damaged ({error})") from error
    if metadata.get("format") != "segkit.checkpoint.1":
        raise ValueError(f"{path} is not a training checkpoint of segkit")
    if metadata.get("digest") != _digest(metadata.get("tree", ""), tensors):
        raise ValueError(f"checkpoint {path} is damaged (its digest does not fit its content)")
    return _unflatten(json.loads(metadata["tree"]), tensors)


def _digest(tree: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the tree and the bytes of the tensors, in the order of their names."""
    digest = hashlib.sha256(tree.encode())
    for name in sorted(tensors):
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
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
    if node is None or isinstance(node, str | bool | int | float):
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


def _rng_state() -> dict[str, Any]:
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 the global one
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), position, has_gauss, cached),
    }


def _set_rng_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), *rest))  # noqa: NPY002
