"""Every pair of ``tests/parity/``: the same weights, the same numbers."""

import math
from pathlib import Path

import pytest
import torch

from segbook.certificates.parity import Pair, compare, largest, load_pairs


@pytest.mark.full
@pytest.mark.parametrize("pair", load_pairs(Path(__file__).parent), ids=lambda pair: pair.id)
def test_the_same_weights_give_the_same_numbers(pair):
    pytest.importorskip(pair.package, reason="pip install 'segbook[parity]'")
    differences = compare(pair)
    assert set(differences) == set(pair.modes)
    assert math.isfinite(largest(differences))
    assert largest(differences) <= pair.tolerance, differences


def conv_pair(**changes):
    def build():
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))

    arguments = {"name": "a", "package": "torch", "reference": "b", "ours": build, "theirs": build}
    return Pair(**arguments | changes)


def test_equal_networks_are_equal():
    assert largest(compare(conv_pair())) == 0


def test_a_difference_shows():
    def other():
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4, eps=1e-3))

    assert largest(compare(conv_pair(theirs=other))) > 1e-5


def test_a_tensor_without_a_partner_is_named():
    with pytest.raises(ValueError, match=r"0\.bias"):
        compare(conv_pair(keys=[(r"^0\.bias", "0.other")]))


def test_what_is_not_finite_is_no_agreement():
    def call(model, images):
        return {"logits": model(images) * float("nan")}

    with pytest.raises(ValueError, match="not finite"):
        compare(conv_pair(run_theirs=call, run_ours=call))


def test_a_pair_that_compares_nothing_is_refused():
    with pytest.raises(ValueError, match="no result"):
        compare(conv_pair(run_theirs=lambda model, images: {}))
