"""Downloads from a server on this machine that cuts, forgets, changes its mind and lies."""

from __future__ import annotations

import socket
import threading
import urllib.request
from contextlib import suppress

import numpy as np
import pytest

from data_scripts.fetching import download as module
from data_scripts.fetching.download import FetchError, download

BODY = np.random.default_rng(0).bytes(700_000)
NEW_BODY = np.random.default_rng(1).bytes(650_000)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "got" / "file.bin"


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The pauses, in seconds, that were asked for and not made."""
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    return waits


def fetch(site, target, max_bytes=1 << 20):
    download(site.url + "file", target, max_bytes=max_bytes)


def leftovers(target):
    return sorted(path.name for path in target.parent.iterdir() if path != target)


def broken_off(site, target, at=300_000):
    """Leave a half file behind, as a call that was interrupted does."""
    site.files["file"].cuts.append(at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TRIES", 1)
        with pytest.raises(FetchError, match="goes on"):
            fetch(site, target)
    assert not target.exists()
    site.seen.clear()


def test_a_whole_file_arrives_and_nothing_else_stays(site, resource, target):
    site.files["file"] = resource(BODY)
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert leftovers(target) == []
    assert len(site.seen) == 1
    assert "Range" not in site.seen[0].headers


def test_an_empty_file_is_a_file(site, resource, target):
    site.files["file"] = resource(b"")
    fetch(site, target)
    assert target.read_bytes() == b""


def test_a_cut_connection_is_continued_where_it_broke(site, resource, target, waits):
    site.files["file"] = resource(BODY, cuts=[300_000, 100_000])
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert [seen.headers.get("Range") for seen in site.seen] == [
        None,
        "bytes=300000-",
        "bytes=400000-",
    ]
    assert site.seen[1].headers["If-Range"] == '"one"'
    assert sum(seen.sent for seen in site.seen) == len(BODY)
    assert waits == [1.0, 1.0]  # each try brought bytes, so the pause does not grow


def test_the_next_call_continues_what_the_last_one_left(site, resource, target):
    site.files["file"] = resource(BODY)
    broken_off(site, target)
    assert leftovers(target) == ["file.bin.part", "file.bin.part.txt"]
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert [(seen.status, seen.sent) for seen in site.seen] == [(206, 400_000)]


def test_a_server_without_ranges_sends_all_of_it_again(site, resource, target):
    site.files["file"] = resource(BODY, ranges=False)
    broken_off(site, target)
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert [(seen.status, seen.sent) for seen in site.seen] == [(200, 700_000)]


@pytest.mark.parametrize("obeys", [True, False], ids=["200 by If-Range", "206 of the new file"])
def test_a_file_that_changed_is_not_glued_to_its_old_half(site, resource, target, obeys):
    site.files["file"] = resource(BODY)
    broken_off(site, target)
    site.files["file"] = resource(NEW_BODY, etag='"two"', obeys_if_range=obeys)
    fetch(site, target)
    assert target.read_bytes() == NEW_BODY


def test_last_modified_will_do_where_the_etag_is_weak(site, resource, target):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    site.files["file"] = resource(BODY, etag='W/"weak"', modified=date)
    broken_off(site, target)
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert site.seen[0].headers["If-Range"] == date
    assert site.seen[0].status == 206


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_validator_nothing_is_continued(site, resource, target, etag):
    site.files["file"] = resource(BODY, etag=etag)
    broken_off(site, target)
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert "Range" not in site.seen[0].headers


def test_what_is_gone_is_asked_for_once(site, target):
    with pytest.raises(FetchError, match="404.*--url.*--from"):
        fetch(site, target)
    assert len(site.seen) == 1


def test_a_busy_server_is_asked_again_and_given_up_with_growing_pauses(
    site, resource, target, waits
):
    site.files["file"] = resource(BODY, statuses=[(503, {}), (429, {}), (502, {})])
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert waits[:3] == [1.0, 2.0, 4.0]
    site.files["file"].statuses += [(503, {})] * module.TRIES
    with pytest.raises(FetchError, match=r"503.*The same command goes on"):
        fetch(site, target)


def test_a_dead_address_is_given_up(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(FetchError, match="no connection"):
        download(f"http://127.0.0.1:{port}/", tmp_path / "x", max_bytes=9)


def test_a_silent_server_times_out(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        with pytest.raises(FetchError, match="timed out"):
            download(url, tmp_path / "x", max_bytes=9)


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_drips_is_given_up_in_time(tmp_path, begun):
    """A byte now and then, in the headers or in the file, never lets a timeout pass."""
    over = threading.Event()

    def drip(server):
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.sendall(begun)
            while not over.wait(0.02):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(FetchError, match="takes too long"):
            download(url, tmp_path / "x", max_bytes=1 << 20, max_seconds=0.2)
        over.set()
        thread.join()


def test_nothing_is_written_through_a_link(site, resource, target):
    site.files["file"] = resource(BODY)
    target.parent.mkdir()
    victim = target.with_name("victim")
    victim.write_text("precious")
    for name in ("file.bin.part", "file.bin.part.txt"):
        target.with_name(name).symlink_to(victim)
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert leftovers(target) == ["victim"]
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("extra", [0, 5], ids=["complete", "too long"])
def test_a_half_file_after_which_nothing_comes_is_fetched_anew(site, resource, target, extra):
    site.files["file"] = resource(BODY)
    broken_off(site, target)
    target.with_name("file.bin.part").write_bytes(BODY + b"x" * extra)
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert [seen.status for seen in site.seen] == [416, 200]


@pytest.mark.parametrize("tty", [True, False])
def test_the_line_follows_the_bytes(site, resource, target, monkeypatch, capsys, tty):
    monkeypatch.setattr("sys.stderr.isatty", lambda: tty, raising=False)
    site.files["file"] = resource(BODY * 3)
    fetch(site, target, max_bytes=3 * len(BODY))
    assert capsys.readouterr().err.endswith(f"download: 2 of 2 MB{' ' * 41}\n" if tty else "")


def test_a_cut_stream_of_unknown_length_is_noticed(site, resource, target):
    site.files["file"] = resource(BODY, chunked=True, cuts=[200_000])
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert [seen.status for seen in site.seen] == [200, 206]


@pytest.mark.parametrize("chunked", [False, True], ids=["length stated", "length unknown"])
def test_a_file_over_the_limit_is_refused(site, resource, target, chunked):
    site.files["file"] = resource(BODY, chunked=chunked)
    with pytest.raises(FetchError, match="699,999"):
        fetch(site, target, max_bytes=len(BODY) - 1)
    assert not target.exists()
    fetch(site, target, max_bytes=len(BODY))
    assert target.read_bytes() == BODY


def test_a_range_from_elsewhere_is_not_taken(site, resource, target):
    site.files["file"] = resource(BODY)
    broken_off(site, target)
    site.files["file"].shift = 10
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert [seen.status for seen in site.seen] == [206, 200]


@pytest.mark.parametrize("notes", ["", "\n", "\xff\0", 'http://elsewhere/\n"one"'])
def test_a_half_file_of_unknown_origin_is_dropped(site, resource, target, notes):
    site.files["file"] = resource(BODY)
    broken_off(site, target)
    target.with_name("file.bin.part").write_bytes(b"something else")
    target.with_name("file.bin.part.txt").write_text(notes, "latin-1")
    fetch(site, target)
    assert target.read_bytes() == BODY


def test_a_half_file_from_another_address_is_dropped(site, resource, target):
    """A mirror may carry the same ETag on another file."""
    site.files["file"] = resource(BODY)
    broken_off(site, target)
    site.files["mirror"] = resource(NEW_BODY)
    download(site.url + "mirror", target, max_bytes=1 << 20)
    assert target.read_bytes() == NEW_BODY


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://host/x", "data.zip", "http://[::1/x", "http://a b/"]
)
def test_only_http_is_fetched(tmp_path, url):
    with pytest.raises(FetchError, match="--from|not an address"):
        download(url, tmp_path / "x", max_bytes=9)


def test_redirects_are_followed_but_not_out_of_https(site, resource, target):
    site.files["file"] = resource(b"", statuses=[(302, {"Location": site.url + "other"})])
    site.files["other"] = resource(BODY)
    fetch(site, target)
    assert target.read_bytes() == BODY
    request = urllib.request.Request("https://host/file")
    follow = module._SafeRedirects().redirect_request
    for weaker in ("http://host/file", "ftp://host/file", "file:///etc/passwd"):
        with pytest.raises(FetchError, match="not https"):
            follow(request, None, 302, "Found", {}, weaker)
    plain = urllib.request.Request("http://host/file")
    with pytest.raises(FetchError, match="not https"):
        follow(plain, None, 302, "Found", {}, "ftp://host/file")
    assert follow(request, None, 302, "Found", {}, "https://mirror/file").host == "mirror"
