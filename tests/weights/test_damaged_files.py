"""Hostile and damaged files: never unpickled, always named."""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
import tracemalloc

import pytest
import torch
from safetensors.torch import save_file

import segkit
from segkit.weights import fetch, load_weights, loading, read_header, save_weights
from segkit.weights.files import LARGEST_HEADER, LARGEST_INDEX

from .conftest import same, small_model, snapshot


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
        load = "If you trust.*pickle.load" if "pickle" in kind else "weights_only=True"
        with pytest.raises(ValueError, match=f"pickle.*any code.*{load}.*save_weights"):
            read(path)
    assert not (tmp_path / "exploded").exists()


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
    (tmp_path / "Mine.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"missing, but .*Mine\.safetensors lies there"):
        load_weights(small_model(), tmp_path / "mine.pth")


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.bool, torch.complex64])
def test_numbers_of_another_kind_are_not_cast(tmp_path, dtype):
    model = small_model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    other = {k: v.to(dtype) if v.is_floating_point() else v for k, v in before.items()}
    save_weights(other, tmp_path / "x.safetensors", header={})
    for strict in (True, False):
        with pytest.raises(ValueError, match=f"{dtype} in .*quantised"):
            load_weights(model, tmp_path / "x.safetensors", strict=strict)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


# --- what costs before it is refused


@pytest.fixture
def little_memory():
    """Refuses this process more than a gigabyte beyond what it has."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("builder", "arguments"),
    [
        ("unet", {"num_classes": 10**7}),
        ("unet", {"num_classes": 2**62}),
        ("unet", {"num_classes": 2, "in_channels": 10**9}),
        ("deeplab_v1", {"num_classes": 2, "channels": 10**9}),
        ("espnet", {"num_classes": 2, "alpha3": 10**9}),
        ("no_new_net", {"num_classes": 2, "channels": [10**9, 2 * 10**9]}),
        ("upernet", {"num_classes": 2, "backbone": "resnet50"}),
        ("x" * 900_000, {}),
        ("fpn", {"num_classes": 2, "backbone": "y" * 900_000}),
        ("unet", {"num_classes": "z" * 900_000}),
    ],
    ids=lambda given: str(given)[:40],
)
def test_a_header_cannot_ask_for_memory(tmp_path, little_memory, builder, arguments):
    header = {"builder": builder, "arguments": arguments}
    save_weights({"a": torch.zeros(1)}, path := tmp_path / "x.safetensors", header=header)
    with pytest.raises(ValueError, match=r"x\.safetensors") as caught:
        segkit.load_model(path)
    assert len(str(caught.value)) < 2000


def test_tensors_are_not_read_before_their_shapes_fit(tmp_path, monkeypatch):
    """A sparse file of 40 GB costs nothing to make."""
    monkeypatch.setattr(loading, "read_tensors", lambda *_: pytest.fail("read"))
    size = 40 << 30
    path = tmp_path / "x.safetensors"
    path.write_bytes(header_bytes({"0.weight": tensor([size // 4], [0, size])}))
    os.truncate(path, path.stat().st_size + size)
    for strict in (True, False):
        with pytest.raises(ValueError, match=r"0\.weight \[10737418240\] for \[4, 3, 3, 3\]"):
            load_weights(small_model(), path, strict=strict)


def test_long_names_are_cut_short(tmp_path):
    save_file({"n" * 1_000_000: torch.zeros(1)}, path := tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="nnn\\.\\.\\.") as caught:
        load_weights(small_model(), path)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ("name", "shape", "match"),
    [
        ("a." * 2_000_000 + "weight", [1], "does not fit"),
        ("module." * 1_000_000 + "weight", [1], "does not fit"),
        ("0.weight", [1] * 1_000_000, "1000000 dimensions"),
    ],
    ids=["parts", "wrappers", "dimensions"],
)
def test_names_and_shapes_that_take_long_are_not_looked_at_long(tmp_path, name, shape, match):
    path = tmp_path / "x.safetensors"
    path.write_bytes(header_bytes({name: tensor(shape, [0, 4])}) + bytes(4))
    with pytest.raises(ValueError, match=match) as caught:
        load_weights(small_model(), path)
    assert len(str(caught.value)) < 2000


def test_headers_are_capped(tmp_path):
    path = tmp_path / "x.safetensors"
    save_weights({"a": torch.ones(1)}, path, header={"note": "n" * (LARGEST_HEADER + 1)})
    with pytest.raises(ValueError, match=r"x\.safetensors.*characters"):
        read_header(path)
    text = b" " * (LARGEST_INDEX + 1)
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"x\.safetensors.*described in"):
        read_header(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"builder": "unet", "builder": "fpn"}', "a name twice"),
        ('{"arguments": {"num_classes": 2, "num_classes": 3}}', "a name twice"),
        ('{"value": NaN}', "NaN, which is no JSON"),
        ('{"value": -Infinity}', "-Infinity, which is no JSON"),
        ('{"a":' * 50_000, "not a whole"),
    ],
)
def test_json_that_can_be_read_in_two_ways_is_refused(tmp_path, text, match):
    save_file({"a": torch.zeros(1)}, path := tmp_path / "x.safetensors", {"segkit": text})
    with pytest.raises(ValueError, match=rf"x\.safetensors.*{match}"):
        read_header(path)


@pytest.mark.parametrize("kind", ["fifo", "device", "link to a device", "folder"])
def test_only_regular_files_are_read(tmp_path, kind):
    path = tmp_path / "x.safetensors"
    if kind == "fifo":
        os.mkfifo(path)  # opening it would wait for somebody who writes
    elif kind == "device":
        path = "/dev/zero"
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    network = segkit.create_model("lraspp_mobilenet_v3_large", num_classes=2)
    for read in (read_header, fetch, segkit.load_model, lambda p: load_weights(network, p)):
        with pytest.raises(ValueError, match=f"{path} is a (pipe|device|folder)"):
            read(path)


HOSTILE = "\x1b]0;x\x07\n\u202e" + "y" * 5000


@pytest.mark.parametrize(
    "header",
    [
        {"builder": HOSTILE, "arguments": {"num_classes": 2}},
        {"builder": HOSTILE, "arguments": {"weights": "x"}},
        {"builder": HOSTILE, "arguments": {"backbone": "timm:hf_hub:x"}},
        {"builder": "espnet_c", "arguments": {HOSTILE: 2}},
        {"builder": "espnet_c", "arguments": {"num_classes": HOSTILE}},
        {"builder": "espnet_c", "arguments": {"num_classes": 10**30}},
        {"builder": "espnet_c", "arguments": {"num_classes": 2}},  # with tensors of hostile names
    ],
)
def test_what_a_file_says_of_itself_is_quoted_as_one_short_line(tmp_path, header):
    path = tmp_path / "a\x1b[2J.safetensors"
    save_weights({f"{HOSTILE}.{k}": torch.ones(1) for k in range(9)}, path, header=header)
    with pytest.raises(ValueError, match="header") as caught:
        segkit.load_model(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2500
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_weights(small_model(), path)
    assert str(caught.value).isprintable()
