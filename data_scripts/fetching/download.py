"""A download over HTTP that survives: it resumes, retries, and never leaves a half file.

What arrives goes to ``NAME.part``; ``NAME.part.json`` beside it remembers the address, the total
and the server's validator (ETag or Last-Modified). The next call asks for the rest with ``Range``
and ``If-Range``, so that a file that changed on the server is fetched anew and two versions are
never glued together.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from .progress import Progress

CHUNK = 1 << 16  # bytes; what a connection that breaks may cost
RESERVE = 64 << 20  # bytes left free on the disk whatever we fetch
LONGEST_PAUSE = 120.0  # seconds
BROKEN = (OSError, http.client.HTTPException)  # what a connection raises that breaks
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses worth another try


class FetchError(RuntimeError):
    """A download that cannot be finished; the message says why and what to do."""


class _Again(Exception):
    """This try failed in a way that may pass."""

    after = 0.0  # seconds that the server asks to wait


def require_space(folder: Path, needed: int) -> None:
    """Raise `FetchError` unless the disk of an existing folder has room for `needed` bytes."""
    free = shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        raise FetchError(
            f"{folder}: {(needed + RESERVE) / 1e6:,.0f} MB are needed (with some reserve), "
            f"{free / 1e6:,.0f} MB are free; make room or give another folder with --out"
        )


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    expected_bytes: int = 0,
    max_bytes: int | None = None,
    timeout: float = 30.0,
    retries: int = 5,
    pause: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
    progress: Progress | None = None,
) -> Path:
    """Fetch `url` into `path`, continuing what an earlier call left.

    Args:
        url: an http or https address.
        path: where the whole file goes, in one rename, at the end.
        sha256: hash of the whole file in hex; None where the origin states none.
        expected_bytes: what to reserve on the disk where the server states no length.
        max_bytes: give up beyond this many bytes; None is no limit.
        timeout: seconds without a byte before a connection counts as dead.
        retries: tries in a row that may end without a new byte.
        pause: seconds before the first retry; doubled each time.
        sleep: called with the seconds to wait.
        progress: moved to the bytes at hand; None shows nothing.

    Returns:
        `path`.

    Raises:
        FetchError: refused, gone, too large, no room, wrong hash, or out of retries. What arrived
            stays for the next call, except where it is known to be wrong.
    """
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise FetchError(f"{url}: only http and https are fetched; for a local copy use --from")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(path, url)
    failures = 0
    while not part.whole:
        before = part.size
        try:
            _receive(part, sha256 is not None, expected_bytes, max_bytes, timeout, progress)
            break
        except _Again as again:
            failures = 1 if part.size > before else failures + 1
            if failures > retries or again.after > LONGEST_PAUSE:
                wait = f"; the server asks to wait {again.after:.0f} s" if again.after else ""
                raise FetchError(
                    f"{url}: {again}{wait}. The same command goes on from what has arrived "
                    f"({part.size:,} bytes) where the server can resume"
                ) from again
            sleep(max(again.after, min(pause * 2 ** (failures - 1), LONGEST_PAUSE)))
    if sha256 is not None and (found := file_sha256(part.path)) != sha256.lower():
        part.discard()
        raise FetchError(
            f"{url}: sha256 is {found}, expected {sha256.lower()}; what arrived was deleted. "
            "Try again, and if it repeats compare the hash with the origin's"
        )
    os.replace(part.path, path)
    part.notes.unlink(missing_ok=True)
    return path


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Part:
    """The half file on disk, and the notes of which whole one it is a part."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path.with_name(path.name + ".part")
        self.notes = path.with_name(path.name + ".part.json")
        self.url = url
        try:
            noted = json.loads(self.notes.read_text(encoding="utf-8"))
            self.validator, self.total = noted["validator"], noted["total"]
            ours = noted["url"] == url
        except (OSError, ValueError, KeyError, TypeError):
            ours = False  # without notes that can be read nothing says what the half file is
        if not ours:
            self.discard()

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def whole(self) -> bool:
        return self.path.exists() and self.size == self.total

    def begin(self, headers: Mapping[str, str], start: int, total: int | None) -> None:
        if start == 0:
            self.path.write_bytes(b"")  # before the notes, which must never describe other bytes
        self.validator, self.total = _validator(headers), total
        notes = {"url": self.url, "validator": self.validator, "total": total}
        self.notes.write_text(json.dumps(notes), encoding="utf-8")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)
        self.validator = self.total = None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never from https down to something weaker."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        old, new = (urllib.parse.urlsplit(u).scheme for u in (req.full_url, newurl))
        if old == "https" and new != "https":
            raise FetchError(f"{req.full_url}: redirected to {newurl}, which is not https; refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(part: _Part, start: int, timeout: float) -> http.client.HTTPResponse | None:
    """Ask for the bytes from `start` on; None when the server says that there are none left."""
    headers = {"User-Agent": "segbook-data-scripts", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        headers |= {"If-Range": part.validator} if part.validator else {}
    request = urllib.request.Request(part.url, headers=headers)
    try:
        return urllib.request.build_opener(_SafeRedirects).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and _range(error.headers)[1] == start:
                return None
            if error.code == 416:
                part.discard()
                raise _Again("the half file does not fit the server's; starting again") from error
            if error.code in PASSING:
                again = _Again(f"the server answers {error.code}")
                wait = error.headers.get("Retry-After", "")
                again.after = float(wait) if wait.isdigit() else 0.0
                raise again from error
            raise FetchError(
                f"{part.url}: the server answers {error.code} {error.reason}; "
                "give another address with --url or a local copy with --from"
            ) from error
    except BROKEN as error:
        why = getattr(error, "reason", error)
        if isinstance(why, ssl.SSLCertVerificationError):
            raise FetchError(f"{part.url}: {why}; the connection is not safe") from error
        raise _Again(f"no connection ({why})") from error


def _receive(
    part: _Part,
    hashed: bool,
    expected: int,
    limit: int | None,
    timeout: float,
    progress: Progress | None,
) -> None:
    """Make one connection and append what it gives; return only when the file is whole."""
    # Without a validator nothing says that the rest belongs to the same file; a hash will.
    start = part.size if part.validator or hashed else 0
    response = _open(part, start, timeout)
    if response is None:
        return
    with response:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        if response.status == 206:
            same = part.validator in (None, _validator(response.headers))
            first, whole = _range(response.headers)
            if not same or first != start:
                part.discard()
                raise _Again("the server sent another file or range than asked; starting again")
            total = start + total if whole is None and total is not None else whole
        elif response.status == 200:
            start = 0  # no Range support, or the file changed: all of it comes
        else:
            raise FetchError(f"{part.url}: the server answers {response.status}, not 200 or 206")
        if limit is not None and (total or 0) > limit:
            raise FetchError(f"{part.url}: {total:,} bytes, more than the {limit:,} allowed")
        require_space(part.path.parent, (total or expected) - start)
        part.begin(response.headers, start, total)
        with part.path.open("ab") as file:
            while True:
                if limit is not None and start > limit:
                    part.discard()
                    raise FetchError(f"{part.url}: more than the {limit:,} bytes allowed")
                try:
                    chunk = response.read(CHUNK)
                except BROKEN as error:  # caught here, where it cannot be the disk's
                    raise _Again(f"the connection broke ({error!r})") from error
                if not chunk:
                    break
                file.write(chunk)
                start += len(chunk)
                if progress is not None:
                    progress.move_to(start, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and start != total:
        if start > total:
            part.discard()
        raise _Again(f"the connection ended at {start:,} of {total:,} bytes")


def _validator(headers: Mapping[str, str]) -> str | None:
    etag = headers.get("ETag")
    if etag and not etag.startswith("W/"):  # If-Range takes strong validators only (RFC 9110)
        return etag
    return headers.get("Last-Modified")


def _range(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """The first byte and the total of a Content-Range, each None where it is not stated."""
    text = headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", text)
    first, total = found.groups() if found else (None, None)
    return first and int(first), total and int(total)
