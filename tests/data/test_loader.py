"""Batches: the same batch k whatever the start, the workers and the caller's random numbers."""

import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import pytest
import torch

from segkit import transforms
from segkit.data import batches, sequential
from segkit.data.loader import LoaderError
from segkit.data.samples import mix


class Numbered:
    """A data set whose image i is filled with i, plus whatever random numbers it is asked for."""

    def __init__(self, length, size=(4, 6), randomness=False, sizes=None):
        self.length, self.size, self.randomness, self.sizes = length, size, randomness, sizes

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        height, width = self.sizes[index] if self.sizes else self.size
        image = torch.full((3, height, width), float(index))
        if self.randomness:
            image[0] += torch.rand(height, width)
            image[1] += float(np.random.rand())  # noqa: NPY002 (as a user's transform may)
            image[2] += random.random()
        return image, torch.full((height, width), index)


class Dying(Numbered):
    """A data set that kills the process that reads its pair 5."""

    def __getitem__(self, index):
        if index == 5 and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


class Refusing(Numbered):
    """A data set with a pair that cannot be read."""

    def __getitem__(self, index):
        if index == 5:
            raise ValueError("street_05.png is empty (0 bytes)")
        return super().__getitem__(index)


class Threads(Numbered):
    """A data set that tells how many threads its process computes with."""

    def __getitem__(self, index):
        return torch.full((3, 1, 1), float(torch.get_num_threads())), torch.zeros(1, 1)


def take(iterator, number):
    return list(itertools.islice(iterator, number))


def same(one, two):
    return len(one) == len(two) and all(
        torch.equal(a, b)
        for first, second in zip(one, two, strict=True)
        for a, b in zip(first, second, strict=True)
    )


def indices(drawn):
    return torch.cat([labels[:, 0, 0] for _, labels in drawn]).tolist()


@pytest.fixture(autouse=True)
def _no_worker_is_left():
    before = set(multiprocessing.active_children())
    with warnings.catch_warnings():
        # Python 3.12 warns of every fork of a process that has threads.
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        yield
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize("start", [1, 3, 7, 20])
def test_start_equals_skipping(start):
    data = Numbered(10, randomness=True)
    whole = take(batches(data, batch_size=4, seed=3), start + 5)
    assert same(take(batches(data, batch_size=4, seed=3, start=start), 5), whole[start:])


@pytest.mark.parametrize(
    ("context", "workers"), [("fork", 2), pytest.param("spawn", 1, marks=pytest.mark.slow)]
)
def test_workers_change_nothing(context, workers):
    data = Numbered(10, randomness=True)
    alone = list(batches(data, batch_size=4, seed=3, start=2, stop=9))
    helped = list(
        batches(data, batch_size=4, seed=3, start=2, stop=9, workers=workers, context=context)
    )
    assert same(alone, helped)


@pytest.mark.parametrize(("length", "batch_size"), [(10, 4), (12, 4), (3, 8), (1, 3), (7, 7)])
def test_every_epoch_takes_every_sample_once(length, batch_size):
    epochs = batch_size * 3
    drawn = take(
        batches(Numbered(length), batch_size=batch_size, seed=0), length * epochs // batch_size
    )
    assert all(images.shape == (batch_size, 3, 4, 6) for images, _ in drawn)
    order = torch.tensor(indices(drawn)).reshape(epochs, length)
    assert torch.equal(order.sort(dim=1).values, torch.arange(length).expand(epochs, length))
    if length > 4:
        assert len({tuple(row) for row in order.tolist()}) > epochs // 2


def test_seeds_and_epochs_differ():
    data = Numbered(30, randomness=True)
    one = list(batches(data, batch_size=30, seed=1, stop=2))
    two = list(batches(data, batch_size=30, seed=2, stop=2))
    orders = [tuple(indices([batch])) for batch in (*one, *two)]
    assert len(set(orders)) == 4
    # Neighbouring seeds and positions must not share random numbers.
    noise = torch.cat([images[:, 1, 0, 0] % 1 for images, _ in (*one, *two)])
    assert len(noise.unique()) == 120


