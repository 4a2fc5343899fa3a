"""Whether the machine can hold a training: disk, shared memory, memory, cores, number formats.

In all checks ``processes`` counts those of the run on this machine, ``workers`` the loader
processes of each of them, and ``device`` is "cpu" or "cuda". Memory is in bytes: ``step`` of what a
step keeps for its gradient, ``state`` of weights, gradients and the optimizer's state.
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import torch

from segkit.doctor.finding import Finding, counted, error, note, warning

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
    lines = _read(root / "proc/meminfo").splitlines()
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for folder in _control_groups(root, "memory"):
        for version in (("max", "current"), ("limit_in_bytes", "usage_in_bytes")):
            limit, used = (_number(folder / f"memory.{name}") for name in version)
            if limit is not None and used is not None:
                found.append(max(0, limit - used + _reclaimable(folder / "memory.stat")))
    return min(found, default=None)


def available_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use, by its affinity and by its control groups, 1 or more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = []
    for folder in _control_groups(root, "cpu"):
        older = (_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        quota, period = _read(folder / "cpu.max").split() or older
        if quota.isdigit() and period.isdigit():  # not "max", "-1" or ""
            quotas.append(math.ceil(int(quota) / int(period)))
    return max(1, min([cores or 1, *quotas]))


def disk_space(folder: Path, *, checkpoint: int, weights: int) -> Finding | None:
    """Whether a run's checkpoints fit on its disk.

    At the worst moment there are the last checkpoint, the one before and the next one being
    written, and the best weights and their successor. The one before gives way where there is no
    room for it (`segkit.engine.save_checkpoint`): without room for the others the run fails.

    Args:
        folder: of the run, or where it will be made.
        checkpoint: bytes of one: weights, their average, the optimizer's state.
        weights: bytes of the network's weights.
    """
    whole = folder.absolute()
    free = shutil.disk_usage(next(one for one in (whole, *whole.parents) if one.is_dir())).free
    needed, least = 3 * checkpoint + 2 * weights, 2 * checkpoint + 2 * weights
    if free >= 1.5 * needed:
        return None
    return Finding(
        "error" if free < least else "warning",
        "disk_space",
        f"{folder} has {format_bytes(free)} free, the run's checkpoints take up to "
        f"{format_bytes(needed)}, and {format_bytes(least)} at least",
        "three checkpoints (last, previous, the one being written) and two files of best weights "
        "lie there at a time; where it is full, no previous one, to go back to from damage",
        "free some space, or set SEGBOOK_RUNS to a folder on a larger disk",
    )


def shared_memory(
    workers: int, batch_bytes: int, *, folder: Path = Path("/dev/shm"), processes: int = 1
) -> Finding | None:
    """Whether the batches of the loader's workers fit into shared memory.

    Args:
        workers: of one process.
        batch_bytes: of one batch of one process.
        folder: where the system keeps shared memory; without it there is no finding.
        processes: of the run.
    """
    if not workers or not folder.is_dir():
        return None
    free = shutil.disk_usage(folder).free
    needed = processes * (workers * PREFETCHED + 1) * batch_bytes
    if free >= needed:
        return None
    return error(
        "shared_memory",
        f"{folder} has {format_bytes(free)} free, {workers} workers with {PREFETCHED} batches each "
        f"take {format_bytes(needed)}",
        "a worker that finds it full is killed by a bus error",
        f"docker run --shm-size={math.ceil(2 * needed / 2**30)}g, or --set workers="
        f"{max(0, (free // (processes * batch_bytes) - 1) // PREFETCHED)}",
    )


def memory(
    available: int | None, *, cached: int, workers: int, step: int, state: int, processes: int = 1
) -> Finding | None:
    """Whether cached images and a training step fit into memory.

    Args:
        available: bytes; None where nobody knows.
        cached: bytes of the decoded training images, 0 for data that is not kept. Each worker
            fills a cache of its own.
        workers: of one process.
        step: 0 on a GPU.
        state: 0 on a GPU.
        processes: of the run.
    """
    caches = cached * max(workers, 1)
    needed = processes * (caches + step + state)
    if available is None or needed <= 0.9 * available:
        return None
    fix = f"--set batch_size=, --set crop= or --set workers= smaller, by {needed / available:.1f}"
    if caches > step and workers > 1:
        fix = f"--set workers={max(0, int((0.9 * available / processes - step - state) // cached))}"
    return warning(
        "memory",
        f"{format_bytes(available)} of memory are free, the run may take {format_bytes(needed)}: "
        f"{max(workers, 1)} x {format_bytes(cached)} of decoded images, {format_bytes(step)} for a "
        f"step, {format_bytes(state)} of weights and optimizer"
        + (f"; times {processes} processes" if processes > 1 else ""),
        "the system kills a process without a word when memory runs out",
        fix,
    )


def gpu_memory(free: int | None, *, step: int, state: int) -> Finding | None:
    """Whether a training step fits into a GPU with so much free memory; None without a GPU."""
    if free is None or step + state <= 0.9 * free:
        return None
    share = max(1.0, (step + state) / (0.9 * free))
    return warning(
        "gpu_memory",
        f"the GPU has {format_bytes(free)} free, a step may take {format_bytes(step + state)}",
        "the first steps would end in an out-of-memory error",
        f"--set batch_size= and --set accumulate=: {math.ceil(share)} batches a step in place of 1",
    )


def cores(available: int, *, workers: int, threads: int, processes: int = 1) -> Finding | None:
    """More busy threads than cores.

    Args:
        available: cores, of `available_cores`.
        workers: of one process, one thread each.
        threads: torch's threads of one training process that computes on the CPU; 1 with a GPU.
        processes: of the run.
    """
    wanted = processes * (workers + threads)
    if wanted <= 1.5 * available:
        return None
    fix = f"OMP_NUM_THREADS={max(1, available // processes - workers)}"
    if processes > available:
        fix = f"--nproc {available}, or fewer"
    elif workers >= available:
        fix = f"--set workers={max(0, available // processes - 1)}"
    return warning(
        "cores",
        f"{wanted} busy threads ({processes} x ({counted(workers, 'worker')} + "
        f"{counted(threads, 'thread')})) on {counted(available, 'core')}",
        "threads that wait for each other on a full machine are many times slower than fewer ones",
        fix,
    )


def no_workers(workers: int, *, cores: int, device: str, decodes: bool) -> Finding | None:
    """A GPU that waits while one core decodes images, if they are read from files at each epoch."""
    if workers or device == "cpu" or not decodes or cores < 2:
        return None
    return note(
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
        device: that it is for.
        bfloat16: whether the device has it in hardware.
        channels_last: as the user set it; None where it is chosen by the program.
    """
    fix = "--set precision=auto"
    if precision == "float16" and device == "cpu":
        what, why = "float16 on a CPU", "CPUs compute it through float32: slower, and less exact"
    elif precision == "bfloat16" and not bfloat16:
        what = f"bfloat16 on a {device.upper()} that does not have it"
        why = "it is imitated: slower than float32, and less exact"
    elif channels_last and device == "cpu" and not torch.backends.mkldnn.is_available():
        what, why = "channels_last without oneDNN", "torch's plain convolutions are slower with it"
        fix = "--set channels_last=none"
    else:
        return None
    return warning("number_format", what, why, fix)


def _control_groups(root: Path, controller: str) -> list[Path]:
    """The folders of the groups of this process for a controller, of both versions, upwards."""
    folders = []
    for line in _read(root / "proc/self/cgroup").splitlines():
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


def _read(file: Path) -> str:
    """The text of a file; "" where it cannot be read."""
    try:
        return file.read_text()
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    """The number in a file; None for "max", -1 or no file."""
    text = _read(file).strip()
    return int(text) if text.isdigit() else None


def _reclaimable(file: Path) -> int:
    """Bytes of a group's page cache that the system takes back when they are needed."""
    fields = dict(line.split() for line in _read(file).splitlines())
    return int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))


def format_bytes(count: float) -> str:
    """A number of bytes with its unit."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
