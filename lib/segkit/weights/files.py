"""Weights files: safetensors with a JSON header, written whole or not at all; nothing unpickles."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import struct
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from segkit.files import open_regular, shown, what_is_there
from segkit.weights.wrappers import plain_state

_TORCH_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
"""What torch.save wrote first until 1.6, as a number in a pickle."""
LARGEST_INDEX = 16 << 20
"""Bytes of JSON that a file's tensors may be described in: two hundred thousand of them."""
MOST_DIMENSIONS = 16
LARGEST_HEADER = 1 << 20
"""Characters of our own header in it: ADE20K's classes and palette take four thousand."""


def save_weights(
    model: nn.Module | Mapping[str, Any], path: str | Path, *, header: Mapping[str, Any]
) -> None:
    """Write weights and their header; the file is there completely, or as it was before.

    Args:
        model: the network, on any device; of a compiled, parallel or averaged one (`torch.compile`,
            DataParallel, DistributedDataParallel, AveragedModel) what is inside. Or its state dict,
            or what `torch.load` gives of a file that holds one network or state dict beside other
            things, such as ``{"model": ..., "optimizer": ..., "epoch": 3}``.
        path: the file to write, ending in ``.safetensors``; missing folders are made.
        header: what is needed to use the weights, see above; anything JSON can say, or nothing.

    Raises:
        ValueError: another suffix, no tensors, tensors in several places, a meta tensor, or a
            header that is not JSON.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} does not end in .safetensors: name it {path.stem}.safetensors")
    state = find_state(model)
    if not state:
        raise ValueError(f"there are no tensors to write to {path}")
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.is_meta:  # a module may have further state
            kind = "on the meta device" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{name!r} is {kind}, not a tensor with values: {path} not written")
    try:
        text = json.dumps(dict(header), allow_nan=False)
    except (TypeError, ValueError) as error:
        given = f"{header!r:.200}"
        raise ValueError(f"the header for {path} is not JSON ({error}): {given}") from error
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


def find_state(given: Any) -> dict[str, Tensor]:
    """The one state dict in what somebody saved: a network, its tensors by name, or around them.

    Raises:
        ValueError: there is none, or several: their places are named.
    """
    found = dict(_states(given))
    if len(found) > 1:
        raise ValueError(
            f"what was given holds tensors in {len(found)} places, {', '.join(found)}: give one of "
            f"them; if it is called state, for example state{next(iter(found))}"
        )
    if not found:
        raise ValueError(
            f"{_odd(given)}, and a network or its tensors by name are needed: give "
            "model.state_dict(), whose values are tensors (torch.as_tensor makes one of an array)"
        )
    return next(iter(found.values()))


def _states(given: Any, place: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The state dicts in nested dicts, each with its place, such as ``['model']``."""
    if isinstance(given, nn.Module):
        yield place, plain_state(given)
    elif isinstance(given, Mapping):
        if all(isinstance(k, str) and isinstance(v, Tensor) for k, v in given.items()):
            if given or not place:
                yield place, dict(given)
        elif place.count("[") < 3:  # the state of an optimizer has numbers for names
            for key, value in given.items():
                if isinstance(key, str):
                    yield from _states(value, f"{place}[{key!r:.80}]")


def _odd(given: Any) -> str:
    if isinstance(given, Mapping):
        for name, value in given.items():
            if not isinstance(value, Tensor):
                return f"{name!r:.80} is {type(value).__name__}"
    return f"this is {type(given).__name__}"


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


