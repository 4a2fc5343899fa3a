"""What is freed stays with the process, once it is asked to keep it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

MEASURE = """
import os
import resource
from pathlib import Path
import torch
from segkit.engine import keep_memory

BLOCK = 64 << 20

def faults():
    "Page faults of making and freeing a large tensor ten times, after three that do not count."
    for number in range(13):
        if number == 3:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(BLOCK, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def blocks():
    "What the process has in memory."
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / BLOCK

print(faults())
print(keep_memory() + keep_memory())
print(faults())
kept = blocks()
if not os.fork():
    print(kept - blocks())
    os._exit(0)
os.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's options are Linux's")
def test_freed_memory_is_kept():
    """In a process of its own: what others left in the heap would be counted here."""
    done = subprocess.run([sys.executable, "-u", "-c", MEASURE], check=True, capture_output=True)
    before, kept, after, forked = map(float, done.stdout.split())
    if not kept:
        pytest.skip("another C library than glibc")
    assert after < before / 4
    assert forked > 0.9  # a process that is forked does not hold on to it


def test_what_the_user_chose_is_left_alone():
    program = "from segkit.engine import keep_memory; print(keep_memory())"
    surroundings = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "100000000"}
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, env=surroundings
    )
    assert done.stdout.split() == [b"False"]
