"""Several processes on one training: who we are, and what we share.

`torchrun` starts the processes and gives each its rank in the environment; `process_group` joins
them. Without `torchrun` there is one process, rank 0 of 1, and nothing of `torch.distributed` is
touched. Whatever shares must be called by all processes, in the same order.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

LOST = re.compile("connection (closed|reset)|broken pipe|remote process exit", re.IGNORECASE)
"""What gloo, NCCL and the store say where another process is gone."""


class PeerLostError(ConnectionError):
    """Another process of the training ended, or it cannot be reached."""


def rank() -> int:
    """This process's number, from 0; the first one writes."""
    return dist.get_rank() if _initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _initialized() else 1


def _initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextlib.contextmanager
def process_group(store: str | Path | None = None) -> Iterator[None]:
    """Be one of the processes that `torchrun` started while the context lasts; else do nothing.

    With CUDA each process has the GPU of its local rank, and they talk through NCCL; else gloo.

    Args:
        store: a file by which the processes of one machine find each other; None takes the address
            that `torchrun` gave.

    Raises:
        ValueError: more processes than GPUs.
        PeerLostError: inside the context, another process ended.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        local, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if local >= gpus:
            raise ValueError(f"process {local + 1} has no GPU: start {gpus}, one for each GPU")
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend,
        init_method=f"file://{Path(store).resolve()}" if store else "env://",
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
    )
    with explain_lost_peer():
        yield  # after an exception the group is left as it is: its end would wait for the others
    dist.destroy_process_group()


@contextlib.contextmanager
def explain_lost_peer() -> Iterator[None]:
    """Say what a lost connection to another process means.

    Raises:
        PeerLostError: another process ended while this one was waiting for it.
    """
    try:
        yield
    except RuntimeError as error:
        if world_size() == 1 or not LOST.search(str(error)):
            raise
        raise PeerLostError(
            "another process of this training ended, or cannot be reached. Which one and why is "
            "in its own words: in torchrun's output or under its --log-dir, on that process's "
            f"machine ({str(error).partition(chr(10))[0]:.200})"
        ) from error


def average(values: Tensor) -> Tensor:
    """Numbers averaged over the processes; one that is not finite anywhere is not finite here."""
    if world_size() == 1:
        return values
    dist.all_reduce(values)
    return values / world_size()


def all_gather(value: Any) -> list[Any]:
    """The value of each process, by rank."""
    values = [value]
    if world_size() > 1:
        values = [None] * world_size()
        dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Go on when all processes have come this far."""
    if world_size() > 1:
        dist.barrier()


def data_parallel(model: nn.Module) -> nn.Module:
    """The network as `train` calls it: with gradients that are averaged over the processes.

    All begin with the weights of rank 0.
    """
    if world_size() == 1:
        return model
    device = next(model.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    # With this switch the gradients keep the order in which they are sent. Else it is another one
    # from the second step on, in which three addends sum to other bits after a resume.
    fixed = world_size() > 2 and device.type == "cpu"
    return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=fixed)


def no_sync(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    """A context in which a `data_parallel` network keeps its gradients to itself, to add up."""
    if isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return contextlib.nullcontext()


@torch.no_grad()
def broadcast_buffers(model: nn.Module) -> None:
    """Give all processes the running statistics of rank 0, as one GPU of several would keep them.

    After this all of them would evaluate the same network. Counters are the same already.
    """
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if world_size() == 1 or not buffers:
        return
    flat = torch.cat([buffer.reshape(-1).float() for buffer in buffers])
    dist.broadcast(flat, src=0)
    for buffer, part in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(part.view_as(buffer))


def convert_sync_batchnorm(model: nn.Module, wanted: str, device: torch.device) -> nn.Module:
    """Let BatchNorm count the images of all processes (SyncBatchNorm), where it is wanted.

    Args:
        model: the network; its weights and their names stay what they are.
        wanted: "auto" where there are several processes, each with a GPU; "on"; "off".
        device: where the network will be trained.

    Returns:
        The network, its BatchNorms replaced or not.

    Raises:
        ValueError: "on" without a GPU.
    """
    check_sync_batchnorm(wanted, device)
    if wanted == "off" or (wanted == "auto" and (world_size() == 1 or device.type != "cuda")):
        return model
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def check_sync_batchnorm(wanted: str, device: torch.device) -> None:
    """Refuse a SyncBatchNorm that torch does not have.

    Raises:
        ValueError: "on" without a GPU.
    """
    if wanted == "on" and device.type != "cuda":
        raise ValueError(
            f"sync_bn='on' needs GPUs: torch's SyncBatchNorm does not work on {device.type}. Take "
            "'auto' or 'off', and see segkit.engine.ghost_batches for what it is about"
        )
