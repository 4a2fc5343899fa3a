"""Checkpoints under abuse: cut and flipped at every kind of byte, killed in mid-write, disks."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import warnings

import pytest
import torch

from segkit.engine import load_checkpoint, save_checkpoint
from segkit.engine.checkpoint import LAST, PREVIOUS
from segkit.weights import files

TEMPORARY = f".{LAST}.tmp"


def state(step):
    generator = torch.Generator().manual_seed(step)
    return {
        "step": step,
        "model": {f"layer.{i}": torch.randn(40, 50, generator=generator) for i in range(6)},
        "empty": torch.zeros(0, 4),
    }


def is_state(found, step):
    wanted = state(step)
    return found["step"] == step and all(
        torch.equal(found["model"][name], tensor) for name, tensor in wanted["model"].items()
    )


def places(content):
    """A byte offset of each kind, by name, in the bytes of a checkpoint."""
    header = 8 + int.from_bytes(content[:8], "little")
    described = json.loads(content[8:header])
    described.pop("__metadata__")
    spans = sorted(t["data_offsets"] for t in described.values() if t["data_offsets"][1])
    spans = [(header + first, header + end) for first, end in spans if end > first]
    found = {"nothing": 0, "one_byte": 1, "inside_the_length": 5, "after_the_length": 8}
    found |= {"header_begins": 9, "inside_the_header": (8 + header) // 2, "header_ends": header - 1}
    found |= {"before_the_tensors": header}
    for name, (first, end) in {"first": spans[0], "middle": spans[3], "last": spans[-1]}.items():
        found[f"{name}_tensor_begins"] = first + 1
        found[f"inside_the_{name}_tensor"] = (first + end) // 2
    found |= {"the_last_byte": len(content) - 1}
    return found


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with checkpoints of the steps 1 (previous) and 2 (last)."""
    folder = tmp_path_factory.mktemp("saved")
    save_checkpoint(folder, state(1))
    save_checkpoint(folder, state(2))
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def falls_back(folder):
    with pytest.warns(UserWarning, match=rf"{LAST} is (damaged|missing).*going on from {PREVIOUS}"):
        return is_state(load_checkpoint(folder), 1)


def test_every_kind_of_cut(saved, folder):
    content = (saved / LAST).read_bytes()
    assert len(places(content)) == 15
    for name, offset in places(content).items():
        (folder / LAST).write_bytes(content[:offset])
        assert falls_back(folder), name
        # Cut short before it had its name: the newest is whole, and the next one takes its place.
        (folder / LAST).write_bytes(content)
        (folder / TEMPORARY).write_bytes(content[:offset])
        assert is_state(load_checkpoint(folder), 2), name
    save_checkpoint(folder, state(3))
    assert is_state(load_checkpoint(folder), 3)
    assert sorted(path.name for path in folder.iterdir()) == [LAST, PREVIOUS]


def test_every_kind_of_flipped_bit(saved, folder):
    content = (saved / LAST).read_bytes()
    for name, offset in places(content).items():
        for bit in range(8):
            flipped = bytearray(content)
            flipped[offset] ^= 1 << bit
            (folder / LAST).write_bytes(flipped)
            assert falls_back(folder), (name, bit)


