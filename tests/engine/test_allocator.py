"""What is freed stays with the process inside, and goes back to the kernel at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import repeat

import pytest
import torch
from torch import nn

from segkit import engine, losses
from segkit.engine import allocator, kept_memory
from segkit.outputs import SegOutput

needs_glibc = pytest.mark.skipif(allocator._glibc() is None, reason="another C library than glibc")

MEASURE = """
import os
import resource
from pathlib import Path
import torch
from segkit.engine import kept_memory

BLOCK = 64 << 20

def faults(size=BLOCK):
    "Page faults of making and freeing a large tensor ten times, after three that do not count."
    for number in range(13):
        if number == 3:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(size, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def blocks():
    "What the process has in memory."
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / BLOCK

print(faults())
torch.ones(BLOCK // 4, dtype=torch.uint8)  # glibc learns that such blocks come again
first, second = kept_memory(), kept_memory()
first.__enter__()
second.__enter__()
print(faults())
first.__exit__(None, None, None)
print(faults())
kept = blocks()
if not os.fork():
    print(kept - blocks())
    os._exit(0)
os.wait()
faults()
kept = blocks()
second.__exit__(None, None, None)
print(kept - blocks())
print(faults(BLOCK // 4))
"""


@pytest.mark.slow
@needs_glibc
def test_freed_memory_is_kept_until_the_last_has_ended():
    """In a process of its own: what others left in the heap would be counted here."""
    done = subprocess.run([sys.executable, "-u", "-c", MEASURE], check=True, capture_output=True)
    outside, both, one, forked, given_back, smaller = map(float, done.stdout.split())
    assert both < outside / 4
    assert one < outside / 4
    assert forked > 0.9  # a process that is forked does not hold on to it
    assert given_back > 0.9
    assert smaller < outside / 100  # smaller blocks are kept as they were before


def test_elsewhere_nothing_changes(monkeypatch):
    with kept_memory("cuda"):
        assert allocator._users == 0
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with kept_memory():
        assert allocator._users == 0


@needs_glibc
def test_without_file_descriptors_a_loop_goes_on(monkeypatch):
    def none_left(*_, **__):
        raise OSError("too many open files")

    with monkeypatch.context() as patch, kept_memory():
        patch.setattr("builtins.open", none_left)
        with kept_memory():
            assert allocator._users == 2
    assert allocator._users == 0


class Tiny(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 2, 1)

    def forward(self, images):
        return SegOutput(super().forward(images), {})


@pytest.mark.slow
def test_what_the_user_chose_is_left_alone():
    program = "from segkit.engine import allocator; print(allocator._glibc())"
    surroundings = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "100000000"}
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, env=surroundings
    )
    assert done.stdout.split() == [b"None"]


@needs_glibc
@pytest.mark.parametrize("end", ["left", "finished", "failed", "loader"])
def test_training_keeps_it_until_it_ends(end):
    network, batch = Tiny(), (torch.randn(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long))
    stream = engine.train(
        network,
        Breaking(batch) if end == "loader" else repeat(batch, 1 if end == "failed" else 2),
        loss=losses.combine(losses.cross_entropy, {}),
        optimizer=torch.optim.SGD(network.parameters()),
        steps=2,
    )
    next(stream)
    assert allocator._users == 1
    if end == "left":
        stream.close()
    elif end == "failed":
        with pytest.raises(ValueError, match="batches ended"):
            next(stream)
    elif end == "loader":
        with pytest.raises(OSError, match="no end"):
            stream.close()
    else:
        assert len(list(stream)) == 1
    assert allocator._users == 0


class Breaking:
    """Batches that cannot be closed."""

    def __init__(self, batch):
        self.batch = batch

    def __iter__(self):
        return self

    def __next__(self):
        return self.batch

    def close(self):
        raise OSError("no end")


@needs_glibc
def test_evaluation_keeps_it_while_it_runs():
    seen = []

    def batches():
        seen.append(allocator._users)
        yield torch.randn(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)

    engine.evaluate(Tiny(), batches(), num_classes=2)
    assert seen == [1]
    assert allocator._users == 0
