"""The benchmarks run, and a promise that is not kept is said. No wall time is asserted."""

from __future__ import annotations

import pytest

from segbook.bench import promises
from segbook.bench.clock import Sample


def test_the_ratio_is_the_median_of_pairs():
    seconds = iter([9, 9, 9, 9, 1, 2, 4, 1, 1, 30])  # two warm-ups each; then in turn, to and fro
    ratio = promises.compare(
        "x", lambda: None, lambda: None, wanted=3.0, pairs=3,
        timer=lambda work: Sample(1.0, next(seconds)),
    )  # fmt: skip
    assert (ratio.ours, ratio.theirs, ratio.ratio) == (1, 4, 4)
    assert ratio.kept
    assert "ok" in str(ratio)


def test_a_missed_promise_is_said():
    ratio = promises.Ratio("x", ours=1.0, theirs=1.5, ratio=1.5, wanted=2.0)
    assert not ratio.kept
    assert "MISSED" in str(ratio)


@pytest.mark.full
def test_all_of_them_run(monkeypatch):
    def once(name, ours, theirs, *, wanted, pairs, **_):
        ours(), theirs()
        return promises.Ratio(name, 1.0, 1.0, 1.0, wanted)

    monkeypatch.setattr(promises, "compare", once)  # which the tests above are of
    lines: list[str] = []
    promises.main(lines.append, quick=True)
    text = "\n".join(lines)
    for part in ("import segkit", "segbook list", "confusion matrix", "argmax + resize",
                 "PIL", "torchvision v2", "PP-LiteSeg-T step"):  # fmt: skip
        assert part in text
