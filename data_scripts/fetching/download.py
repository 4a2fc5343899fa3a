"""A download over HTTP that survives: it resumes, retries, and never leaves a half file.

What arrives goes to ``NAME.part``; ``NAME.part.txt`` beside it remembers the address and the
server's validator (ETag or Last-Modified). The next try asks for the rest with ``Range`` and
``If-Range``, so that a file that changed on the server is fetched anew and two versions are never
glued together.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import os
import re
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from .progress import progress

CHUNK = 1 << 16  # bytes
TIMEOUT = 30.0  # seconds without a byte before a connection counts as dead
TRIES = 5  # in a row that may end without a new byte; the pause before the next doubles
PASSING = {408, 416, 425, 429, 500, 502, 503, 504}  # HTTP statuses worth another try
BROKEN = (ConnectionError, TimeoutError, http.client.HTTPException, ssl.SSLError)


class FetchError(RuntimeError):
    """A download that cannot be finished; the message says why and what to do."""


def download(url: str, path: Path, *, max_bytes: int, max_seconds: float = 6 * 3600) -> Path:
    """Fetch `url` into `path`, continuing what an earlier call left.

    Args:
        url: an http or https address.
        path: where the whole file goes, in one rename, at the end.
        max_bytes: give up beyond this many bytes.
        max_seconds: give up after so long in all, pauses included.

    Returns:
        `path`.

    Raises:
        FetchError: refused, gone, too large, too slow, or out of tries. What arrived stays for the
            next call, except where it is known to be wrong.
    """
    if url.partition("://")[0].lower() not in {"http", "https"}:
        raise FetchError(f"{url}: only http and https are fetched; for a local copy use --from")
    path.parent.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(url, path, max_bytes, time.monotonic() + max_seconds)
    done: concurrent.futures.Future[None] = concurrent.futures.Future()

    def work() -> None:
        try:
            done.set_result(transfer.run())
        except BaseException as error:
            done.set_exception(error)

    # In a thread: a server that sends a byte now and then never lets a socket's timeout pass.
    threading.Thread(target=work, daemon=True).start()
    concurrent.futures.wait([done], max_seconds)
    if not done.done():
        raise FetchError(transfer.too_slow)
    done.result()
    os.replace(transfer.part, path)
    transfer.discard()
    return path


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never from https down to something weaker, and to no other protocol."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        old, new = (urllib.parse.urlsplit(u).scheme for u in (req.full_url, newurl))
        if new not in ("https", old):
            raise FetchError(f"{req.full_url}: redirected to {newurl}, which is not https; refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Transfer:
    """One download: the half file, the notes of which whole one it is a part, and the limits."""

    def __init__(self, url: str, path: Path, max_bytes: int, deadline: float) -> None:
        self.url, self.max_bytes, self.deadline = url, max_bytes, deadline
        self.part, self.notes = (path.with_name(path.name + end) for end in (".part", ".part.txt"))
        self.too_slow = f"{url}: it takes too long; the same command goes on from what has arrived"

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def arrived(self) -> tuple[int, str]:
        """The half file's size and validator; 0 and "" where nothing says whose half it is."""
        if any(path.is_symlink() or not path.is_file() for path in (self.part, self.notes)):
            return 0, ""
        url, _, validator = self.notes.read_text("utf-8", "replace").partition("\n")
        return (self.part.stat().st_size, validator) if validator and url == self.url else (0, "")

    def run(self) -> None:
        """Connect until the file is whole."""
        failures = 0
        while failures < TRIES:
            before, validator = self.arrived()
            try:
                return self.receive(before, validator)
            except urllib.error.HTTPError as error:
                error.close()
                why = f"the server answers {error.code} {error.reason}"
                if error.code == 416:  # what is here is not a part of the server's file
                    self.discard()
                if error.code not in PASSING:
                    cure = "give another address with --url or a local copy with --from"
                    raise FetchError(f"{self.url}: {why}; {cure}") from error
            except urllib.error.URLError as error:
                why = f"no connection ({error.reason})"
            except (ValueError, http.client.InvalidURL) as error:  # of a redirect as well
                raise FetchError(f"{self.url}: not an address ({error})") from error
            except BROKEN as error:
                why = f"the connection broke ({error})"
            size, _ = self.arrived()
            failures = 1 if size > before else failures + 1
            time.sleep(2.0 ** (failures - 1) if failures < TRIES else 0)
        raise FetchError(
            f"{self.url}: {why}. The same command goes on from what has arrived ({size:,} bytes) "
            "where the server can resume"
        )

    def receive(self, start: int, validator: str) -> None:
        """Make one connection and append what it gives; return only when the file is whole."""
        headers = {"User-Agent": "segbook-data-scripts", "Accept-Encoding": "identity"}
        headers |= {"Range": f"bytes={start}-", "If-Range": validator} if start else {}
        request = urllib.request.Request(self.url, headers=headers)
        opener = urllib.request.build_opener(_SafeRedirects)
        with opener.open(request, timeout=TIMEOUT) as response:
            etag, total = response.headers.get("ETag", "W/"), response.length
            # If-Range takes strong validators only (RFC 9110).
            tag = response.headers.get("Last-Modified", "") if etag.startswith("W/") else etag
            if response.status == 206:
                asked = response.headers.get("Content-Range", "")
                found = re.fullmatch(rf"bytes {start}-\d+/(\d{{1,18}})", asked)
                if not found or tag not in ("", validator):
                    self.discard()
                    raise ConnectionError("the server sent another file or range than asked")
                total = int(found[1])
            else:  # the first time, no Range support, or the file changed: all of it comes
                self.discard()  # first, so that the notes never describe other bytes
                start = 0
                self.notes.write_text(f"{self.url}\n{tag}", "utf-8")
            with self.part.open("ab") as file, progress("download", "MB", 1e6) as show:
                while start <= self.max_bytes and (total or 0) <= self.max_bytes:
                    chunk = response.read1(CHUNK)
                    if time.monotonic() > self.deadline:
                        raise FetchError(self.too_slow)
                    if not chunk:
                        break
                    file.write(chunk)
                    start += len(chunk)
                    show(start, total)
                else:
                    self.discard()
                    raise FetchError(f"{self.url}: over the {self.max_bytes:,} bytes allowed")
                file.flush()
                os.fsync(file.fileno())
        if total is not None and start != total:
            raise ConnectionError(f"it ended at {start:,} of {total:,} bytes")
