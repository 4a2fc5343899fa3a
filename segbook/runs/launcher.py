"""Who started this process as one of several: torchrun, srun, mpirun, or nobody.

A launcher starts one command several times, and says in each process's environment which one it is.
Here that becomes torch's own names: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. A
shell or a notebook inside a Slurm job is no such process: there is one of it, whatever the job has.

Source: https://slurm.schedmd.com/srun.html, https://docs.pytorch.org/docs/stable/elastic/run.html,
Open MPI's and MPICH's manuals, "environment variables". Needs no torch.
"""

from __future__ import annotations

import os
import re
import sys
import zlib
from typing import NamedTuple

# By launcher: the process's number, how many there are, its number on its machine. The innermost
# comes first: torchrun is often started by srun, and mpirun starts its helpers by srun.
_VARIABLES = (
    ("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),  # MPICH, Intel MPI
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ("mpiexec", "PMI_RANK", "PMI_SIZE", "PMI_LOCAL_RANK"),  # Cray's
)
_ELSEWHERE = {
    "srun": "export MASTER_ADDR=HOST MASTER_PORT=29500",
    "torchrun": "export MASTER_ADDR=HOST MASTER_PORT=29500",
    "mpirun": "mpirun -x MASTER_ADDR=HOST -x MASTER_PORT=29500 ...",
    "mpiexec": "mpiexec -genv MASTER_ADDR HOST -genv MASTER_PORT 29500 ...",
}
"""By launcher: how all processes are told where the first one is."""


class Launch(NamedTuple):
    """This process among those that a launcher started.

    Attributes:
        by: the launcher.
        rank: this process's number, from 0.
        world_size: how many there are, 2 or more.
        local_rank: its number on its machine, from 0.
    """

    by: str
    rank: int
    world_size: int
    local_rank: int


def launch() -> Launch | None:
    """Who started this process as one of several; None where it is alone.

    Raises:
        ValueError: variables that contradict each other, or torchruns that do not know each other.
    """
    found = [one for names in _VARIABLES if (one := _read(*names))]
    if not found:
        return None
    outer = [one for one in found[1:] if one.by != found[0].by and one.world_size > 1]
    # Torchrun's own groups: as many as it was started times.
    if outer and os.environ.get("GROUP_WORLD_SIZE") == "1":
        raise ValueError(
            f"{outer[0].by} started torchrun {outer[0].world_size} times, and each of them knows "
            f"of itself only: give torchrun --nnodes={outer[0].world_size} --rdzv-backend=c10d "
            f"--rdzv-endpoint=HOST:29500 --rdzv-id=NAME, the same in each, or leave torchrun out"
        )
    # RANK and WORLD_SIZE of one process may be left in a shell, or set by a container.
    if outer and found[0].by == "torchrun" and found[0].world_size == 1:
        return outer[0]
    return found[0] if found[0].world_size > 1 else None


def _read(by: str, rank: str, world_size: str, local_rank: str) -> Launch | None:
    given = {name: os.environ.get(name) for name in (rank, world_size)}
    if None in given.values() or (by == "mpiexec" and local_rank not in os.environ):
        return None
    if by == "srun" and "SLURM_PTY_PORT" in os.environ and _is_terminal():
        return None  # a shell by `srun --pty`: the others of its step have ended
    try:
        found = Launch(by, *(int(os.environ.get(n, 0)) for n in (rank, world_size, local_rank)))
    except ValueError:
        found = Launch(by, 0, 0, 0)
    if not 0 <= found.rank < found.world_size:
        words = " and ".join(f"{name}={value!r}" for name, value in given.items())
        raise ValueError(
            f"{words} name no process among several: unset both to train in one process, or give "
            "a number from 0, and how many there are"
        )
    return found


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def export(launch: Launch) -> None:
    """Put a process's place among the others into its environment, by torch's names.

    Raises:
        ValueError: nothing says where the first process is, or its port is none.
    """
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(
            f"MASTER_PORT={port!r} is no port: give a number from 1 to 65535, such as 29500, the "
            "same to all processes"
        )
    if not (address and port):
        here, job = _first_machine(launch)
        if not (address or here):
            raise ValueError(
                f"{launch.by} started {launch.world_size} processes, and nothing says on which "
                f"machine the first one is: {_ELSEWHERE[launch.by]}; on a single machine "
                f"segbook train --nproc {launch.world_size} needs none of this"
            )
        # Below the ports that the system gives to whoever asks; another one for each job.
        address, port = address or here, port or str(10000 + zlib.crc32(job.encode()) % 20000)
    os.environ |= {
        "RANK": str(launch.rank),
        "WORLD_SIZE": str(launch.world_size),
        "LOCAL_RANK": str(launch.local_rank),
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
    }


def _first_machine(launch: Launch) -> tuple[str, str]:
    """Where the launcher says that the first process is, empty where it does not; and its job."""
    get = os.environ.get
    if launch.by == "srun":
        job = f"{get('SLURM_JOB_ID')}.{get('SLURM_STEP_ID')}"
        return first_host(get("SLURM_STEP_NODELIST") or get("SLURM_JOB_NODELIST") or ""), job
    if get("OMPI_COMM_WORLD_LOCAL_SIZE") == str(launch.world_size) and get("PMIX_NAMESPACE"):
        return "127.0.0.1", get("PMIX_NAMESPACE", "")
    return "", ""


def first_host(nodes: str) -> str:
    """The first of Slurm's list of machines: ``gpu03`` of ``gpu[03-05,07],login1``."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0] if first else "")


def refuse_several(what: str) -> None:
    """Refuse to do something as often as a launcher started this process.

    Args:
        what: is done, for the message.

    Raises:
        ValueError: there are several of this process.
    """
    if found := launch():
        raise ValueError(
            f"{found.by} started this {found.world_size} times, and {what}: start it once, by "
            f"{'srun --ntasks=1' if found.by == 'srun' else f'hand, without {found.by}'}"
        )
