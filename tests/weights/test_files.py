"""Weights files are written whole or not at all, and say what is needed to use them."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from segkit.engine import load_checkpoint, save_checkpoint
from segkit.weights import files, load_weights, read_header, save_weights

from .conftest import HEADER, same, small_model


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


def test_a_folder_whose_name_is_no_utf8_holds_weights_and_checkpoints(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    model = nn.Linear(2, 3)
    save_weights(model, folder / "w.safetensors", header={"a": 1})
    assert read_header(folder / "w.safetensors") == {"a": 1}
    shapes = files.read_shapes(folder / "w.safetensors")
    assert shapes["weight"].shape == (3, 2)
    tensors = files.read_tensors(folder / "w.safetensors", ["weight"])
    assert torch.equal(tensors["weight"], model.weight)
    save_checkpoint(folder, {"step": 3, "weight": model.weight.detach()})
    loaded = load_checkpoint(folder)
    assert loaded is not None
    assert torch.equal(loaded["weight"], model.weight)
