"""A training in several processes: one for each GPU, or a few on a CPU.

The process that owns the run folder starts the others as ``torchrun`` does, by PyTorch's elastic
launcher, waits for them and says how it ended. Run as a module this file is one of them. They find
each other by a file, and talk over the loopback interface only; rank 0 writes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from segbook.recipes.recipe import Recipe
from segbook.runs.attempt import format_error
from segbook.runs.folder import TOKEN_VARIABLE, RunFolder, write_atomic
from segbook.runs.process_family import Guard, kill_family
from segbook.runs.stopping import Stopper
from segbook.text import on_terminal
from segbook.training.loop import fit
from segbook.training.stop_request import FOLDER_VARIABLE, StopRequest
from segkit.engine import distributed

DIED = "ProcessDied"
LOST = 5
"""Exit code of a process that lost another one: what there is to say, the other one says."""
SIGNS = {
    signal.SIGKILL: "SIGKILL: memory, usually, or someone's kill -9",
    signal.SIGBUS: "SIGBUS: shared memory that is full, usually",
    signal.SIGSEGV: "SIGSEGV: a fault in compiled code",
}
"""Signals by which a process is the first to die, and what they mean."""


def check_processes(recipe: Recipe, processes: int) -> None:
    """Refuse a number of processes with which a recipe cannot be trained.

    Raises:
        ValueError: below 1, no divisor of the batch, more than GPUs where there are any, or a
            SyncBatchNorm that this machine does not have.
    """
    if processes < 1:
        raise ValueError(f"{processes} processes cannot train: give 1 or more")
    if recipe.batch_size % processes:
        raise ValueError(
            f"batch_size={recipe.batch_size} is that of all processes together, and {processes} "
            f"cannot share it evenly: take a multiple of {processes}"
        )
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus and distributed.world_size() == 1 and processes > gpus:
        raise ValueError(f"{processes} processes need a GPU each, and there are {gpus}")
    distributed.check_sync_batchnorm(recipe.sync_bn, torch.device("cuda" if gpus else "cpu"))


def train_in(
    processes: int, folder: RunFolder, recipe: Recipe, stopper: Stopper
) -> dict[str, Any] | None:
    """Train a run in several processes of this machine, to its end.

    Args:
        processes: how many.
        folder: the run's; this process owns it.
        recipe: to be trained.
        stopper: the run's; a first request lets the processes end a step and save, a second one
            kills them.

    Returns:
        What went wrong, as ``run.json`` keeps it: "name", "message", maybe "traceback"; None where
        nothing did. However it ends, no process is left.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    # The launcher takes a second to import, and most trainings have one process.
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with folder.own() as variables, tempfile.TemporaryDirectory(prefix="segbook-") as path:
        request = StopRequest(path)
        token, error, killed = variables[TOKEN_VARIABLE], None, False

        def ask() -> None:
            if not request.ask():
                raise KeyboardInterrupt

        def kill() -> None:  # an exception could leave the clearing up undone
            nonlocal killed
            killed = True
            kill_family(token, 0)

        guard = Guard(token, 0, path)  # before its environment holds the token
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=folder.name,
            rdzv_backend="c10d",
            rdzv_endpoint=os.path.join(path, "agent"),
            rdzv_configs={"store_type": "file"},
            local_addr="127.0.0.1",
            max_restarts=0,
            signals_to_handle="",  # ours stay
            logs_specs=DefaultLogsSpecs(log_dir=path),
        )
        threads = max(1, (os.cpu_count() or 1) // processes)
        try:
            stopper.interrupt, stopper.kill = ask, kill
            with _environment(
                {
                    "OMP_NUM_THREADS": str(threads),
                    "TORCH_CPP_LOG_LEVEL": "ERROR",  # of three processes each warns of a switch
                    **os.environ,
                    **variables,
                    FOLDER_VARIABLE: path,
                    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # it would listen to every network
                    **_loopback(),
                }
            ):
                fields = json.dumps(recipe.to_dict())
                # -P: a torch.py beside the data is none of our modules
                command = (
                    "-P", "-m", "segbook.training.processes", str(folder.path), fields,
                )  # fmt: skip
                elastic_launch(config, sys.executable)(*command)
        except ChildFailedError as failed:
            error = _reason(failed.failures, processes)
            if error["name"] == DIED and folder.read().get("step"):
                error["message"] += "; the last checkpoint is whole"
        finally:
            kill_family(token, 0)  # loaders whose process is gone
            guard.dismiss()
        if killed or (request.followed and error is None):
            raise KeyboardInterrupt
        return error


def _loopback() -> dict[str, str]:
    name = "lo" if sys.platform == "linux" else "lo0"
    return {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Another environment for the processes that are started, and a launcher that is silent."""
    before = dict(os.environ)
    os.environ.update(variables)
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        os.environ.clear()
        os.environ.update(before)


def _reason(failures: Mapping[int, Any], processes: int) -> dict[str, Any]:
    """What ended a training first: a death, else what a process wrote down, else any exit code.

    When one process ends, the others lose their connection, and the launcher ends them.
    """
    for rank, failure in sorted(failures.items()):
        if -failure.exitcode in SIGNS:
            why = SIGNS[signal.Signals(-failure.exitcode)]
            return _death(f"process {rank + 1} of {processes} was killed ({why})")
    in_order = sorted(failures.items(), key=lambda item: item[1].timestamp)
    for _, failure in in_order:
        if "name" in failure.error_file_data:
            return {k: v for k, v in failure.error_file_data.items() if k != "timestamp"}
    rank, failure = min(in_order, key=lambda item: item[1].exitcode == LOST)
    how = failure.signal_name() if failure.exitcode < 0 else f"exit code {failure.exitcode}"
    how = "a lost connection to another one" if failure.exitcode == LOST else how
    return _death(f"process {rank + 1} of {processes} ended by {how}")


def _write_error(error: BaseException) -> None:
    """Leave an exception where torch's launcher looks for it, with the fields of ``run.json``."""
    described = {**format_error(error), "timestamp": int(time.time())}
    write_atomic(Path(os.environ["TORCHELASTIC_ERROR_FILE"]), json.dumps(described))


def _death(message: str) -> dict[str, Any]:
    return {"name": DIED, "message": message}


class Onlooker(RunFolder):
    """A run folder in the hands of a process that does not write."""

    @contextlib.contextmanager
    def own(self) -> Iterator[dict[str, str]]:
        """Leave it to its owner."""
        yield {}

    def update(self, **fields: Any) -> None:
        """Nothing."""

    def append_metrics(self, **record: Any) -> None:
        """Nothing."""

    def forget_after(self, step: int) -> None:
        """Nothing."""

    def log(self, text: str) -> None:
        """Nothing."""


def main(path: str, fields: str) -> None:
    """Be one of a run's processes, for a recipe as JSON."""
    first = os.environ["RANK"] == "0"
    shared = os.environ[FOLDER_VARIABLE]
    request = StopRequest(shared, first=first)
    try:
        with distributed.process_group(os.path.join(shared, "store")):
            folder = RunFolder(path) if first else Onlooker(path)
            try:
                fit(
                    Recipe.from_dict(json.loads(fields)),
                    folder,
                    show=_show if first else _hide,
                    progress=first and has_terminal(),
                    stop=request.due,
                )
            except KeyboardInterrupt:
                if not request.followed:
                    raise
    except distributed.PeerLostError:
        sys.exit(LOST)
    except BaseException as error:
        _write_error(error)
        sys.exit(1)


def has_terminal() -> bool:
    """Whether somebody would see a progress bar; a closed standard error is None."""
    return sys.stderr is not None and sys.stderr.isatty()


def _show(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # a training outlives its reader
        print(line, flush=True)


def _hide(line: str) -> None:
    pass


if __name__ == "__main__":
    with on_terminal():
        main(*sys.argv[1:])
