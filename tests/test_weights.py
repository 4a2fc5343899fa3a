"""Weights: written whole or not at all, never unpickled, downloaded once and checked."""

import hashlib
import http.server
import json
import os
import pickle
import struct
import threading

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from segkit.weights import (
    WeightsEntry,
    downloads,
    fetch,
    files,
    load_weights,
    read_header,
    save_weights,
)

HEADER = {
    "builder": "pp_liteseg_t",
    "arguments": {"num_classes": 2},
    "classes": ["Sky", "Straße"],
    "palette": [[128, 128, 128], [128, 64, 128]],
    "normalisation": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "metric": "miou",
    "value": 0.61,
    "policy": "dataset",
    "licence": "Apache-2.0",
    "source": "run 7",
}


def small_model(classes=2, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, classes, 1))


def snapshot(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in state.items())


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(small_model(), path, header=HEADER)
    return path


# --- files


def test_round_trip(saved):
    model = small_model(seed=1)
    assert load_weights(model, saved) == HEADER
    assert same(model.state_dict(), small_model().state_dict())
    assert read_header(saved) == HEADER
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_state_dict_of_every_dtype_and_layout(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "transposed": base.T,
        "shared": base,
        "float16": base.half(),
        "bf16": base.bfloat16(),
        "counter": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(base),
    }
    path = tmp_path / "new" / "folder" / "x.safetensors"
    save_weights(state, str(path), header={})
    model = nn.Module()
    for name, tensor in state.items():
        model.register_buffer(name, torch.zeros_like(tensor))
    assert load_weights(model, str(path)) == {}
    assert same(model.state_dict(), state)
    assert model.float16.dtype == torch.float16
    assert model.counter.dtype == torch.int64


def test_file_has_the_usual_permissions(saved):
    other = saved.with_name("other")
    other.write_text("")
    assert saved.stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize("failing", ["save_file", "sync", "replace"])
def test_a_failed_save_leaves_the_old_file(saved, monkeypatch, failing):
    before = saved.read_bytes()

    def full_disk(*arguments, **named):
        if failing == "save_file":
            raise SafetensorError("I/O error: No space left on device")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os if failing == "replace" else files, failing, full_disk)
    with pytest.raises(OSError, match="No space"):
        save_weights(small_model(seed=1), saved, header=HEADER)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize(
    ("state", "name", "header", "message"),
    [
        ({"a": torch.zeros(1)}, "x.pth", {}, r"x\.safetensors"),
        ({}, "x.safetensors", {}, "no tensors"),
        ({"a": 3}, "x.safetensors", {}, "'a' is int"),
        ({"a": torch.zeros(1, device="meta")}, "x.safetensors", {}, "'a' is on the meta device"),
        ({"a": torch.zeros(1)}, "x.safetensors", {"value": torch.zeros(1)}, "not JSON.*Tensor"),
        ({"a": torch.zeros(1)}, "x.safetensors", {"value": float("nan")}, "not JSON"),
    ],
)
def test_save_refuses(tmp_path, state, name, header, message):
    with pytest.raises(ValueError, match=message):
        save_weights(state, tmp_path / name, header=header)
    assert not list(tmp_path.iterdir())


def test_foreign_safetensors_has_an_empty_header(tmp_path):
    save_file(small_model().state_dict(), tmp_path / "x.safetensors")
    assert read_header(tmp_path / "x.safetensors") == {}
    assert load_weights(small_model(seed=1), tmp_path / "x.safetensors") == {}


# --- what does not fit


def test_wrong_shapes_name_keys_and_cure(saved):
    model = small_model(classes=5)
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"2\.weight \[2, 4, 1, 1\] for \[5, 4, 1, 1\]") as caught:
        load_weights(model, saved)
    message = str(caught.value)
    for part in (str(saved), "2.bias [2] for [5]", "pp_liteseg_t", "num_classes", "strict=False"):
        assert part in message
    assert same(model.state_dict(), before)


def test_missing_and_unknown_keys_are_named(tmp_path):
    state = small_model().state_dict()
    state["head.weight"] = state.pop("0.weight")
    save_weights(state, tmp_path / "x.safetensors", header={})
    model = small_model(seed=1)
    before = snapshot(model)
    expected = r"1 missing \(0.weight\); 1 not in the model \(head.weight\)"
    with pytest.raises(ValueError, match=expected):
        load_weights(model, tmp_path / "x.safetensors")
    assert same(model.state_dict(), before)


def test_many_keys_are_cut_short(tmp_path):
    save_weights({f"k{i}": torch.zeros(1) for i in range(9)}, tmp_path / "x.safetensors", header={})
    with pytest.raises(ValueError, match=r"k0, k1, k2, k3, k4 and 4 more\)"):
        load_weights(small_model(), tmp_path / "x.safetensors")


def test_not_strict_loads_what_fits_and_says_what_not(saved):
    model = small_model(classes=5, seed=1)
    before = snapshot(model)
    with pytest.warns(UserWarning, match=r"2\.bias \[2\] for \[5\]"):
        load_weights(model, saved, strict=False)
    assert torch.equal(model[0].weight, small_model()[0].weight)
    assert torch.equal(model[2].weight, before["2.weight"])


def test_not_strict_still_refuses_a_file_of_which_nothing_fits(tmp_path):
    save_weights({"a": torch.zeros(1)}, tmp_path / "x.safetensors", header={})
    with pytest.raises(ValueError, match="9 missing.*where a part fits"):
        load_weights(small_model(), tmp_path / "x.safetensors", strict=False)


