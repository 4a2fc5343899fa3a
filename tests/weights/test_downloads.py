"""What lies on the net: downloaded once, checked, and gone on with where it was cut."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import threading
import urllib.error
import urllib.request

import pytest

from segkit.weights import downloads, fetch, load_weights

from .conftest import HEADER, same, small_model, snapshot


class Server(http.server.ThreadingHTTPServer):
    """A local server with one file, and the ways in which a real one fails."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.cuts = []  # for each request in turn: bytes after which the connection drops
        self.ranges = True
        self.status = None
        self.skew = 0
        self.redirect = None
        self.endless = False
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/files/model.safetensors"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, content = self.server, self.server.content
        asked = self.headers.get("Range")
        server.requests.append(asked)
        if server.status:
            self.send_error(server.status)
            return
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            server.redirect = None
            return
        if server.endless:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while server.endless:
                    self.wfile.write(b"x" * 1000)
                    server.endless(server)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            begin = start + server.skew
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else len(content)
        self.wfile.write(content[start : start + cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server(saved.read_bytes())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def digest(server):
    return hashlib.sha256(server.content).hexdigest()


def entry(server, sha256=None):
    return f"{server.url}#sha256={sha256 or digest(server)}"


def cached(kind=""):
    return sorted(p.name for p in downloads.cache_dir().iterdir() if p.name.endswith(kind))


def test_download_once_then_from_the_cache(server):
    model = small_model(seed=1)
    assert load_weights(model, entry(server)) == HEADER
    assert same(model.state_dict(), small_model().state_dict())
    path = fetch(entry(server))
    assert path.parent == downloads.cache_dir()
    assert path.name == digest(server)[:16] + "-model.safetensors"
    assert server.requests == [None]
    assert cached(".part") == []


def test_url_with_checksum_as_a_string(server):
    source = f"{server.url}#sha256={digest(server).upper()}"
    assert load_weights(small_model(seed=1), source) == HEADER


def test_a_cut_connection_is_resumed(server):
    server.cuts = [100, 50]
    path = fetch(entry(server))
    assert path.read_bytes() == server.content
    assert server.requests == [None, "bytes=100-", "bytes=150-"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server):
    server.cuts = [100] + [0] * downloads.ATTEMPTS
    with pytest.raises(ConnectionError, match=r"ended after 100 of \d+ bytes.*\.part.*call again"):
        fetch(entry(server))
    assert len(server.requests) == 1 + downloads.ATTEMPTS
    assert [len((downloads.cache_dir() / p).read_bytes()) for p in cached(".part")] == [100]
    server.requests.clear()
    assert fetch(entry(server)).read_bytes() == server.content
    assert server.requests == ["bytes=100-"]


def test_a_server_without_ranges_starts_again(server):
    server.cuts, server.ranges = [100], False
    assert fetch(entry(server)).read_bytes() == server.content
    assert server.requests == [None, "bytes=100-"]


def test_a_complete_part_is_not_asked_for_again(server):
    path = fetch(entry(server))
    path.rename(path.with_name(path.name + ".part"))
    assert fetch(entry(server)).read_bytes() == server.content
    assert server.requests == [None, f"bytes={len(server.content)}-"]


def test_a_server_that_resumes_elsewhere_is_not_believed(server):
    server.cuts, server.skew = [100], 7
    with pytest.raises(ConnectionError, match="another place"):
        fetch(entry(server))
    assert [len((downloads.cache_dir() / p).read_bytes()) for p in cached(".part")] == [100]


def test_a_wrong_checksum_keeps_nothing(server):
    model = small_model(seed=1)
    before = snapshot(model)
    found, expected = digest(server), "0" * 64
    with pytest.raises(ValueError, match=f"127.0.0.1.*{found}, expected {expected}"):
        load_weights(model, entry(server, expected))
    assert cached("safetensors") == cached(".part") == []
    assert same(model.state_dict(), before)


def test_a_damaged_cache_is_downloaded_again(server):
    path = fetch(entry(server))
    path.write_bytes(server.content[:-1] + b"?")
    assert fetch(entry(server)).read_bytes() == server.content
    assert server.requests == [None, None]


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (503, downloads.ATTEMPTS)])
def test_a_refusal_is_told_and_only_a_busy_server_asked_again(server, status, requests):
    server.status = status
    with pytest.raises(ConnectionError, match=f"127.0.0.1.*{status}"):
        fetch(entry(server))
    assert len(server.requests) == requests


