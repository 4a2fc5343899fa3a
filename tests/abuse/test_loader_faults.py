"""A loader under abuse: processes that die or hang, files that are damaged in mid-epoch."""

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data import FolderDataset, batches, sequential
from segkit.data.loader import LoaderError


class Faulty:
    """A data set whose pair 5 does something to the process that reads it."""

    def __init__(self, fault, length=12):
        self.fault, self.length = fault, length

    def __len__(self):
        return self.length

    def __repr__(self):
        return "Faulty()"

    def stem(self, index):
        return f"street_{index:02d}"

    def __getitem__(self, index):
        if index == 5 and (self.fault is not die or multiprocessing.parent_process()):
            self.fault()
        return torch.full((3, 2, 2), float(index)), torch.full((2, 2), index)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(3)


def hang():
    time.sleep(999)


def crash():
    faulthandler.disable()  # pytest's own: its report would look like a failed test
    os.kill(os.getpid(), signal.SIGSEGV)


def mistake():
    return len(7)


def refuse():
    raise OSError("street_05.png: Stale file handle")


@pytest.fixture(autouse=True)
def _no_process_is_left():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        yield
    assert multiprocessing.active_children() == []


EVERY_WAY = pytest.mark.parametrize(
    "draw",
    [
        lambda data, **how: list(batches(data, batch_size=2, seed=0, stop=20, **how)),
        lambda data, **how: list(sequential(data, 2, **how)),
    ],
    ids=["batches", "sequential"],
)


@EVERY_WAY
@pytest.mark.parametrize(
    ("fault", "timeout", "message"),
    [
        (die, 0, r"died \(SIGKILL\) at sample 5 \(street_05\) of Faulty\(\).*fewer workers"),
        (leave, 60, r"died \(exit code 3\) at sample 5 \(street_05\).*open that file"),
        (crash, 0, r"died \(SIGSEGV\) at sample 5 \(street_05\).*open that file"),
        (hang, 0.7, r"within 0\.7 s and hangs at sample 5 \(street_05\) .*worker_timeout"),
        (mistake, 0, r"(?s)sample 5 \(street_05\).* failed in a loader .*TypeError: object of"),
    ],
)
def test_a_lost_process_names_its_sample_and_the_cure(draw, fault, timeout, message):
    with pytest.raises(LoaderError, match=message):
        draw(Faulty(fault), workers=2, timeout=timeout)


@pytest.mark.slow
def test_a_process_that_the_machine_started_anew_dies_as_well():
    with pytest.raises(LoaderError, match=r"SIGKILL.* at sample 5"):
        list(sequential(Faulty(die), 2, workers=1, context="spawn"))


def test_timeout_0_waits():
    slow = Faulty(lambda: time.sleep(1.0))
    assert len(list(sequential(slow, 4, workers=1, timeout=0))) == 3
    with pytest.raises(LoaderError, match="hangs at sample 5"):
        list(sequential(slow, 4, workers=1, timeout=0.3))


@pytest.mark.full
def test_processes_end_when_the_one_that_started_them_is_killed(tmp_path):
    source = """
import multiprocessing, time, torch
from segkit.data import batches
class Data:
    def __len__(self): return 4
    def __getitem__(self, index): return torch.zeros(3, 2, 2), torch.zeros(2, 2)
stream = batches(Data(), batch_size=2, seed=0, workers=2)
next(stream)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(99)
"""
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    process.kill()
    process.wait()
    process.stdout.close()
    assert len(pids) == 2
    deadline = time.monotonic() + 30
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_full_shared_memory_is_said(tmp_path):
    source = """
import torch
from segkit.data import batches
class Data:
    def __len__(self): return 4
    def __getitem__(self, index): return torch.ones(3, 600, 600), torch.zeros(600, 600)
try:
    list(batches(Data(), batch_size=2, seed=0, stop=4, workers=1))
except RuntimeError as error:
    print(type(error).__name__, error)
"""
    script = tmp_path / "full.py"
    script.write_text(source)
    mount = f"mount -t tmpfs -o size=1m tmpfs /dev/shm && {sys.executable} {script}"
    command = ["unshare", "--mount", "sh", "-c", mount]
    if subprocess.run([*command[:-1], mount.split(" && ")[0]], capture_output=True).returncode:
        pytest.skip("a small /dev/shm of one's own needs more rights")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("LoaderError"), done.stdout + done.stderr
    assert "shared memory" in done.stdout
    assert "sample" in done.stdout