def test_every_library_is_seeded_for_each_sample():
    images, _ = next(batches(Numbered(50, randomness=True), batch_size=50, seed=1))
    noise = images[:, :, 0, 0] % 1
    assert all(len(noise[:, channel].unique()) == 50 for channel in range(3))


def test_hash_spreads():
    values = {mix("sample", seed, number) for seed in range(50) for number in range(200)}
    assert len(values) == 10_000
    assert all(0 <= value < 2**63 for value in values)
    assert mix("epoch", 0, 1) != mix("sample", 0, 1)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda d, w: batches(d, batch_size=3, seed=0, stop=4, workers=w),
        lambda d, w: sequential(d, 3, workers=w),
    ],
    ids=["batches", "sequential"],
)
def test_random_numbers_of_the_caller_are_left_alone(make, workers):
    data = Numbered(10, randomness=True)

    def state():
        kept = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), kept[1].tolist(), kept[2], random.getstate()

    before = state()
    for _ in make(data, workers):
        assert state() == before
    assert state() == before


def test_random_numbers_are_put_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"street_05\.png"):
        list(batches(Refusing(10, randomness=True), batch_size=10, seed=0, stop=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_callers_random_numbers_do_not_matter():
    data = Numbered(10, randomness=True)
    torch.manual_seed(1)
    one = list(batches(data, batch_size=4, seed=3, stop=3))
    torch.manual_seed(2)
    assert same(one, list(batches(data, batch_size=4, seed=3, stop=3)))


def test_stop():
    data = Numbered(10)
    assert len(list(batches(data, batch_size=4, seed=0, stop=7))) == 7
    assert len(list(batches(data, batch_size=4, seed=0, start=5, stop=7))) == 2
    assert list(batches(data, batch_size=4, seed=0, start=7, stop=7)) == []


@pytest.mark.parametrize("end", ["close", "collect"])
def test_an_abandoned_iterator_ends_its_workers(end):
    iterator = batches(Numbered(10), batch_size=2, seed=0, workers=2)
    next(iterator)
    assert len(multiprocessing.active_children()) == 2
    if end == "close":
        iterator.close()
    else:
        del iterator
    assert multiprocessing.active_children() == []


def test_an_abandoned_evaluation_ends_its_workers():
    iterator = sequential(Numbered(10), 2, workers=2)
    next(iterator)
    assert multiprocessing.active_children()
    iterator.close()
    assert multiprocessing.active_children() == []


def test_an_error_in_a_worker_names_the_file_and_ends_the_workers():
    with pytest.raises(ValueError, match=r"street_05\.png is empty"):
        list(batches(Refusing(10), batch_size=2, seed=0, stop=20, workers=2))
    assert multiprocessing.active_children() == []


def test_a_killed_worker_is_told():
    with pytest.raises(LoaderError, match=r"loader process \d+ died \(SIGKILL\) at sample 5 of"):
        list(batches(Dying(10), batch_size=2, seed=0, stop=20, workers=1))


@pytest.mark.full
@pytest.mark.parametrize(
    "context", ["fork", pytest.param("spawn", marks=pytest.mark.slow), "forkserver"]
)
def test_nothing_is_left_among_temporary_files(tmp_path, context):
    program = (
        "from segkit import data\n"
        "if __name__ == '__main__':\n"
        "    pairs = data.SyntheticStreets('train', size=(32, 48), length=4)\n"
        "    for _ in data.batches(pairs, batch_size=2, seed=0, stop=9, workers=2, "
        f"context={context!r}):\n"
        "        pass\n"
    )
    (script := tmp_path / "script.py").write_text(program)
    with tempfile.TemporaryDirectory() as temporary:  # a socket's path is at most 107 bytes long
        surroundings = {**os.environ, "TMPDIR": temporary}
        subprocess.run([sys.executable, script], env=surroundings, check=True)
        assert os.listdir(temporary) == []


def test_workers_compute_with_one_thread():
    images, _ = next(batches(Threads(4), batch_size=4, seed=0, stop=1, workers=1))
    assert images.unique().tolist() == [1.0]


def test_a_transform_from_a_data_set_is_reproduced():
    from segkit.data import SyntheticStreets

    data = SyntheticStreets("train", size=(48, 64), length=6)
    data = data.with_transform(transforms.train((32, 48), (0.5, 2.0)))
    whole = take(batches(data, batch_size=4, seed=9), 4)
    assert whole[0][0].shape == (4, 3, 32, 48)
    assert whole[0][1].dtype == torch.int64
    assert same(take(batches(data, batch_size=4, seed=9, start=2, workers=1), 2), whole[2:])


@pytest.mark.parametrize("workers", [0, 2])
def test_sequential_is_in_order_and_complete(workers):
    drawn = list(sequential(Numbered(7), 3, workers=workers))
    assert [len(images) for images, _ in drawn] == [3, 3, 1]
    assert indices(drawn) == list(range(7))
    assert list(sequential(Numbered(0), 3, workers=workers)) == []


def test_sequential_groups_neighbours_of_one_size():
    sizes = [(4, 4), (4, 4), (5, 4), (4, 4), (6, 6), (6, 6), (6, 6)]
    drawn = list(sequential(Numbered(7, sizes=sizes), 2))
    assert [tuple(images.shape) for images, _ in drawn] == [
        (2, 3, 4, 4), (1, 3, 5, 4), (1, 3, 4, 4), (2, 3, 6, 6), (1, 3, 6, 6)
    ]  # fmt: skip
    assert indices(drawn) == list(range(7))


def test_sequential_repeats_random_transforms():
    data = Numbered(5, randomness=True)
    assert same(list(sequential(data, 2)), list(sequential(data, 2)))


def test_two_sizes_in_a_batch_are_refused():
    data = Numbered(4, sizes=[(4, 4), (4, 4), (5, 4), (4, 4)])
    with pytest.raises(ValueError, match=r"\(3, 4, 4\), \(3, 5, 4\); crop them to one size"):
        list(batches(data, batch_size=4, seed=0, stop=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: give a whole number, 1 or more"),
        ({"batch_size": 2.0}, "batch_size=2.0"),
        ({"start": -1}, "start=-1"),
        ({"start": 5, "stop": 4}, "stop=4: give a whole number, 5 or more"),
        ({"workers": -1}, "workers=-1"),
        ({"workers": True}, "workers=True"),
        ({"seed": None}, "seed=None"),
        ({"timeout": -1}, "timeout=-1: give seconds"),
        ({"bad_samples": -1}, "bad_samples=-1"),
        ({"world_size": 0}, "world_size=0: give a whole number, 1 or more"),
        ({"rank": 2, "world_size": 2}, "rank=2: the ranks of 2 processes are 0 to 1"),
        ({"batch_size": 7, "world_size": 3}, "must be a multiple of 3: take 6 or 9"),
        ({"batch_size": 2, "world_size": 3}, "must be a multiple of 3: take 3$"),
        ({"dataset": Numbered(0)}, "is empty: there is nothing to train on"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(arguments, message):
    dataset = arguments.pop("dataset", Numbered(4))
    with pytest.raises(ValueError, match=message):
        batches(dataset, **{"batch_size": 2, "seed": 0, **arguments})


def test_wrong_arguments_of_sequential():
    with pytest.raises(ValueError, match="batch_size=0"):
        sequential(Numbered(4), 0)
    with pytest.raises(ValueError, match="workers=-1"):
        sequential(Numbered(4), 1, workers=-1)
