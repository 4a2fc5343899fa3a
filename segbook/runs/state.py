"""What a run keeps: the state that its next step depends on, and the header of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from segbook.runs.build import model_arguments, seed_everything
from segkit import transforms
from segkit.engine import distributed
from segkit.engine.checkpoint import _rng_state, _set_rng_state

if TYPE_CHECKING:
    from segbook.runs.training import Run


def collect(run: Run) -> dict[str, Any]:
    """The whole state of a run, with the random numbers of all its processes, who all call this."""
    return {
        "step": run.step,
        "seconds": run.seconds,
        "cpu_seconds": run.cpu_seconds,
        "best": run.best,
        "precision": run.precision,
        "choice": run.choice.to_dict() if run.choice else None,
        "counts": run.counts,
        "model": dict(run.model.state_dict()),
        "ema": dict(run.ema.state_dict()) if run.ema else None,
        "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(),
        "other_processes": distributed.gather(_rng_state())[1:],
    }


def put_back(run: Run, state: dict[str, Any]) -> str:
    """Make a run what it was when `collect` saw it.

    With another number of processes than before it sees the same batches and goes on from the same
    weights, but what is random inside the network, its dropout, goes another way.

    Returns:
        What there is to say about that; usually nothing.
    """
    run.step = state["step"]
    run.seconds, run.best = state["seconds"], state["best"]
    run.cpu_seconds = state.get("cpu_seconds", 0.0)
    run.precision = state["precision"]
    if "counts" in state:
        run.counts = state["counts"]
    run.model.load_state_dict(state["model"])
    if run.ema:
        run.ema.load_state_dict(state["ema"])
    run.optimizer.load_state_dict(state["optimizer"])
    for weight, slots in run.optimizer.state.items():
        for name, value in slots.items():
            # Fused kernels walk through memory: an average lies there as its weight does.
            if isinstance(value, Tensor) and value.shape == weight.shape:
                slots[name] = torch.empty_like(weight).copy_(value)
    run.scaler.load_state_dict(state["scaler"])
    others = state.get("other_processes", [])
    rank, ranks, before = distributed.rank(), distributed.ranks(), len(others) + 1
    if 0 < rank < before:
        _set_rng_state(others[rank - 1])
    elif rank:  # a new process: numbers of its own, else it would repeat the first one's
        seed_everything((run.recipe.seed + run.step + rank) % 2**32)
    if ranks == before:
        return ""
    return f", with {ranks} process{'es' * (ranks > 1)} after {before}: dropout goes another way"


def header(run: Run) -> dict[str, Any]:
    """What is needed to use a run's weights: stored in their file."""
    train_set = run.sets["train"]
    return {
        "builder": run.recipe.model,
        "arguments": {"num_classes": run.num_classes, **model_arguments(run.recipe)},
        "classes": list(train_set.classes),
        "palette": [list(colour) for colour in train_set.palette],
        "normalisation": {"mean": list(transforms.MEAN), "std": list(transforms.STD)},
        "metric": {
            "name": "mIoU",
            "policy": run.best.get("policy"),
            "value": run.best.get("miou"),
            "split": "val",
        },
        "recipe": run.recipe.name,
        "step": run.step,
    }