def test_no_server(server):
    gone = "http://127.0.0.1:9/model.safetensors#sha256=" + "0" * 64
    with pytest.raises(ConnectionError, match="127.0.0.1:9.*refused"):
        fetch(gone)


def test_names_in_a_url_stay_in_the_cache(server):
    sha256 = digest(server)
    base = server.url.rpartition("/")[0]
    for name in ("..%2f..%2fevil.safetensors", "a%00b%20c.safetensors?x=1", ""):
        path = fetch(f"{base}/{name}#sha256={sha256}")
        assert path.resolve().parent == downloads.cache_dir().resolve()


def test_processes_that_ask_together_download_once(server):
    paths = []
    threads = [
        threading.Thread(target=lambda: paths.append(fetch(entry(server)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4
    assert len(set(paths)) == 1
    assert server.requests == [None]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("https://host/x.safetensors", "sha256 ''.*#sha256="),
        ("https://host/x.safetensors#sha256=12", "sha256 '12'"),
        ("file:///etc/passwd#sha256=" + "0" * 64, "give its path"),
        ("ftp://host/x#sha256=" + "0" * 64, "neither http nor https"),
    ],
)
def test_sources_that_cannot_be_checked_are_refused(source, message):
    with pytest.raises(ValueError, match=message):
        fetch(source)


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SEGBOOK_CACHE", raising=False)
    assert downloads.cache_dir() == tmp_path / ".cache" / "segbook"
    monkeypatch.setenv("SEGBOOK_CACHE", os.fspath(tmp_path / "elsewhere"))
    assert downloads.cache_dir() == tmp_path / "elsewhere"


def test_a_redirect_is_followed(server):
    server.redirect = "/elsewhere/model.safetensors"
    assert fetch(entry(server)).read_bytes() == server.content
    assert len(server.requests) == 2


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "data:,x"])
def test_a_redirect_to_another_protocol_is_not_followed(server, target):
    server.redirect = target
    with pytest.raises(ConnectionError, match=r"not followed|not allowed"):
        fetch(entry(server))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("before", "after", "followed"),
    [
        ("https://a/x", "http://a/x", False),
        ("https://a/x", "https://b/x", True),
        ("http://a/x", "https://a/x", True),
        ("http://a/x", "ftp://a/x", False),
    ],
)
def test_encryption_is_never_left(before, after, followed):
    ask = downloads._Redirects().redirect_request
    request = urllib.request.Request(before)
    if followed:
        assert ask(request, None, 302, "Found", {}, after).full_url == after
    else:
        with pytest.raises(urllib.error.HTTPError, match="not followed"):
            ask(request, None, 302, "Found", {}, after)


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_that_is_too_large_is_not_kept(server, monkeypatch, announced):
    monkeypatch.setattr(downloads, "LARGEST", 1000)
    server.endless = None if announced else lambda server: None
    with pytest.raises(ValueError, match="more than .* GiB: nothing was kept"):
        fetch(entry(server))
    server.endless = False
    assert cached(".part") == []


def test_a_server_that_never_ends_is_left(server, monkeypatch):
    monkeypatch.setattr(downloads, "LONGEST", 0.1)
    server.endless = lambda server: None
    with pytest.raises(ConnectionError, match="longer than .* hours"):
        fetch(entry(server))
    server.endless = False
    assert len(server.requests) == 1
