"""Files that lie on the net: downloaded once, checked against their sha256, kept in a cache."""

from __future__ import annotations

import hashlib
import os
import re
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock
from tqdm import tqdm

from segkit.files import open_regular
from segkit.weights import bundled
from segkit.weights.files import sync

ATTEMPTS = 4  # without a new byte, before a download is given up
LARGEST = 16 << 30
"""Bytes of one file; a server that goes on sending would fill the disk."""
LONGEST = 3 * 3600.0
"""Seconds of one call; a server may send a byte now and then for ever."""

Source = str | os.PathLike[str]
"""A path, ``"https://host/file.safetensors#sha256=<64 digits>"``, weights in the box by name, see
`segkit.weights.bundled`, or torchvision's of a whole network by name:
``"FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1"``."""


def cache_dir() -> Path:
    """Where downloads are kept: ``$SEGBOOK_CACHE``, or ``~/.cache/segbook``."""
    return Path(os.environ.get("SEGBOOK_CACHE") or Path.home() / ".cache" / "segbook")


def fetch(source: Source) -> Path:
    """Give a local file for a source: a path, what is in the box, or a download, checked.

    A download is resumed where it was cut, by this call or by a later one, and gets its name only
    when its checksum is right. A cached file is checked again at each use.

    Args:
        source: see `Source`.

    Raises:
        ValueError: a folder, a pipe or a device, no sha256, another scheme than http(s), a wrong
            checksum, or a file of more than `LARGEST` bytes.
        ConnectionError: the download failed, took longer than `LONGEST`, or was redirected to where
            it would no longer be encrypted; what arrived is kept for the next attempt.
    """
    if "://" not in str(source):
        path = _file(Path(source))
        return path if path.exists() else bundled.find(source) or path
    url, _, fragment = str(source).partition("#")
    sha256 = fragment.removeprefix("sha256=").lower()
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url} is neither http nor https; for a local file give its path")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(
            f"{url} comes with sha256 {sha256!r}, which is not 64 hexadecimal digits: "
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
        sync(part)
        os.replace(part, path)
    return path


def _file(path: Path) -> Path:
    """A path, unless it is a folder: that of a run holds several files; or no file at all."""
    if path.is_dir():
        best = [path / "checkpoints" / "best.safetensors", path / "best.safetensors"]
        instead = "a .safetensors file; a run writes checkpoints/best.safetensors as it validates"
        instead = next((str(file) for file in best if file.is_file()), instead)
        raise ValueError(f"{path} is a folder, not a weights file: give {instead}")
    if path.exists():
        open_regular(path).close()
    return path


def _download(url: str, part: Path) -> None:
    """Append to `part` until the server has no more."""
    reason, failures, end = None, 0, time.monotonic() + LONGEST
    while failures < ATTEMPTS:
        time.sleep(0.5 * failures)
        have = part.stat().st_size if part.exists() else 0
        try:
            total = _append(url, part, have, end)
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
        if time.monotonic() > end:
            break
        failures = 0 if part.exists() and part.stat().st_size > have else failures + 1
    raise ConnectionError(
        f"downloading {url} failed: {reason}. What arrived is kept in {part}; call again to go on "
        "from there, or fetch the file in another way and give its path"
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address, but not out of encryption or to another protocol."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after != "https" and after != before:
            raise urllib.error.HTTPError(
                newurl,
                403,
                f"the redirect from {before} to {newurl!r:.200} is not followed",
                headers,
                fp,
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _append(url: str, part: Path, have: int, end: float) -> int | None:
    """Ask once for what follows `have` bytes; give the size of the whole, None if unknown."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.build_opener(_Redirects).open(request, timeout=30) as response:
        resumed = response.status == 206
        if resumed and f"bytes {have}-" not in response.headers.get("Content-Range", ""):
            raise ConnectionError("the server goes on from another place than asked")
        have = have if resumed else 0  # a server without ranges starts again
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdecimal() else None
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem)
        with bar, part.open("ab" if resumed else "wb") as file:
            # What has come, not a whole chunk, for which a slow server could let one wait.
            while (chunk := response.read1(1 << 20)) and time.monotonic() <= end:
                if max(total or 0, have := have + len(chunk)) > LARGEST:
                    part.unlink()
                    raise ValueError(
                        f"{url} has more than {LARGEST / 2**30:.3g} GiB: nothing was kept. Fetch "
                        "it in another way and give its path"
                    )
                file.write(chunk)
                bar.update(len(chunk))
    if time.monotonic() > end:
        raise TimeoutError(f"it took longer than {LONGEST / 3600:.3g} hours")
    return total


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
