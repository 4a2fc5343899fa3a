"""What is around a network while it trains is neither written nor minded when it is read."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import segkit
from segkit.engine import averaged
from segkit.weights import load_for_classes, load_weights, save_weights
from segkit.weights.wrappers import match_names

from .conftest import same, small_model


@pytest.fixture
def one_process(tmp_path):
    """A process group of this process alone."""
    store = f"file://{tmp_path}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def inside(model):
    """A network of which only a part is compiled or parallel."""
    model[0] = torch.compile(nn.DataParallel(model[0]))
    return model


WRAPPED = {
    "DataParallel": nn.DataParallel,
    "compile": torch.compile,
    "AveragedModel": lambda model: averaged(model, 0.9),
    "compile in DataParallel": lambda model: nn.DataParallel(torch.compile(model)),
    "DataParallel in compile": lambda model: torch.compile(nn.DataParallel(model)),
    "AveragedModel of all": lambda model: AveragedModel(nn.DataParallel(torch.compile(model))),
    "a part": inside,
    "a part, in DataParallel": lambda model: nn.DataParallel(inside(model)),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_what_is_inside_is_written_and_read(tmp_path, how):
    path = tmp_path / "x.safetensors"
    save_weights(WRAPPED[how](small_model()), path, header={})
    assert load_file(path).keys() == small_model().state_dict().keys()
    plain = small_model(seed=1)
    load_weights(plain, path)
    assert same(plain.state_dict(), small_model().state_dict())

    inner = small_model(seed=1)
    load_weights(WRAPPED[how](inner), path)
    if how != "AveragedModel" and not how.startswith("AveragedModel"):  # which holds a copy
        names = [name for name, _ in small_model().named_parameters()]
        theirs = dict(zip(names, inner.parameters(), strict=True))
        assert all(torch.equal(theirs[n], p) for n, p in small_model().named_parameters())


def test_a_distributed_network(tmp_path, one_process):
    path = tmp_path / "x.safetensors"
    save_weights(DistributedDataParallel(small_model()), path, header={})
    parallel = DistributedDataParallel(small_model(seed=1))
    load_weights(parallel, path)
    assert same(parallel.module.state_dict(), small_model().state_dict())


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "state_dict.model.", "a.b.c."],
)
def test_one_prefix_is_taken_off_and_said(tmp_path, prefix):
    path = tmp_path / "x.safetensors"
    state = {prefix + k: v for k, v in small_model().state_dict().items()}
    save_weights(state, path, header={})
    model = small_model(seed=1)
    with pytest.warns(UserWarning, match=rf"x\.safetensors: '{prefix}' was taken off"):
        load_weights(model, path)
    assert same(model.state_dict(), small_model().state_dict())

    model = small_model(5, seed=1)
    loaded = load_for_classes(model, path, rebuild=small_model, num_classes=5)
    assert (loaded.prefix, loaded.fresh) == (prefix, ("2.bias", "2.weight"))
    assert f"({prefix!r} was taken off their names), made for 2 classes" in str(loaded)


@pytest.mark.parametrize("how", WRAPPED)
def test_the_state_dict_of_something_wrapped(tmp_path, how):
    path = tmp_path / "x.safetensors"
    save_weights(WRAPPED[how](small_model()).state_dict(), path, header={})
    model = small_model(seed=1)
    with pytest.warns(UserWarning, match="was taken off"):
        load_weights(model, path)
    assert same(model.state_dict(), small_model().state_dict())


def test_what_is_beside_the_prefix_is_no_part_of_the_network(tmp_path):
    """Lightning writes the weights of a loss beside the network's."""
    path = tmp_path / "x.safetensors"
    state = {f"model.{k}": v for k, v in small_model().state_dict().items()}
    save_weights({**state, "loss.weight": torch.ones(2)}, path, header={})
    with pytest.raises(ValueError, match=r"'model\.' was taken off.*1 not in the model \(loss\.w"):
        load_weights(small_model(), path)
    model = small_model(seed=1)
    with pytest.warns(UserWarning, match="the rest was loaded"):
        load_weights(model, path, strict=False)
    assert same(model.state_dict(), small_model().state_dict())


def test_a_prefix_that_the_network_has_itself_stays(tmp_path, recwarn):
    class Outer(nn.Module):
        def __init__(self, seed=0):
            super().__init__()
            self.model, self.module = small_model(seed=seed), small_model(seed=seed + 1)

    save_weights(Outer(), tmp_path / "x.safetensors", header={})
    model = Outer(seed=5)
    load_weights(model, tmp_path / "x.safetensors")
    assert same(model.state_dict(), Outer().state_dict())
    assert not recwarn.list


