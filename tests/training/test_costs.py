"""The small parts of a forecast: counts, means, a few pairs, memory."""

from __future__ import annotations

import pickle

import pytest
import torch

from segbook.training import costs
from segkit import data
from segkit.data.subset import Subset


def test_times():
    for every in (1, 3, 5, 30):
        for start in (0, 2, 3, 17, 20):
            steps = range(start + 1, 21)
            wanted = sum(step % every == 0 or step == 20 for step in steps)
            assert costs.times(every, start, 20) == wanted, (every, start)


def test_the_interval_comes_from_the_tenths():
    seconds = [1.0] * 18 + [0.1, 9.0]
    assert costs.trimmed_mean(seconds) == 1.0
    assert costs.tenths(seconds) == (1.0, 1.0)
    fast, slow = costs.tenths([float(n) for n in range(1, 21)])
    assert fast == pytest.approx(2.9 / 10.5)
    assert slow == pytest.approx(18.1 / 10.5)


def test_a_few_pairs_are_spread_over_the_set():
    whole = data.SyntheticStreets("val", size=(32, 32), length=10)
    subset = pickle.loads(pickle.dumps(Subset(whole, 4)))
    assert [subset.stem(k) for k in range(len(subset))] == [whole.stem(k) for k in (0, 2, 5, 7)]
    assert torch.equal(subset[1][0], whole[2][0])
    assert subset.with_transform(lambda image, mask: "new")[3] == "new"
    assert subset.classes == whole.classes
    assert len(Subset(whole, 99)) == 10


def test_high_water_is_this_process():
    before = costs.high_water()
    block = torch.ones(50_000_000)
    assert costs.high_water() >= before
    assert costs.high_water() > block.nbytes
