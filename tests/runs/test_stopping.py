"""Durations, and the two steps in which a run is stopped."""

import os
import signal
import time

import pytest

from segbook.runs.stopping import Stopper, format_duration, read_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), ("3600", 3600),
     ("1d", 86400), ("none", None)],
)  # fmt: skip
def test_durations(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1h", "2 h", "h", "2x", "1h30", "inf", "nan"])
def test_no_durations(text):
    with pytest.raises(ValueError, match="time"):
        read_duration(text)


def test_durations_are_spelt():
    spelt = [format_duration(s) for s in (4.21, 192, 3599.9, 3900)]
    assert spelt == ["4.2 s", "3 min 12 s", "1 h 00 min", "1 h 05 min"]


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")]
)
def test_the_first_signal_asks_and_the_second_kills(number, word):
    calls = []
    stopper = Stopper(lambda: calls.append("ask"), lambda: calls.append("kill"), limit=None)
    before = signal.getsignal(number)
    with stopper.watch():
        os.kill(os.getpid(), number)
        assert (calls, word in stopper.reason) == (["ask"], True)
        os.kill(os.getpid(), number)
        assert calls == ["ask", "kill"]
    assert signal.getsignal(number) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_time_limit_asks_and_after_the_grace_it_kills():
    calls = []
    stopper = Stopper(
        lambda: calls.append("ask"), lambda: calls.append("kill"), limit=0.02, grace=0.02
    )
    with stopper.watch():
        while calls[-1:] != ["kill"]:
            time.sleep(0.01)
    assert calls[:2] == ["ask", "kill"]
    assert "time limit" in stopper.reason


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stopper = Stopper(lambda: None, lambda: None, limit=None)
        with stopper.watch():
            os.kill(os.getpid(), signal.SIGHUP)
        assert stopper.reason is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_process_does_not_stop_the_run():
    calls = []
    stopper = Stopper(lambda: calls.append("ask"), lambda: None, limit=None)
    with stopper.watch():
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(7 if calls else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert calls == []
