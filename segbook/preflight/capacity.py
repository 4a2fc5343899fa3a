"""What a recipe takes of a machine: memory, disk, cores; asked of the library's checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from segbook.recipes.recipe import Recipe
from segbook.runs.folder import runs_root
from segkit.doctor import Finding, Scan, machine
from segkit.engine import best_precision


class Device(NamedTuple):
    """Where the recipe would be trained.

    Attributes:
        kind: "cpu" or "cuda".
        bfloat16: whether it has it in hardware.
        memory: free bytes of the main memory; None where the system does not say.
        gpu_memory: free bytes of the GPU; None without one.
    """

    kind: str
    bfloat16: bool
    memory: int | None
    gpu_memory: int | None

    @classmethod
    def here(cls) -> Device:
        """This machine."""
        cuda = torch.cuda.is_available()
        return cls(
            "cuda" if cuda else "cpu",
            best_precision("cuda" if cuda else "cpu") == "bfloat16",
            machine.available_memory(),
            torch.cuda.mem_get_info()[0] if cuda else None,
        )


def of_machine(recipe: Recipe, device: Device, processes: int) -> Iterator[Finding]:
    """What needs neither data nor network."""
    threads = torch.get_num_threads() if device.kind == "cpu" else 1
    found = (
        machine.cores(
            machine.available_cores(), workers=recipe.workers, threads=threads, processes=processes
        ),
        machine.number_format(
            recipe.precision,
            device=device.kind,
            bfloat16=device.bfloat16,
            channels_last=recipe.channels_last,
        ),
    )
    yield from (finding for finding in found if finding)


def of_sizes(
    recipe: Recipe,
    built: nn.Module,
    train_set: Any,
    scan: Scan,
    step: int,
    device: Device,
    processes: int,
    folder: Path | None,
) -> Iterator[Finding]:
    """Bytes: of weights, checkpoints, batches, decoded images and a step."""
    share = max(1, recipe.batch_size // processes)
    weights = sum(t.nbytes for t in (*built.parameters(), *built.buffers()))
    trained = sum(t.nbytes for t in built.parameters() if t.requires_grad)
    moments = 2 * trained if recipe.optimizer == "adamw" else trained * (recipe.momentum > 0)
    kept = weights * (1 + (recipe.ema is not None)) + moments
    crop = max((crop for _, crop, _ in recipe.schedule_of_crops()), key=lambda c: c[0] * c[1])
    precision = recipe.precision
    if (best_precision(device.kind) if precision == "auto" else precision) != "float32":
        step //= 2
    on_cpu = device.kind == "cpu"
    areas = [r.image.size[0] * r.image.size[1] for r in scan.records if r.image]
    cached = 0
    if getattr(train_set, "cache", False) and areas:
        cached = len(train_set) * 4 * sum(areas) // len(areas)
    found = (
        machine.disk_space(folder or runs_root(), checkpoint=kept, weights=weights),
        machine.shared_memory(
            recipe.workers,
            share * crop[0] * crop[1] * machine.BYTES_PER_PIXEL,
            processes=processes,
        ),
        machine.memory(
            device.memory,
            cached=cached,
            workers=recipe.workers,
            step=step if on_cpu else 0,
            state=kept + trained if on_cpu else 0,
            processes=processes,
        ),
        machine.gpu_memory(device.gpu_memory, step=step, state=kept + trained),
        machine.no_workers(
            recipe.workers,
            cores=machine.available_cores(),
            device=device.kind,
            decodes=not cached,
        ),
    )
    yield from (finding for finding in found if finding)
