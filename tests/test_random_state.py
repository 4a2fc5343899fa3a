"""The generators of Python, numpy and torch are seeded, kept and put back together."""

import random

import numpy as np
import pytest
import torch

from segkit import random_state


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002


def test_a_seed_is_one_for_all():
    random_state.seed(3)
    first = draw()
    assert draw() != first
    random_state.seed(3)
    assert draw() == first
    random_state.seed(2**32 + 3)  # Python takes all of it, the others 32 bits
    assert draw()[1:] == first[1:]


def test_a_state_is_put_back():
    state, before = random_state.state(), random_state.digest()
    first = draw()
    assert random_state.digest() != before
    random_state.restore(state)
    assert random_state.digest() == before
    assert draw() == first


@pytest.mark.parametrize(
    "inside", [random_state.preserved, lambda: random_state.isolated(1)], ids=["kept", "seeded"]
)
def test_what_is_drawn_inside_is_not_seen_outside(inside):
    before = random_state.digest()
    with pytest.raises(ZeroDivisionError), inside():  # noqa: PT012
        draw()
        random_state.seed(9)
        raise ZeroDivisionError
    assert random_state.digest() == before


def test_inside_it_is_seeded():
    with random_state.isolated(7):
        first = draw()
    draw()
    with random_state.isolated(7):
        assert draw() == first


@pytest.mark.parametrize("state", [None, {}, {"torch": torch.zeros(3)}, [1]])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(ValueError, match="no state of random numbers"):
        random_state.restore(state)