def test_a_model_without_memory_is_refused(saved):
    with torch.device("meta"):
        model = small_model()
    with pytest.raises(ValueError, match="to_empty"):
        load_weights(model, saved)


# --- hostile and damaged files


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("kind", ["torch", "legacy torch", "pickle 2", "pickle 4", "renamed"])
def test_a_pickle_is_refused_and_not_run(tmp_path, kind):
    bomb = Bomb(str(tmp_path / "exploded"))
    path = tmp_path / ("x.safetensors" if kind == "renamed" else "x.pth")
    if "torch" in kind or kind == "renamed":
        torch.save({"a": bomb}, path, _use_new_zipfile_serialization=kind != "legacy torch")
    else:
        path.write_bytes(pickle.dumps(bomb, protocol=int(kind[-1])))
    for read in (read_header, lambda path: load_weights(small_model(), path)):
        with pytest.raises(ValueError, match="pickle.*any code.*weights_only=True.*save_weights"):
            read(path)
    assert not (tmp_path / "exploded").exists()


def test_the_cure_for_a_pickle_works(tmp_path):
    path = tmp_path / "old.pth"
    torch.save(small_model().state_dict(), path)
    state = torch.load(path, weights_only=True)
    save_weights(state, tmp_path / "new.safetensors", header={})
    model = small_model(seed=1)
    load_weights(model, tmp_path / "new.safetensors")
    assert same(model.state_dict(), small_model().state_dict())


def test_a_header_length_that_looks_like_a_pickle_is_none(tmp_path):
    """A safetensors file begins with the length of its JSON: 640 is 0x80 0x02, pickle's mark."""
    path = tmp_path / "x.safetensors"
    for padding in range(500, 640):
        save_weights({"a": torch.ones(1)}, path, header={"x": "." * padding})
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert read_header(path) == {"x": "." * padding}


def header_bytes(header):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text


def tensor(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"not a weights file, but a page of text\n" * 9,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**9) + b"{}",
        header_bytes(b'{"a": '),
        header_bytes({"a": tensor([4], [0, 16])}),  # no data
        header_bytes({"a": tensor([4], [0, 16])}) + b"\0" * 15,
        header_bytes({"a": tensor([4], [0, 16])}) + b"\0" * 17,
        header_bytes({"a": tensor([10**9], [0, 16])}) + b"\0" * 16,
        header_bytes({"a": tensor([4], [0, 2**62])}) + b"\0" * 16,
        header_bytes({"a": tensor([2**40, 2**40], [0, 16])}) + b"\0" * 16,
        header_bytes({"a": tensor([4], [0, 16], "PICKLE")}) + b"\0" * 16,
        header_bytes({"a": tensor([4], [0, 16]), "b": tensor([4], [0, 16])}) + b"\0" * 16,
        header_bytes({"__metadata__": {"segkit": "{"}, "a": tensor([4], [0, 16])}) + b"\0" * 16,
        header_bytes({"__metadata__": {"segkit": "[1]"}, "a": tensor([4], [0, 16])}) + b"\0" * 16,
        header_bytes({"__metadata__": {"segkit": "[" * 99999}, "a": tensor([4], [0, 16])})
        + b"\0" * 16,
        header_bytes({"__metadata__": {"segkit": "9" * 9999}, "a": tensor([4], [0, 16])})
        + b"\0" * 16,
    ],
)
def test_a_damaged_or_lying_file_is_named(tmp_path, content):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    model = small_model()
    before = snapshot(model)
    with pytest.raises(ValueError, match="damaged.safetensors"):
        load_weights(model, path)
    assert same(model.state_dict(), before)


def test_every_truncation_is_noticed(saved):
    content = saved.read_bytes()
    for length in range(0, len(content), 37):
        saved.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            read_header(saved)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.safetensors"):
        load_weights(small_model(), tmp_path / "nowhere.safetensors")


# --- downloads


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


def entry(server, sha256=None):
    return WeightsEntry(server.url, sha256 or hashlib.sha256(server.content).hexdigest())


def cached(kind=""):
    return sorted(p.name for p in downloads.cache_dir().iterdir() if p.name.endswith(kind))


def test_download_once_then_from_the_cache(server):
    model = small_model(seed=1)
    assert load_weights(model, entry(server)) == HEADER
    assert same(model.state_dict(), small_model().state_dict())
    path = fetch(entry(server))
    assert path.parent == downloads.cache_dir()
    assert path.name == entry(server).sha256[:16] + "-model.safetensors"
    assert server.requests == [None]
    assert cached(".part") == []


def test_url_with_checksum_as_a_string(server):
    source = f"{server.url}#sha256={entry(server).sha256.upper()}"
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
    found, expected = entry(server).sha256, "0" * 64
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
    gone = WeightsEntry("http://127.0.0.1:9/model.safetensors", "0" * 64)
    with pytest.raises(ConnectionError, match="127.0.0.1:9.*refused"):
        fetch(gone)


def test_names_in_a_url_stay_in_the_cache(server):
    digest = entry(server).sha256
    base = server.url.rpartition("/")[0]
    for name in ("..%2f..%2fevil.safetensors", "a%00b%20c.safetensors?x=1", ""):
        path = fetch(WeightsEntry(f"{base}/{name}", digest))
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
        (WeightsEntry("file:///etc/passwd", "0" * 64), "give its path"),
        (WeightsEntry("ftp://host/x", "0" * 64), "neither http nor https"),
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
