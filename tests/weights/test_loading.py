"""Weights that do not fit a network, or hold no numbers, leave it as it was and say why."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segkit.weights import load_for_classes, load_weights, save_weights

from .conftest import same, small_model, snapshot


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


def test_a_model_without_memory_needs_no_file():
    with torch.device("meta"), pytest.raises(ValueError, match="to_empty"):
        load_weights(small_model(), "nowhere.safetensors")


# --- what is no number


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ("nan", torch.float32),
        ("inf", torch.float32),
        ("-inf", torch.float16),
        ("nan", torch.float8_e4m3fn),
    ],
)
def test_what_is_not_finite_is_refused(tmp_path, value, dtype):
    state = small_model().state_dict()
    for name, place in (("0.bias", 3), ("1.running_var", 0)):
        state[name][place] = float(value)
        state[name] = state[name].to(dtype)
    save_weights(state, path := tmp_path / "x.safetensors", header={})
    model = small_model(seed=1)
    before = snapshot(model)
    match = r"x\.safetensors has NaN or infinite numbers in 2 of 9 tensors, first in 0\.bias,"
    for load in (
        lambda: load_weights(model, path),
        lambda: load_weights(model, path, strict=False),
        lambda: load_for_classes(model, path, rebuild=small_model, num_classes=2),
    ):
        with pytest.raises(ValueError, match=match):
            load()
    assert same(model.state_dict(), before)


def test_an_infinite_buffer_may_be_meant(tmp_path):
    masked = small_model()
    masked.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))
    save_weights(masked, path := tmp_path / "x.safetensors", header={})
    load_weights(masked, path)
    masked.mask[0, 0] = 0
    assert masked.mask[0, 1] == -torch.inf
    masked.mask.zero_()
    with pytest.raises(ValueError, match=r"1 of 10 tensors, first in mask"):
        load_weights(masked, path)


def test_every_finite_number_is_taken(tmp_path):
    state = {
        "wide": torch.tensor([torch.finfo(torch.float64).max, -5e-324], dtype=torch.float64),
        "eight": torch.tensor([448.0, -1.0]).to(torch.float8_e4m3fn),
        "count": torch.tensor(2**62),
        "none": torch.zeros(0),
    }
    save_weights(state, tmp_path / "x.safetensors", header={})
    model = nn.Module()
    for name, tensor in state.items():
        model.register_buffer(name, torch.zeros_like(tensor))
    load_weights(model, tmp_path / "x.safetensors")
    found = model.state_dict()
    assert all(torch.equal(found[k].double(), v.double()) for k, v in state.items())


# --- folders


@pytest.mark.parametrize("given", ["", "checkpoints"])
def test_a_folder_of_a_run_names_its_best_weights(tmp_path, given):
    folder = tmp_path / given
    folder.mkdir(exist_ok=True)
    with pytest.raises(ValueError, match=r"is a folder.*a run writes checkpoints/best\.safet"):
        load_weights(small_model(), folder)
    best = tmp_path / "checkpoints" / "best.safetensors"
    save_weights(small_model(), best, header={})
    with pytest.raises(ValueError, match=f"is a folder, not a weights file: give {best}$"):
        load_weights(small_model(), folder)
