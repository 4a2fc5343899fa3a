import random
import resource
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from segkit.engine import checkpoint, load_checkpoint, save_checkpoint
from segkit.engine.checkpoint import LAST, PREVIOUS

STATE = {
    "step": 7,
    "best": {"miou": 0.5, "iou": [0.1, None]},
    "tensors": {"half": torch.ones(3).bfloat16(), "scalar": torch.tensor(3), "none": torch.ones(0)},
    "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "betas": (0.9, 0.999)},
    "flag": True,
}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b and type(a) is type(b)


def test_round_trip_keeps_types(tmp_path):
    save_checkpoint(tmp_path, STATE)
    assert same(load_checkpoint(tmp_path), STATE)


def test_random_numbers_go_on_where_they_were(tmp_path):
    save_checkpoint(tmp_path, {})
    expected = (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random())  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    load_checkpoint(tmp_path)
    got = (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random())  # noqa: NPY002
    assert got == expected


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path) is None


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_damaged_newest_falls_back_with_a_word(tmp_path, damage):
    save_checkpoint(tmp_path, {"step": 1, "x": torch.arange(100.0)})
    save_checkpoint(tmp_path, {"step": 2, "x": torch.arange(100.0)})
    path = tmp_path / LAST
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[-5] ^= 1
    else:
        content = b""
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"damaged.*going on from previous"):
        assert load_checkpoint(tmp_path)["step"] == 1
    load_checkpoint(tmp_path, warn=(warned := []).append)
    assert "going on from previous" in warned[0]


def test_nothing_whole_is_an_error(tmp_path):
    save_checkpoint(tmp_path, {"step": 1})
    (tmp_path / LAST).write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"no whole checkpoint.*last\.safetensors"):
        load_checkpoint(tmp_path)


def test_a_pickle_is_not_a_checkpoint(tmp_path):
    torch.save({"step": 1}, tmp_path / LAST)
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(tmp_path)


def test_previous_is_kept(tmp_path):
    save_checkpoint(tmp_path, {"step": 1})
    save_checkpoint(tmp_path, {"step": 2})
    (tmp_path / LAST).unlink()  # a kill between the two renames
    with pytest.warns(UserWarning, match=r"last\.safetensors is missing.*going on from previous"):
        assert load_checkpoint(tmp_path)["step"] == 1
    assert (tmp_path / PREVIOUS).exists()


def test_the_oldest_gives_way_where_there_is_no_room_for_a_third(tmp_path, monkeypatch):
    state, free = {"step": 1, "weights": torch.ones(1000)}, 10**6
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    written = []

    def write(*arguments):
        written.append(sorted(path.name for path in tmp_path.glob("*.safetensors")))
        whole(*arguments)

    whole = checkpoint.write
    monkeypatch.setattr(checkpoint, "write", write)
    for step, free in ((1, 0), (2, 0), (3, 10**6), (4, 3999)):  # noqa: B007
        save_checkpoint(tmp_path, {**state, "step": step})
    assert written == [[], [LAST], [LAST, PREVIOUS], [LAST]]
    assert load_checkpoint(tmp_path)["step"] == 4
    assert (tmp_path / PREVIOUS).exists()


def test_a_checkpoint_of_before_is_read(tmp_path):
    path = save_checkpoint(tmp_path, STATE)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    before = "segkit.checkpoint.1"
    digest = checkpoint._digest(metadata["tree"], tensors, before)
    save_file(tensors, path, {**metadata, "format": before, "digest": digest})
    assert same(load_checkpoint(tmp_path), STATE)
    save_file(tensors, path, {**metadata, "format": "segkit.checkpoint.99"})
    with pytest.raises(ValueError, match="not written by segkit"):
        load_checkpoint(tmp_path)


def test_refuses_what_would_need_a_pickle(tmp_path):
    with pytest.raises(ValueError, match="cannot hold a set"):
        save_checkpoint(tmp_path, {"x": {1, 2}})
    assert not list(tmp_path.glob("*.safetensors"))


def test_full_disk_keeps_what_was_saved(tmp_path):
    """A file-size limit stands in for the full disk: the write fails in the same place."""
    save_checkpoint(tmp_path, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(tmp_path, {"step": 2, "x": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert load_checkpoint(tmp_path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == [LAST]
