"""A run's processes: all of them end with it, however it ends.

The kernel that a run starts has the run's token in its environment, and so has whatever the kernel
starts: loader workers, ``torchrun`` and its workers in sessions of their own. A guard process waits
for the runner's death, which it sees as the end of its standard input, and kills that family. It
is this file, run as a script: standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time


def family(token: str) -> list[int]:
    """The processes that carry a run's token, without this one; none where /proc is missing."""
    if not token:
        raise ValueError("a run's token is empty: half of all processes have an empty variable")
    wanted = f"={token}".encode()
    found = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
            if any(variable.endswith(wanted) for variable in file.read().split(b"\0")):
                found.append(int(entry))
    return found


def kill_family(token: str, leader: int) -> None:
    """Kill a run's processes: those with its token, and the kernel's process group.

    Args:
        token: the run's token.
        leader: the kernel's process id, which leads a group of its own; 0 where none was started.
    """
    members = family(token)
    if leader and (leader in members or not os.path.isdir("/proc/self")):
        with contextlib.suppress(OSError):
            os.killpg(leader, signal.SIGKILL)
    for _ in range(20):  # a process may start another while we look
        for process in members:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)
        if not (members := family(token)):
            return


class Guard:
    """Kills the run's processes when this process dies.

    Args:
        token: the run's token.
        leader: the kernel's process id.
        scratch: a folder that is removed then; none where it is empty.
    """

    def __init__(self, token: str, leader: int, scratch: str = "") -> None:
        # Without site-packages it starts in 20 ms; in a session of its own Ctrl-C passes it by.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([token, leader, scratch]).encode() + b"\n")
        self._process.stdin.flush()

    def dismiss(self) -> None:
        """End the guard; nothing is killed."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(b"done\n")
            self._process.stdin.close()
        self._process.wait()


def _watch() -> None:
    token, leader, scratch = json.loads(sys.stdin.readline())
    if sys.stdin.readline().strip() != "done":
        kill_family(token, leader)
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    _watch()