@pytest.fixture
def folder(tmp_path):
    """Ten pairs; image i is filled with i."""
    for index in range(10):
        for kind, shape in (("images", (8, 10, 3)), ("masks", (8, 10))):
            (tmp_path / kind).mkdir(exist_ok=True)
            noise = np.random.default_rng(index).integers(0, 2, shape, np.uint8)
            Image.fromarray(noise).save(tmp_path / kind / f"street_{index}.png")
    return tmp_path


def load(folder):
    return FolderDataset(folder, classes=("road", "car"), cache=False)


def truncate(folder, *stems):
    for stem in stems:
        file = folder / "images" / f"{stem}.png"
        os.truncate(file, file.stat().st_size // 2)


def draw(folder, **options):
    told = []
    drawn = list(batches(load(folder), **{"batch_size": 4, "seed": 3, "stop": 10,
                                          "on_bad": told.append, **options}))  # fmt: skip
    return drawn, told


def same(one, two):
    return len(one) == len(two) and all(
        torch.equal(a, b)
        for first, second in zip(one, two, strict=True)
        for a, b in zip(first, second, strict=True)
    )


def test_a_truncated_file_in_mid_epoch_is_replaced_and_told_once(folder):
    whole, _ = draw(folder)
    stream = batches(load(folder), batch_size=4, seed=3, stop=10, bad_samples=1,
                     on_bad=(told := []).append)  # fmt: skip
    drawn = [next(stream), next(stream)]
    truncate(folder, "street_7")
    drawn += stream
    assert len(drawn) == 10
    [bad] = told
    assert (bad.index, bad.stem) == (7, "street_7")
    assert "street_7.png cannot be read" in bad.error
    assert "sample 7 (street_7) cannot be read, another takes its place" in str(bad)
    images, originals = (torch.cat([images for images, _ in which]) for which in (drawn, whole))
    lost = originals[bad.position]
    for position in range(40):
        replaced = position >= 8 and torch.equal(originals[position], lost)
        assert torch.equal(images[position], originals[position]) != replaced


def test_stand_ins_depend_on_the_position_alone(folder):
    truncate(folder, "street_2", "street_7", "street_8")
    whole, told = draw(folder, bad_samples=3)
    assert sorted(bad.index for bad in told) == [2, 7, 8]
    for options in ({"workers": 1}, {"workers": 3}):
        again, others = draw(folder, bad_samples=3, **options)
        assert same(again, whole)
        assert others == told
    assert same(draw(folder, bad_samples=3, start=4)[0], whole[4:])
    halves = [draw(folder, bad_samples=3, rank=rank, world_size=2)[0] for rank in (0, 1)]
    joined = [
        tuple(torch.cat(pair) for pair in zip(a, b, strict=True))
        for a, b in zip(*halves, strict=True)
    ]
    assert same(joined, whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_budget_is_kept(folder, workers):
    truncate(folder, "street_2", "street_7")
    with pytest.raises(ValueError, match=r"street_[27]\.png cannot be read"):
        draw(folder, workers=workers)
    with pytest.raises(
        ValueError, match=r"2 samples cannot be read \(street_\d, street_\d\), bad_samples=1 may"
    ):
        draw(folder, workers=workers, bad_samples=1)
    with pytest.warns(UserWarning, match=r"street_[27]\) cannot be read, another") as warned:
        draw(folder, workers=workers, bad_samples=2, on_bad=None)
    assert len(warned) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_to_read_is_an_error_not_a_loop(folder, workers):
    truncate(folder, *(f"street_{index}" for index in range(10)))
    with pytest.raises(ValueError, match=r"no sample of the data set can be read"):
        draw(folder, workers=workers, bad_samples=50)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_leaves_nothing_out(folder, workers):
    truncate(folder, "street_4")
    with pytest.raises(ValueError, match=r"street_4\.png cannot be read as a picture"):
        list(sequential(load(folder), 2, workers=workers))


def test_errors_of_the_disk_count_and_mistakes_in_code_do_not():
    told = []
    list(batches(Faulty(refuse), batch_size=2, seed=0, stop=12, bad_samples=1, on_bad=told.append))
    assert [bad.stem for bad in told] == ["street_05"]
    assert "Stale file handle" in told[0].error
    with pytest.raises(TypeError):
        list(batches(Faulty(mistake), batch_size=2, seed=0, stop=12, bad_samples=9))
