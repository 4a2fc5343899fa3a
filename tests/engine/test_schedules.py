import math

import pytest

from segkit.engine import Warmup, constant, cosine, poly


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


def paddle(step, *, steps, warmup, start, power=0.9):
    """PaddleSeg: Paddle's LinearWarmup before a PolynomialDecay over the steps that are left."""
    if step < warmup:
        return start + (1 - start) * step / warmup
    return (1 - (step - warmup) / (steps - warmup)) ** power


def stdc(step, *, steps, warmup, start, power=0.9):
    """The authors of STDC: each step of the warm-up is the one before times the same number."""
    if step <= warmup:
        return start * ((1 / start) ** (1 / warmup)) ** step
    return (1 - (step - warmup) / (steps - warmup)) ** power


def old_mmcv(step, *, steps, warmup, start, power=0.9):
    """mmcv 1.x: a linear ramp times what poly has there, as in SegFormer's release."""
    k = (1 - step / warmup) * (1 - start) if step < warmup else 0
    return (1 - k) * (1 - step / steps) ** power


@pytest.mark.parametrize(
    ("theirs", "ramp", "decay_from"),
    [(paddle, "linear", "warmup"), (stdc, "exponential", "warmup"), (old_mmcv, "linear", "start")],
)
@pytest.mark.parametrize(
    ("steps", "warmup", "start"), [(1000, 200, 1e-3), (7, 6, 0.1), (9, 1, 0.5)]
)
def test_warmups_are_those_of_the_sources(theirs, ramp, decay_from, steps, warmup, start):
    ours = poly(steps, warmup=Warmup(warmup, ramp, start, decay_from))
    for step in range(steps + 1):
        assert ours(step) == pytest.approx(
            theirs(step, steps=steps, warmup=warmup, start=start), abs=1e-12
        )


@pytest.mark.parametrize("make", [poly, cosine, constant])
def test_a_decay_from_the_warmup_reaches_the_full_rate(make):
    factor = make(100, warmup=Warmup(20, start=0.0, decay_from="warmup"))
    assert (factor(0), factor(10), factor(20)) == (0, 0.5, 1)
    assert max(map(factor, range(100))) == 1
    assert poly(100, warmup=20)(19) < 1
    assert make(100, warmup=Warmup(20))(7) == make(100, warmup=20)(7)
    assert make(100, warmup=Warmup(0, decay_from="warmup"))(33) == make(100)(33)


@pytest.mark.parametrize(
    ("warmup", "match"),
    [
        (Warmup(2, "exponential"), r"above 0, such as 0\.001 .*; got None"),
        (Warmup(2, "exponential", 0.0), "above 0"),
        (Warmup(2, start=1.5), r"in 0\.\.1.* got 1\.5"),
        (Warmup(2, start=-0.1), r"in 0\.\.1"),
        (Warmup(2, "cosine"), "'linear' or 'exponential'"),
        (Warmup(2, decay_from="end"), "'start' or 'warmup'"),
        (Warmup(10), "shorter than the training"),
    ],
)
def test_warmups_that_cannot_be(warmup, match):
    with pytest.raises(ValueError, match=match):
        poly(10, warmup=warmup)


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