@contextlib.contextmanager
def open_tensors(path: Path, *, framework: str) -> Iterator[Any]:
    """Open a file as `safetensors.safe_open` does, which takes no name that is not UTF-8.

    Raises:
        SafetensorError: it is damaged.
        ValueError: it is no regular file.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        name: str | Path = path
        try:
            str(path).encode()
        except UnicodeEncodeError:
            name = f"/dev/fd/{file.fileno()}"
        with safe_open(name, framework=framework) as opened:
            yield opened


def read_header(path: str | Path) -> dict[str, Any]:
    """Read what a weights file says about itself, not its tensors.

    Args:
        path: a safetensors file.

    Returns:
        What `save_weights` was given; empty for a safetensors file that is not ours.

    Raises:
        ValueError: the file is a pickle, damaged, no safetensors, or no regular file; the message
            names it.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if is_pickle(path) or path.name.endswith(".index.json"):
        raise ValueError(f"{path} {_conversion(path)}")
    try:
        _check_index(path)
        with open_tensors(path, framework="np") as file:  # which maps nothing for writing
            metadata = file.metadata() or {}
        text = metadata.get("segkit", "{}")
        if len(text) > LARGEST_HEADER:
            raise ValueError(
                f"a header of {len(text):,} characters; it may have {LARGEST_HEADER:,}"
            )
        header = json.loads(text, object_pairs_hook=_without_twins, parse_constant=_no_number)
        if not isinstance(header, dict):
            raise ValueError("its header is no JSON object")
    except (SafetensorError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if metadata.get("format", "").startswith("segkit.checkpoint"):
        raise ValueError(
            f"{path} is the checkpoint of a training, with its optimizer, not a weights file: give "
            f"{path.with_name('best.safetensors')}, which the run's validation writes beside it"
        )
    return header


def read_shapes(path: Path) -> dict[str, Tensor]:
    """A file's tensors without their numbers: on the meta device, as float32.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with open_tensors(path, framework="np") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        if deep := [name for name, shape in shapes.items() if len(shape) > MOST_DIMENSIONS]:
            raise ValueError(f"{deep[0]!r:.80} has {len(shapes[deep[0]])} dimensions")
        return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise _damaged(path, error) from error


def read_tensors(path: Path, names: Collection[str]) -> dict[str, Tensor]:
    """Some of a file's tensors, by name.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with open_tensors(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, AttributeError) as error:  # a kind of number that torch lacks
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{shown(path)} is not a whole safetensors file ({shown(error):.200}): it is damaged, cut "
        "short or of another format. Copy or download it again"
    )


def _check_index(path: Path) -> None:
    """Refuse a file whose description of its tensors alone would cost much."""
    with open_regular(path) as file:
        start, size = file.read(8), os.fstat(file.fileno()).st_size
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if LARGEST_INDEX < length <= size:
        raise ValueError(f"its tensors are described in {length:,} bytes")


def _conversion(path: Path) -> str:
    """What a file of another kind is, and the lines that make a safetensors file of it."""
    new = path.with_suffix(".new.safetensors" * (path.suffix == ".safetensors") or ".safetensors")
    save = f"segkit.save_weights(state, {str(new)!r}, header={{}})"
    arrays = "state = {k: torch.as_tensor(v) for k, v in found.items() if hasattr(v, 'shape')}"
    once = "Convert it once: import torch, segkit, "
    if path.name.endswith(".index.json"):
        return (
            "is the index of weights that lie in several files. Join them once: import json, "
            "segkit; from pathlib import Path; from safetensors.torch import load_file; "
            f"index = Path({str(path)!r}); "
            "names = {*json.loads(index.read_text())['weight_map'].values()}; "
            "state = {k: v for name in names for k, v in load_file(index.parent / name).items()}; "
            + save
        )
    with open_regular(path) as file:
        start = file.read(1 << 10)
    # The name of a zip's first file lies behind 30 bytes: torch's is a pickle, numpy's an array.
    first = start[30 : 30 + int.from_bytes(start[26:28], "little")]
    if start.startswith(b"PK") and first.endswith(b".npy"):
        load = f"numpy; found = numpy.load({str(path)!r})"
        return f"holds numpy's arrays. {once}{load}; {arrays}; {save}"
    reason = "and reading a pickle can run any code in it: segkit never does"
    if not start.startswith(b"PK") and _TORCH_MAGIC not in start[:32]:
        return (
            f"is a pickle that torch did not write, {reason}. If you trust whoever made it: "
            f"{once}pickle; found = pickle.load(open({str(path)!r}, 'rb')); "
            f"found = found.get('model', found); {arrays}; {save}"
        )
    return (
        f"is a pickle (a PyTorch .pth or .pt), {reason}. Convert it once: import torch, segkit; "
        f"state = torch.load({str(path)!r}, weights_only=True); {save}. Where torch refuses, "
        "because it holds more than tensors, such as a whole network, and you trust whoever "
        "made it, do so with weights_only=False"
    )


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("its header has a name twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"its header holds {name}, which is no JSON")


def is_pickle(path: Path) -> bool:
    """Whether a file is one that torch.save or pickle wrote.

    Raises:
        ValueError: it is no regular file.
        FileNotFoundError: there is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, what_is_there(path), str(path))
    with open_regular(path) as file:
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
