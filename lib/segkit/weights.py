"""Where weights come from: a file, or a URL with its checksum, kept in a cache; nothing unpickles.

A weights file is safetensors: tensors by name, and in its metadata, under "segkit", a JSON header
that says what is needed to use them. The usual fields:

    builder, arguments      "pp_liteseg_t", {"num_classes": 11}: what to call to get the network
    classes, palette        names and RGB colours, in the order of the logits
    normalisation           {"mean": [...], "std": [...]}, of RGB in 0..1
    metric, value, policy   "miou", 0.61, "dataset": what was measured, on which data, in which way
    licence, source         of the weights: "Apache-2.0", a run, a URL
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import urllib.error
import urllib.request
import uuid
import warnings
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

Network = TypeVar("Network", bound=nn.Module)

ATTEMPTS = 4  # without a new byte, before a download is given up


class WeightsEntry(NamedTuple):
    """Weights that lie on the net.

    Attributes:
        url: http or https address of a safetensors file.
        sha256: checksum of the whole file, 64 hexadecimal digits.
        licence: of the weights, for example "Apache-2.0".
        source: who trained them, on what.
        metric: what was measured, with value and policy: "mIoU 0.733, dataset, CamVid test".
    """

    url: str
    sha256: str
    licence: str = ""
    source: str = ""
    metric: str = ""


Source = str | os.PathLike[str] | WeightsEntry
"""A path, ``"https://host/file.safetensors#sha256=<64 digits>"``, or a WeightsEntry."""


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
        temporary.touch()
        mode = temporary.stat().st_mode  # what the user's umask says; safetensors says 0600
        save_file(tensors, temporary, metadata={"format": "pt", "segkit": text})
        temporary.chmod(mode)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)  # the rename itself
    except SafetensorError as error:  # safetensors wraps the operating system's error in its own
        raise OSError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


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
    return _read(Path(path))[0]


def load_weights(model: nn.Module, source: Source, *, strict: bool = True) -> dict[str, Any]:
    """Load weights into a network, on the device where it is.

    Args:
        model: the network, changed in place; as it was when anything is raised.
        source: see `Source`. What lies on the net is downloaded once, into `cache_dir`.
        strict: False loads the tensors whose name and shape fit and warns about the others.

    Returns:
        The file's header, see `read_header`.

    Raises:
        ValueError: the file is a pickle, damaged or another network's, or its checksum is wrong.
        FileNotFoundError: there is no such file.
        ConnectionError: the download failed; what arrived is kept for the next attempt.
    """
    header, tensors = _read(path := fetch(source), with_tensors=True)
    own = model.state_dict()
    if any(tensor.is_meta for tensor in own.values()):
        raise ValueError("the model is on the meta device: model.to_empty(device=...) comes first")
    missing = sorted(own.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - own.keys())
    shapes = sorted(k for k in own.keys() & tensors.keys() if own[k].shape != tensors[k].shape)
    if missing or unexpected or shapes:
        different = [f"{k} {[*tensors[k].shape]} for {[*own[k].shape]}" for k in shapes]
        found = (
            f"{path} does not fit {type(model).__name__}: {_some('missing', missing)}; "
            f"{_some('not in the model', unexpected)}; {_some('of another shape', different)}"
        )
        if strict or len(missing) + len(shapes) == len(own):
            written = f"{header.get('builder', 'no builder')}, {header.get('arguments', '')}"
            raise ValueError(
                f"{found}. Build the network that the file is for (its header says: {written}) or, "
                "where a part fits, load that with strict=False"
            )
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


def cache_dir() -> Path:
    """Where downloads are kept: ``$SEGBOOK_CACHE``, or ``~/.cache/segbook``."""
    return Path(os.environ.get("SEGBOOK_CACHE") or Path.home() / ".cache" / "segbook")


def fetch(source: Source) -> Path:
    """Give a local file for a source: a path as it is, or a download, checked against its sha256.

    A download is resumed where it was cut, by this call or by a later one, and gets its name only
    when its checksum is right. A cached file is checked again at each use.

    Args:
        source: see `Source`.

    Raises:
        ValueError: no sha256, another scheme than http(s), or a wrong checksum.
        ConnectionError: the download failed; what arrived is kept for the next attempt.
    """
    if not isinstance(source, WeightsEntry):
        if "://" not in str(source):
            return Path(source)
        url, _, fragment = str(source).partition("#")
        source = WeightsEntry(url, fragment.removeprefix("sha256="))
    url, sha256 = source.url, source.sha256.lower()
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url} is neither http nor https; for a local file give its path")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(
            f"{url} comes with sha256 {source.sha256!r}, which is not 64 hexadecimal digits: "
            f'without it nobody knows what was downloaded. Write "{url}#sha256=<digits>"'
        )
    (folder := cache_dir()).mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w.-]", "_", unquote(urlsplit(url).path).rpartition("/")[2])
    path = folder / f"{sha256[:16]}-{name[-100:]}"
    part = path.with_name(path.name + ".part")
    with FileLock(path.with_name(path.name + ".lock")):  # processes of one run ask together
        if path.exists() and _sha256(path) == sha256:
            return path
        _download(url, part)
        found = _sha256(part)
        if found != sha256:
            part.unlink()
            raise ValueError(
                f"{url} has sha256 {found}, expected {sha256}: it is another file or was changed "
                "on the way. Nothing was kept; compare the address and the checksum"
            )
        _sync(part)
        os.replace(part, path)
    return path


def _download(url: str, part: Path) -> None:
    """Append to `part` until the server has no more."""
    reason, failures = None, 0
    while failures < ATTEMPTS:
        time.sleep(0.5 * failures)
        have = part.stat().st_size if part.exists() else 0
        try:
            total = _append(url, part, have)
            if total is None or part.stat().st_size >= total:
                return
            reason = f"the connection ended after {part.stat().st_size} of {total} bytes"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing follows: the checksum tells whether it is all
                return
            reason = error
            if error.code < 500:
                break
        except (OSError, HTTPException) as error:
            reason = error
        failures = 0 if part.exists() and part.stat().st_size > have else failures + 1
    raise ConnectionError(
        f"downloading {url} failed: {reason}. What arrived is kept in {part}; call again to go on "
        "from there, or fetch the file in another way and give its path"
    )


def _append(url: str, part: Path, have: int) -> int | None:
    """Ask once for what follows `have` bytes; give the size of the whole, None if unknown."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=30) as response:
        resumed = response.status == 206
        if resumed and f"bytes {have}-" not in response.headers.get("Content-Range", ""):
            raise ConnectionError("the server goes on from another place than asked")
        have = have if resumed else 0  # a server without ranges starts again
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem)
        with bar, part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(1 << 20):
                file.write(chunk)
                bar.update(len(chunk))
    return total


def _read(path: Path, *, with_tensors: bool = False) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and, where asked for, the tensors of a safetensors file."""
    with path.open("rb") as file:
        start = file.read(9)
    # Byte 8 of a safetensors file opens its JSON; the length before it may look like anything.
    if start[8:] != b"{" and (start.startswith(b"PK") or start[:1] == b"\x80"):
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
    return header, tensors


def _some(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} {what}" + (f" ({', '.join(names[:5])}{more})" if names else "")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Have the operating system write a file, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
