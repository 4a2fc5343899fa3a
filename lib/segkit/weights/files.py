"""Weights files: safetensors with a JSON header, written whole or not at all; nothing unpickles."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def save_weights(
    model: nn.Module | Mapping[str, Tensor], path: str | Path, *, header: Mapping[str, Any]
) -> None:
    """Write weights and their header; the file is there completely, or as it was before.

    Args:
        model: the network, or its state dict; on any device.
        path: the file to write, ending in ``.safetensors``; missing folders are made.
        header: what is needed to use the weights, see above; anything JSON can say, or nothing.

    Raises:
        ValueError: another suffix, no tensors, a meta tensor, or a header that is not JSON.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} does not end in .safetensors: name it {path.stem}.safetensors")
    state = model.state_dict() if isinstance(model, nn.Module) else model
    if not state:
        raise ValueError(f"there are no tensors to write to {path}")
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.is_meta:
            kind = "on the meta device" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{name!r} is {kind}, not a tensor with values: {path} not written")
    try:
        text = json.dumps(dict(header), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the header for {path} is not JSON ({error}): {header!r}") from error
    # Copies, because safetensors refuses tensors that share memory.
    tensors = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        write(tensors, temporary, {"format": "pt", "segkit": text})
        os.replace(temporary, path)
        sync(path.parent)  # the rename itself
    finally:
        temporary.unlink(missing_ok=True)


def write(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a new safetensors file to the disk, or leave none.

    Raises:
        OSError: it exists, the disk is full or the folder cannot be written.
    """
    path.touch(exist_ok=False)  # so that no link is followed
    try:
        mode = path.stat().st_mode  # what the user's umask says; safetensors says 0600
        save_file(tensors, path, metadata)
        path.chmod(mode)
        sync(path)
    except SafetensorError as error:  # safetensors wraps the operating system's error in its own
        path.unlink(missing_ok=True)
        number = re.search(r"os error (\d+)", str(error))
        message = f"cannot write into {path.parent}: {error}"
        raise OSError(int(number[1]) if number else None, message) from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_header(path: str | Path) -> dict[str, Any]:
    """Read what a weights file says about itself, not its tensors.

    Args:
        path: a safetensors file.

    Returns:
        What `save_weights` was given; empty for a safetensors file that is not ours.

    Raises:
        ValueError: the file is a pickle, damaged, or no safetensors; the message names it.
        FileNotFoundError: there is no such file.
    """
    return read(Path(path))[0]


def read(path: Path, *, with_tensors: bool = False) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and, where asked for, the tensors of a safetensors file."""
    if is_pickle(path):
        raise ValueError(
            f"{path} is a pickle (a PyTorch .pth or .pt), and reading a pickle can run any code "
            "in it: segkit never does. Convert it once, where you trust it: state = "
            'torch.load(path, weights_only=True); save_weights(state, "x.safetensors", header={})'
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {k: file.get_tensor(k) for k in file.keys()} if with_tensors else {}  # noqa: SIM118
        header = json.loads(metadata.get("segkit", "{}"))
        if not isinstance(header, dict):
            raise ValueError("its header is no JSON object")
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): it is damaged, cut short or of "
            "another format. Copy or download it again"
        ) from error
    if metadata.get("format", "").startswith("segkit.checkpoint"):
        raise ValueError(
            f"{path} is the checkpoint of a training, with its optimizer, not a weights file: give "
            f"{path.with_name('best.safetensors')}, which the run's validation writes beside it"
        )
    return header, tensors


def is_pickle(path: Path) -> bool:
    """Whether a file is one that torch.save or pickle wrote."""
    with path.open("rb") as file:
        start = file.read(9)
    # Byte 8 of a safetensors file opens its JSON; the length before it may look like anything.
    return start[8:] != b"{" and (start.startswith(b"PK") or start[:1] == b"\x80")


def sync(path: Path) -> None:
    """Have the operating system write a file, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
