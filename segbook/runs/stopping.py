"""Stopping a run: Ctrl-C, a polite kill, a closed terminal, or the end of its time.

A first request lets the run end its step and write its status; a second one, or a run that does
not answer within some seconds, ends it hard. Either way the run is ``stopped``, not ``failed``.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

GRACE = 10.0
"""Seconds between the polite request and the hard end."""

REASONS = {
    signal.SIGINT: "stopped by Ctrl-C",
    signal.SIGTERM: "stopped by SIGTERM",
    signal.SIGHUP: "its terminal was closed",
}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class RunStopped(Exception):
    """The run was asked to stop; the message says why."""


def read_duration(text: str) -> float | None:
    """Seconds of ``"2h"``, ``"90m"``, ``"1h30m"``, ``"45s"`` or ``"3600"``; None for ``"none"``.

    Raises:
        ValueError: not a duration, or not a positive one.
    """
    text = text.strip().lower()
    if text == "none":
        return None
    number = r"\d+(?:\.\d+)?"
    if re.fullmatch(number, text):
        seconds = float(text)
    elif re.fullmatch(rf"(?:{number}[dhms])+", text):
        seconds = sum(float(n) * UNITS[u] for n, u in re.findall(rf"({number})([dhms])", text))
    else:
        raise ValueError(f"a time is written 45s, 90m, 2h, 1h30m or none, got {text!r}")
    if seconds <= 0:
        raise ValueError(f"a time limit must be positive, got {text!r}")
    return seconds


def format_duration(seconds: float) -> str:
    """Seconds as a person would say them: ``"1 h 05 min"``, ``"3 min 12 s"``, ``"4.2 s"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def ignore_requests() -> None:
    """Let nothing change how a run ended, to the end of this process."""
    if threading.current_thread() is threading.main_thread():
        for number in REASONS:
            signal.signal(number, signal.SIG_IGN)


class Stopper:
    """Watches for the reasons to stop a run.

    Args:
        interrupt: asks the run to end; called once.
        kill: ends it at once; called by a second request and after `GRACE` seconds.
        limit: seconds the run may take; None for no limit.
        grace: seconds between the two.

    Attributes:
        reason: why the run was asked to stop; None as long as it was not.
    """

    def __init__(
        self,
        interrupt: Callable[[], None],
        kill: Callable[[], None],
        *,
        limit: float | None,
        grace: float = GRACE,
    ) -> None:
        self.interrupt, self.kill, self.limit, self.grace = interrupt, kill, limit, grace
        self.reason: str | None = None
        self._pid = os.getpid()

    @contextlib.contextmanager
    def watch(self) -> Iterator[Stopper]:
        """Handle signals and the time limit while the context lasts.

        A signal that was ignored before (``nohup``, a shell's ``&``) stays ignored. Outside of the
        main thread, where Python has no signals, nothing is watched.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        wanted = [s for s in (*REASONS, signal.SIGALRM) if signal.getsignal(s) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._handle) for number in wanted}
        if self.limit:
            signal.setitimer(signal.ITIMER_REAL, self.limit)
        try:
            yield self
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def ended(self) -> None:
        """Ask and end nothing any more: what is left of the run is to write how it ended."""
        self.interrupt = self.kill = lambda: None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a forked loader process: the run's process ends it
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.reason is None:
            limit = f"its time limit of {format_duration(self.limit or 0)} was reached"
            self.reason = REASONS.get(signal.Signals(number), limit)
            signal.setitimer(signal.ITIMER_REAL, self.grace)
            self.interrupt()
        else:
            signal.setitimer(signal.ITIMER_REAL, self.grace)
            self.kill()
