"""Several processes on one training: who we are, and what we share.

`torchrun` starts the processes and gives each its rank in the environment; `process_group` joins
them. Where it is not there, or says 1, there is one process, rank 0 of 1, and nothing of
`torch.distributed` is touched. Whatever shares must be called by all processes, in the same order.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

LOST = re.compile("connection (closed|reset)|broken pipe|remote process exit", re.IGNORECASE)
"""What gloo, NCCL and the store say where another process is gone."""
WAIT = timedelta(minutes=10)
"""How long the first process waits for the others to come, and they for it."""
_FAULT, _END = "fault", "end"
"""What a process leaves for the others: why it ended; that the first one has said its last."""
_store: Any = None


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

    With CUDA each process has the GPU of its local rank, or the only one that it sees, and they
    talk through NCCL; else gloo.

    Args:
        store: a file by which the processes of one machine find each other; None takes the address
            that `torchrun` gave.

    Raises:
        ValueError: more processes than GPUs; the others did not come, or cannot be reached.
        PeerLostError: inside the context, another process ended.
    """
    global _store
    number, count = (int(os.environ.get(name) or 0) for name in ("RANK", "WORLD_SIZE"))
    if count < 2 or "RANK" not in os.environ:
        yield
        return
    from torch.distributed.distributed_c10d import PrefixStore  # not every torch has it
    from torch.distributed.rendezvous import rendezvous

    backend = "gloo"
    if torch.cuda.is_available():
        local, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if local >= gpus > 1:
            raise ValueError(f"process {local + 1} has no GPU: start {gpus}, one for each GPU")
        torch.cuda.set_device(local if gpus > 1 else 0)  # Slurm may show each process its own only
        backend = "cpu:gloo,cuda:nccl"
    url = f"file://{Path(store).resolve()}" if store else "env://"
    try:
        _store, _, _ = next(iter(rendezvous(url, number, count, timeout=WAIT)))
    except dist.DistError as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise ValueError(
            f"process {number + 1} of {count} has not found the others at {where} within "
            f"{WAIT.total_seconds():.0f} s ({_first_line(error)}). Have all been started, can they "
            "reach that machine, and is the port free there? Else set MASTER_ADDR and MASTER_PORT "
            "for all of them"
        ) from error
    dist.init_process_group(
        backend, store=PrefixStore("group", _store), rank=number, world_size=count
    )
    with explain_lost_peer():
        if torch.cuda.is_available():
            _refuse_shared_gpus(str(torch.cuda.get_device_properties().uuid))
        yield  # after an exception the group is left as it is: its end would wait for the others
    dist.destroy_process_group()


def _refuse_shared_gpus(mine: str) -> None:
    owners: dict[tuple[str, str], int] = {}
    for number, gpu in enumerate(all_gather((socket.gethostname(), mine))):
        if (other := owners.setdefault(gpu, number)) != number:
            raise ValueError(
                f"processes {other + 1} and {number + 1} have the same GPU on {gpu[0]}: start one "
                "process a GPU, and let each see its own (srun --gpus-per-task=1) or all of them"
            )


@contextlib.contextmanager
def explain_lost_peer() -> Iterator[None]:
    """Say what a lost connection to another process means, and to the others why this one ends.

    Raises:
        PeerLostError: another process ended while this one was waiting for it.
    """
    try:
        yield
    except Exception as error:
        if world_size() == 1 or isinstance(error, PeerLostError):
            raise
        if not isinstance(error, RuntimeError) or not LOST.search(str(error)):
            who = f"process {rank() + 1} of {world_size()} on {socket.gethostname()}"
            _leave(_FAULT, f"{who}: {type(error).__name__}: {error}")
            raise
        why = _find(_FAULT, timedelta(0)) or (
            "which one and why its launcher says (torchrun, srun, mpirun), or it does, on its own "
            f"machine ({_first_line(error)})"
        )
        raise PeerLostError(
            f"another process of this training ended, or cannot be reached: {why}"
        ) from error


def _first_line(error: BaseException) -> str:
    return f"{str(error).partition(chr(10))[0]:.200}"


def leave_last() -> None:
    """End after the first process, which calls this after its last word, but do not wait long.

    Some launchers kill all processes as soon as one has ended.
    """
    if world_size() > 1 and rank() == 0:
        _leave(_END, "")
    elif world_size() > 1:
        _find(_END, timedelta(seconds=10))


def _leave(key: str, text: str) -> None:
    with contextlib.suppress(RuntimeError):  # the store's process may be gone
        if _store is not None:
            _store.set(key, text)


def _find(key: str, patience: timedelta) -> str | None:
    """What a process left; None where none did, or the store's process is gone."""
    with contextlib.suppress(RuntimeError):
        if _store is not None:
            if patience:
                _store.wait([key], patience)
            if _store.check([key]):
                return _store.get(key).decode(errors="replace")
    return None


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


def any_of(flag: bool) -> bool:
    """Whether it is true of any process."""
    if world_size() == 1:
        return flag
    flags = torch.tensor(int(flag))
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags)


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