def test_every_byte_of_the_description(saved, folder):
    """One flipped bit anywhere in the header: shapes, types and offsets lie there."""
    content = (saved / LAST).read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    for offset in [*range(8), *range(8, end, max(1, end // 600))]:
        flipped = bytearray(content)
        flipped[offset] ^= 1 << (offset % 8)
        (folder / LAST).write_bytes(flipped)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = load_checkpoint(folder)
        assert is_state(found, 1) or is_state(found, 2), offset
        if is_state(found, 2):
            assert found["empty"].shape == (0, 4), offset


def in_child(action):
    """What became of a process that does this: its wait status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads
        pid = os.fork()
    if not pid:
        try:
            action()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_killed_at_every_kind_of_byte_of_a_write(folder, tmp_path):
    """The kernel ends a process at the first byte beyond its limit of file size."""
    content = save_checkpoint(tmp_path, state(3)).read_bytes()  # the bytes that are written below
    numbers = random.getstate()

    def write(limit):
        random.setstate(numbers)  # a fork draws new ones, of other lengths as texts
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        save_checkpoint(folder, state(3))

    for name, offset in places(content).items():
        status = in_child(lambda offset=offset: write(offset))
        assert os.WIFSIGNALED(status), name
        assert os.WTERMSIG(status) == signal.SIGXFSZ, name
        assert is_state(load_checkpoint(folder), 2), name
        cut = folder / TEMPORARY
        assert not cut.exists() or cut.stat().st_size <= offset, name
    save_checkpoint(folder, state(4))
    assert is_state(load_checkpoint(folder), 4)


def test_killed_before_and_after_every_step_of_a_write(saved, tmp_path):
    """SIGKILL at each border of a system call, from the first to the last."""
    met = set()
    for number in range(40):
        folder = shutil.copytree(saved, tmp_path / str(number))
        calls = iter(range(1000))

        def deadly(function, name, number=number, calls=calls):
            def call(*arguments, **options):
                for border in ("before", "after"):
                    if next(calls) == number:
                        (tmp_path / "met").write_text(f"{border} {name}")
                        os.kill(os.getpid(), signal.SIGKILL)
                    if border == "before":
                        result = function(*arguments, **options)
                return result

            return call

        def write(folder=folder, deadly=deadly):
            files.save_file = deadly(files.save_file, "save_file")
            for name in ("fsync", "replace"):
                setattr(os, name, deadly(getattr(os, name), name))
            save_checkpoint(folder, state(3))

        status = in_child(write)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = load_checkpoint(folder)
        if not os.WIFSIGNALED(status):
            assert is_state(found, 3)
            break
        where = (tmp_path / "met").read_text()
        met.add(where)
        assert is_state(found, 2) or is_state(found, 3), where
        assert not said or "going on from" in str(said[0].message), where
        save_checkpoint(folder, state(4))
        assert is_state(load_checkpoint(folder), 4), where
    assert number == 10  # five calls, two borders each, and the write that nobody disturbed
    assert met == {
        f"{b} {n}" for b in ("before", "after") for n in ("save_file", "fsync", "replace")
    }


def test_killed_while_the_folder_is_new(tmp_path):
    def write(limit):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        save_checkpoint(tmp_path / "new", state(1))

    assert os.WIFSIGNALED(in_child(lambda: write(1000)))
    assert load_checkpoint(tmp_path / "new") is None


@pytest.fixture
def small_disk(make_disk):
    return make_disk("260k")


def test_a_full_disk_keeps_the_newest_and_says_so(small_disk):
    save_checkpoint(small_disk, state(2))  # 70 kB
    (small_disk / "other").write_bytes(bytes(140_000))
    with pytest.raises(OSError, match="No space left") as caught:
        save_checkpoint(small_disk, state(3))
    assert caught.value.errno == 28
    assert str(small_disk) in str(caught.value)
    assert is_state(load_checkpoint(small_disk), 2)
    assert not (small_disk / TEMPORARY).exists()
    (small_disk / "other").unlink()
    save_checkpoint(small_disk, state(4))
    assert is_state(load_checkpoint(small_disk), 4)
    (small_disk / "other").write_bytes(bytes(80_000))  # room for two: the oldest gives way
    save_checkpoint(small_disk, state(5))
    (small_disk / LAST).unlink()
    with pytest.warns(UserWarning, match="going on from previous"):
        assert is_state(load_checkpoint(small_disk), 4)


def test_a_read_only_disk_is_said_and_can_be_read(small_disk):
    save_checkpoint(small_disk, state(1))
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    if subprocess.run(remount, capture_output=True).returncode:
        pytest.skip("making a file system read-only needs more rights")
    with pytest.raises(OSError, match="Read-only file system") as caught:
        save_checkpoint(small_disk, state(2))
    assert str(small_disk) in str(caught.value)
    assert is_state(load_checkpoint(small_disk), 1)