def test_two_networks_in_one_file_are_not_chosen_between(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    student, teacher = small_model(seed=1).state_dict(), small_model(seed=2).state_dict()
    both = {f"student.{k}": v for k, v in student.items()}
    save_file(both | {f"teacher.{k}": v for k, v in teacher.items()}, "both.safetensors")
    with pytest.raises(ValueError, match=r"2 times.*'student\.' and 'teacher\.'") as caught:
        load_weights(small_model(), "both.safetensors")
    exec(str(caught.value).partition("keep one. ")[2])  # the cure, as it is printed
    model = small_model()
    with pytest.warns(UserWarning, match=r"'student\.'"):
        load_weights(model, "one.safetensors")
    assert same(model.state_dict(), student)


def test_another_network_is_no_prefix():
    names = [f"encoder.layer{i}.weight" for i in range(9)]
    assert match_names(names, ["decoder.weight", "head.weight"], source="x")[1] == ""
    assert match_names(["backbone.a", "head.a"], ["a", "b", "c"], source="x")[1] == ""


# --- what torch.save wrote


class Whole(nn.Module):
    """A network that is saved with its class."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)


STATE = {"conv.weight": torch.ones(2, 3, 1, 1), "conv.bias": torch.ones(2)}
SAVED = {
    "a state dict": STATE,
    "model": {"model": STATE, "epoch": 3, "optimizer": {"state": {0: {}}, "param_groups": [{}]}},
    "Lightning": {
        "state_dict": {f"net.{k}": v for k, v in STATE.items()},
        "hyper_parameters": {"lr": 0.1},
        "loops": {"fit_loop": {"state_dict": {}}},
    },
    "nested": {"checkpoint": {"model_state_dict": STATE}, "scheduler": {}},
}


@pytest.mark.filterwarnings("ignore:.*was taken off")
@pytest.mark.parametrize("name", [*SAVED, "a whole network", "a whole one in a dict"])
def test_the_cure_for_a_pickle_works(tmp_path, name):
    network = Whole()
    network.load_state_dict(STATE)
    whole = {"a whole network": network, "a whole one in a dict": {"ema": network, "updates": 7}}
    path = tmp_path / "it's old.pth"
    torch.save((SAVED | whole)[name], path)
    with pytest.raises(ValueError, match="is a pickle") as caught:
        load_weights(Whole(), path)
    cure = str(caught.value).partition("Convert it once: ")[2].partition(". Where torch")[0]
    if "whole" in name:
        with pytest.raises(Exception, match="weights_only"):
            exec(cure)
        cure = cure.replace("weights_only=True", "weights_only=False")
    exec(cure)
    model = Whole()
    load_weights(model, tmp_path / "it's old.safetensors")
    assert same(model.state_dict(), STATE)


ARRAYS = {name: tensor.numpy() for name, tensor in STATE.items()}


@pytest.mark.parametrize("kind", ["detectron", "paddle", "tensors", "numpy", "shards"])
def test_the_cure_for_what_torch_did_not_write_works(tmp_path, kind):
    path = tmp_path / ("it's.index.json" if kind == "shards" else "it's old.pth")
    if kind == "shards":
        names = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
        for name, tensor, file in zip(STATE, STATE.values(), names, strict=True):
            save_file({name: tensor}, tmp_path / file)
        path.write_text(json.dumps({"weight_map": dict(zip(STATE, names, strict=True))}))
    elif kind == "numpy":
        with path.open("wb") as file:
            np.savez(file, **ARRAYS)
    else:
        further = {"StructuredToParameterName@@": {"a": "b"}}
        saved = {"detectron": {"model": ARRAYS, "__author__": "x"}, "paddle": ARRAYS | further}
        path.write_bytes(pickle.dumps(saved.get(kind, STATE), protocol=2 + (kind == "tensors")))
    with pytest.raises(ValueError, match=r"once: import .*save_weights") as caught:
        load_weights(Whole(), path)
    exec(str(caught.value).partition("once: ")[2], {})
    model = Whole()
    load_weights(model, path.with_suffix(".safetensors"))
    assert same(model.state_dict(), STATE)


def test_tensors_in_two_places_are_not_chosen_between(tmp_path):
    state = {"model": STATE, "model_ema": STATE}
    with pytest.raises(
        ValueError, match=r"\['model'\], \['model_ema'\].*state\['model'\]"
    ) as caught:
        segkit.save_weights(state, tmp_path / "x.safetensors", header={})
    place = str(caught.value).rpartition("for example ")[2]
    segkit.save_weights(eval(place), tmp_path / "x.safetensors", header={})
    assert os.listdir(tmp_path) == ["x.safetensors"]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"a": torch.zeros(1), "epoch": 3}, "'epoch' is int"),
        ({"a": STATE["conv.bias"].numpy()}, "'a' is ndarray.*torch.as_tensor"),
        ([torch.zeros(1)], "this is list"),
        (None, "this is NoneType"),
        ({1: torch.zeros(1)}, "this is dict"),
    ],
)
def test_what_holds_no_tensors_by_name(tmp_path, given, match):
    with pytest.raises(ValueError, match=match):
        save_weights(given, tmp_path / "x.safetensors", header={})
