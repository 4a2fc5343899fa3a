"""Whether the machine can hold a training: disk, shared memory, memory, cores, number formats."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import torch

from segkit.doctor.finding import Finding, counted

PREFETCHED = 2
"""Batches that each worker of torch's DataLoader holds ready."""

BYTES_PER_PIXEL = 3 * 4 + 8
"""Of a transformed sample: three float32 colours and an int64 label."""


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take, by the system and by its control groups.

    Args:
        root: of the file system; tests have one of their own.

    Returns:
        None where the system does not say (not Linux).
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for folder in _control_groups(root, "memory"):
        for limit, used in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            ceiling, taken = _number(folder / limit), _number(folder / used)
            if ceiling is not None and taken is not None:
                found.append(max(0, ceiling - taken + _reclaimable(folder / "memory.stat")))
    return min(found, default=None)


def available_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use, by its affinity and by its control groups, 1 or more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = []
    for folder in _control_groups(root, "cpu"):
        try:
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        except (OSError, ValueError):
            quota, period = (
                str(_number(folder / name) or "max")
                for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        if quota.isdigit() and period.isdigit():
            quotas.append(math.ceil(int(quota) / int(period)))
    return max(1, min([cores or 1, *quotas]))


def free_bytes(folder: Path) -> int | None:
    """Free bytes of the file system where a folder is, or will be made; None where it is none."""
    for place in (folder.absolute(), *folder.absolute().parents):
        if place.is_dir():
            return shutil.disk_usage(place).free
    return None


def disk_space(folder: Path, *, checkpoint: int, weights: int) -> Finding | None:
    """Whether a run's checkpoints fit on its disk.

    At the worst moment there are the last checkpoint, the one before and the next one being
    written, and the best weights and their successor.

    Args:
        folder: of the run, or where it will be made.
        checkpoint: bytes of one: weights, their average, the optimizer's state.
        weights: bytes of the network's weights.
    """
    free = free_bytes(folder)
    needed = 3 * checkpoint + 2 * weights
    if free is None or free >= 1.5 * needed:
        return None
    return Finding(
        "error" if free < needed else "warning",
        "disk_space",
        f"{folder} has {_spell(free)} free, the run's checkpoints take up to {_spell(needed)}",
        "three checkpoints (last, previous, the one being written) and two files of best weights "
        "lie there at a time",
        "free some space, or set SEGBOOK_RUNS to a folder on a larger disk",
    )


def shared_memory(
    workers: int, batch_bytes: int, *, folder: Path = Path("/dev/shm"), processes: int = 1
) -> Finding | None:
    """Whether the batches of the loader's workers fit into shared memory.

    Args:
        workers: of one process.
        batch_bytes: of one batch of one process.
        folder: where the system keeps shared memory; where there is none, nothing is said.
        processes: of the run on this machine.
    """
    if not workers or not folder.is_dir():
        return None
    free = shutil.disk_usage(folder).free
    needed = processes * (workers * PREFETCHED + 1) * batch_bytes
    if free >= needed:
        return None
    return Finding(
        "error",
        "shared_memory",
        f"{folder} has {_spell(free)} free, {workers} workers with {PREFETCHED} batches each take "
        f"{_spell(needed)}",
        "a worker that finds it full is killed by a bus error",
        f"docker run --shm-size={math.ceil(2 * needed / 2**30)}g, or --set workers="
        f"{max(0, (free // (processes * batch_bytes) - 1) // PREFETCHED)}",
    )


def memory(
    available: int | None,
    *,
    cached: int,
    workers: int,
    step: int,
    state: int,
    processes: int = 1,
) -> Finding | None:
    """Whether cached images and a training step fit into memory.

    Args:
        available: bytes; None where nobody knows.
        cached: bytes of the decoded training images, 0 for data that is not kept. Each worker
            fills a cache of its own.
        workers: of one process.
        step: bytes that a step keeps for its gradient; 0 on a GPU.
        state: bytes of weights, gradients and the optimizer's state; 0 on a GPU.
        processes: of the run on this machine.
    """
    caches = cached * max(workers, 1)
    needed = processes * (caches + step + state)
    if available is None or needed <= 0.9 * available:
        return None
    fix = f"--set batch_size=, --set crop= or --set workers= smaller, by {needed / available:.1f}"
    if caches > step and workers > 1:
        fix = f"--set workers={max(0, int((0.9 * available / processes - step - state) // cached))}"
    return Finding(
        "warning",
        "memory",
        f"{_spell(available)} of memory are free, the run may take {_spell(needed)}: "
        f"{max(workers, 1)} x {_spell(cached)} of decoded images, {_spell(step)} for a step, "
        f"{_spell(state)} of weights and optimizer"
        + (f"; times {processes} processes" if processes > 1 else ""),
        "the system kills a process without a word when memory runs out",
        fix,
    )


def gpu_memory(free: int | None, *, step: int, state: int) -> Finding | None:
    """Whether a training step fits into a GPU.

    Args:
        free: bytes of the GPU; None without one.
        step: bytes that a step keeps for its gradient.
        state: bytes of weights, gradients and the optimizer's state.
    """
    if free is None or step + state <= 0.9 * free:
        return None
    share = max(1.0, (step + state) / (0.9 * free))
    return Finding(
        "warning",
        "gpu_memory",
        f"the GPU has {_spell(free)} free, a step may take {_spell(step + state)}",
        "the first steps would end in an out-of-memory error",
        f"--set batch_size= and --set accumulate=: {math.ceil(share)} batches a step in place of 1",
    )


def cores(available: int, *, workers: int, threads: int, processes: int = 1) -> Finding | None:
    """More busy threads than cores.

    Args:
        available: cores, of `available_cores`.
        workers: loader processes of one training process, one thread each.
        threads: torch's threads of one training process that computes on the CPU; 1 with a GPU.
        processes: of the run on this machine.
    """
    wanted = processes * (workers + threads)
    if wanted <= 1.5 * available:
        return None
    fix = f"OMP_NUM_THREADS={max(1, available // processes - workers)}"
    if processes > available:
        fix = f"--nproc {available}, or fewer"
    elif workers >= available:
        fix = f"--set workers={max(0, available // processes - 1)}"
    return Finding(
        "warning",
        "cores",
        f"{wanted} busy threads ({processes} x ({counted(workers, 'worker')} + "
        f"{counted(threads, 'thread')})) on {counted(available, 'core')}",
        "threads that wait for each other on a full machine are many times slower than fewer ones",
        fix,
    )


def no_workers(workers: int, *, cores: int, device: str, decodes: bool) -> Finding | None:
    """A GPU that waits while one core decodes images.

    Args:
        workers: loader processes.
        cores: of the machine.
        device: "cpu" or "cuda".
        decodes: whether images are read from files at each epoch.
    """
    if workers or device == "cpu" or not decodes or cores < 2:
        return None
    return Finding(
        "note",
        "no_workers",
        f"workers=0: one of {cores} cores decodes and augments for the GPU",
        "the GPU waits for data for most of each step",
        f"--set workers={min(8, cores - 1)}",
    )


def number_format(
    precision: str, *, device: str, bfloat16: bool, channels_last: bool | None = None
) -> Finding | None:
    """A precision or memory format that this device only imitates.

    Args:
        precision: "float32", "bfloat16" or "float16"; "auto" chooses what the device has.
        device: "cpu" or "cuda".
        bfloat16: whether the device has it in hardware.
        channels_last: as the user set it; None where it is chosen by the program.
    """
    if precision == "float16" and device == "cpu":
        what, why = "float16 on a CPU", "CPUs compute it through float32: slower, and less exact"
    elif precision == "bfloat16" and not bfloat16:
        what = f"bfloat16 on a {device.upper()} that does not have it"
        why = "it is imitated: slower than float32, and less exact"
    elif channels_last and device == "cpu" and not torch.backends.mkldnn.is_available():
        what, why = "channels_last without oneDNN", "torch's plain convolutions are slower with it"
        return Finding("warning", "number_format", what, why, "--set channels_last=none")
    else:
        return None
    return Finding("warning", "number_format", what, why, "--set precision=auto")


def _control_groups(root: Path, controller: str) -> list[Path]:
    """The folders of the groups of this process for a controller, of both versions, upwards."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controller if controllers else "")
        place = mount / path.lstrip("/")
        # Inside a container the path may be the host's, of which only the mount is seen.
        while place != mount and mount in place.parents:
            folders.append(place)
            place = place.parent
        folders.append(mount)
    return folders


def _number(file: Path) -> int | None:
    """The number in a file; None for "max", -1 or no file."""
    try:
        value = int(file.read_text())
    except (OSError, ValueError):
        return None
    return value if value >= 0 else None


def _reclaimable(file: Path) -> int:
    """Bytes of a group's page cache that the system takes back when they are needed."""
    try:
        fields = dict(line.split() for line in file.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))


def _spell(count: float) -> str:
    """A number of bytes for a reader."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
