"""What every test gets: one thread, a fixed seed, and the real data where it is."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

# Two threads on a busy machine can be fifteen times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts us in the background lets us ignore Ctrl-C, and so would every child: but the
# tests of Ctrl-C send it.
in_main_thread = threading.current_thread() is threading.main_thread()
if in_main_thread and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(os.environ.get("SEGBOOK_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _runs_elsewhere(tmp_path, monkeypatch):
    """No test leaves a run folder in the checkout, or takes one that the caller is writing."""
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("SEGBOOK_RUN_FOLDER", raising=False)
    monkeypatch.delenv("SEGBOOK_RUN_TOKEN", raising=False)


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """The real CamVid folder, or a skip that says what is missing."""
    root = SHARED / "data" / "camvid"
    if not root.is_dir():
        pytest.skip(f"the real CamVid images are not at {root}")
    return root
