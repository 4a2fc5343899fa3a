"""Hostile and damaged files: never unpickled, always named."""

from __future__ import annotations

import json
import pickle
import struct

import pytest
import torch

from segkit.weights import load_weights, read_header, save_weights

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
