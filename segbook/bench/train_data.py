"""What data costs a training step, from a cache or decoded each time, with and without workers."""

from __future__ import annotations

import functools
import itertools
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset

from segbook.bench.clock import Row
from segbook.bench.train import default_device, our_loop
from segkit import create_model, data, engine, transforms
from segkit.doctor.finding import counted

WAITING = 0.05
"""The share of a step that may go into waiting for data."""
WARM_UP = 2
WAYS = list(itertools.product((True, False), (0, 1, 2)))
"""Whether images are cached, and the number of loader processes."""
SIZE, IMAGES, BATCH = (360, 480), 16, 4


def compare_data(rounds: int, data_root: Path | None) -> list[Row]:
    """PP-LiteSeg-T at 480x360: wall time of a step, and the share that waits for data.

    Args:
        rounds: steps timed of each way.
        data_root: CamVid's folder; None writes synthetic streets as PNG files.

    Returns:
        Rows of "what", "ours" (seconds a step), "waiting" (0..1), and where something is promised,
        which is of what recipes do, "promised" and "kept".
    """
    with tempfile.TemporaryDirectory() as folder:
        if data_root:
            make: Callable[..., Any] = functools.partial(data.CamVid, data_root, "train")
        else:
            streets = data.SyntheticStreets("train", size=SIZE, length=IMAGES)
            data.write_folder(folder, map(streets.raw, range(IMAGES)), streets.classes)
            make = functools.partial(data.FolderDataset, folder)
        return [_measure(make, rounds, cached, workers) for cached, workers in WAYS]


def _measure(make: Callable[..., Any], rounds: int, cached: bool, workers: int) -> Row:
    torch.manual_seed(0)
    network = create_model("pp_liteseg_t", num_classes=11).to(default_device())
    pairs = make(cache=cached, transform=transforms.train(SIZE, (0.75, 1.5), jitter=0.4))
    subset: Any = Subset(pairs, range(min(IMAGES, len(pairs))))  # each is seen again
    if cached and not workers:  # each worker would fill a cache of its own, as in training
        for index in range(len(subset)):
            subset[index]
    batches = data.batches(subset, batch_size=BATCH, seed=0, workers=workers)
    stream = our_loop(network, batches, engine.default_settings(default_device(), optimizer="sgd"))
    timed = list(itertools.islice(stream, WARM_UP, WARM_UP + rounds))
    stream.close()  # and with it the workers
    waiting = sum(step.waited for step in timed) / sum(step.seconds for step in timed)
    where = "cached as uint8" if cached else "decoded each time"
    row = {
        "what": f"data {where}, {counted(workers, 'worker')}",
        "ours": statistics.median(step.seconds for step in timed),
        "waiting": waiting,
    }
    promise = {"promised": WAITING, "kept": waiting < WAITING}
    return row | promise if cached and not workers else row
