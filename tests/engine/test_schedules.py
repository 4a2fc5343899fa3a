import math

import pytest

from segkit.engine import constant, cosine, poly


def test_poly_by_hand():
    factor = poly(100, power=0.9)
    assert factor(0) == 1
    assert factor(50) == pytest.approx(0.5**0.9)
    assert factor(100) == 0


def test_poly_with_warmup_ramps_the_decayed_rate():
    factor = poly(100, power=1.0, warmup=10)
    assert factor(0) == pytest.approx(0.1)
    assert factor(4) == pytest.approx(0.5 * 0.96)
    assert factor(10) == pytest.approx(0.9)


def test_floor():
    assert poly(10, floor=0.2)(10) == 0.2
    assert cosine(10, floor=0.2)(10) == pytest.approx(0.2)


def test_cosine_by_hand():
    factor = cosine(100)
    assert factor(0) == 1
    assert factor(50) == pytest.approx(0.5)
    assert factor(25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


def test_constant():
    assert [constant(10, warmup=2)(i) for i in range(4)] == [0.5, 1, 1, 1]


@pytest.mark.parametrize("make", [poly, cosine, constant])
@pytest.mark.parametrize(("steps", "warmup"), [(0, 0), (10, 10), (10, -1)])
def test_impossible(make, steps, warmup):
    with pytest.raises(ValueError, match="step"):
        make(steps, warmup=warmup)
