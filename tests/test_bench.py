"""The benchmarks run, and a promise that is not kept is said. No wall time is asserted."""

from __future__ import annotations

import pytest

from segbook import bench
from segbook.bench import promises


def clocked(*seconds: float):
    """Two functions that take the given seconds in turn on a clock of their own."""
    time, durations = [0.0], iter(seconds)

    def work():
        time[0] += next(durations)

    return work, (lambda: time[0])


def test_the_ratio_is_the_median_of_pairs():
    work, clock = clocked(9, 9, 1, 2, 1, 4, 1, 30)  # the first pair is the warm-up
    ratio = bench.compare("x", work, work, wanted=3.0, pairs=3, clock=clock)
    assert (ratio.ours, ratio.theirs, ratio.ratio) == (1, 4, 4)
    assert ratio.kept
    assert "ok" in str(ratio)


def test_a_missed_promise_is_said():
    ratio = bench.Ratio("x", ours=1.0, theirs=1.5, ratio=1.5, wanted=2.0, pairs=3)
    assert not ratio.kept
    assert "MISSED" in str(ratio)


@pytest.mark.slow
def test_all_of_them_run(monkeypatch):
    def once(name, ours, theirs, *, wanted, pairs, clock=None):
        ours(), theirs()
        return bench.Ratio(name, 1.0, 1.0, 1.0, wanted, pairs)

    monkeypatch.setattr(promises, "compare", once)  # which the tests above are of
    lines: list[str] = []
    bench.main(lines.append, quick=True)
    text = "\n".join(lines)
    for part in ("import segkit", "segbook list", "confusion matrix", "argmax + resize",
                 "PIL", "torchvision v2", "PP-LiteSeg-T step"):  # fmt: skip
        assert part in text
