"""The benchmarks run, and a promise that is not kept is said. No wall time is asserted."""

from __future__ import annotations

import pytest

from segbook.bench import promises
from segbook.bench.clock import Sample


def test_the_ratio_is_the_median_of_pairs():
    seconds = iter([9, 9, 9, 9, 1, 2, 4, 1, 1, 30])  # two warm-ups each; then in turn, to and fro
    row = promises.compare(
        "x", lambda: None, lambda: None, promised=3.0, pairs=3,
        timer=lambda work: Sample(1.0, next(seconds)),
    )  # fmt: skip
    assert (row["ours"], row["base"], row["ratio"]["median"]) == (1, 4, 4)
    assert row["kept"]
    assert promises.format_row(row).endswith(">= 3.00x  ok")


def test_a_missed_promise_is_said():
    row = promises.compare(
        "x", lambda: None, lambda: None, promised=2.0, pairs=1, timer=lambda work: Sample(1.0, 1.0)
    )
    assert not row["kept"]
    assert promises.format_row(row).endswith("MISSED")


@pytest.mark.full
def test_all_of_them_run(monkeypatch):
    def once(what, ours, theirs, *, promised, pairs, **_):
        ours(), theirs()
        row = {"what": what, "ours": 1.0, "base": 1.0, "ratio": {"median": 1.0}}
        return row | {"promised": promised, "kept": False}

    monkeypatch.setattr(promises, "compare", once)  # which the tests above are of
    lines: list[str] = []
    promises.main(lines.append, quick=True)
    text = "\n".join(lines)
    for part in ("import segkit", "segbook list", "confusion matrix", "argmax + resize",
                 "PIL", "torchvision v2", "PP-LiteSeg-T step"):  # fmt: skip
        assert part in text
