"""The digests and the list of them, and the pool that works through a data set."""

from __future__ import annotations

import time

import numpy as np
import pytest

from data_scripts.fetching.dataset import DataError, pixel_digest
from data_scripts.fetching.progress import in_parallel


def test_the_digest_sees_values_and_shape():
    array = np.arange(12, dtype=np.uint8)
    digests = {
        pixel_digest(a) for a in (array, array.reshape(3, 4), array.reshape(4, 3), array + 1)
    }
    assert len(digests) == 4
    assert pixel_digest(array.reshape(3, 4)) == "1c554033219b53c16b94620f39ab9b44"


def test_a_failure_does_not_wait_for_the_rest():
    begun = []

    def work(number):
        begun.append(number)
        if number == 0:
            raise DataError("first")
        time.sleep(0.02)

    with pytest.raises(DataError, match="first"):
        in_parallel(work, range(2000), label="x")
    assert len(begun) < 2000


def test_results_keep_their_order():
    assert in_parallel(lambda n: n * n, range(50), label="x") == [n * n for n in range(50)]
    assert in_parallel(lambda n: n, [], label="x") == []
