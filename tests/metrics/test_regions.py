"""Connected regions: shapes that are counted by eye."""

from __future__ import annotations

import pytest
import torch

from segkit.data import nuclei
from segkit.metrics import count_regions


def of(*rows):
    return torch.tensor([[sign == "#" for sign in row] for row in rows])


@pytest.mark.parametrize(
    ("mask", "count"),
    [
        (of("....", "...."), 0),
        (of("####", "####"), 1),
        (of("#.#.", ".#.#"), 1),  # corners connect
        (of("#.#", "#.#", "#.#"), 2),
        (of("#####", "....#", "###.#", "#.#.#", "#...#", "#####"), 1),  # a spiral, a long way round
        (of("#####", "#...#", "#.#.#", "#...#", "#####"), 2),  # one within another
    ],
)
def test_by_eye(mask, count):
    assert count_regions(mask) == count
    assert count_regions(mask.to(torch.uint8) * 7) == count


def test_small_ones_may_be_left_out():
    mask = of("##.#", "##..")
    assert [count_regions(mask, least=least) for least in (1, 2, 4, 5)] == [2, 1, 1, 0]


def test_all_nuclei_of_an_image_in_the_box():
    stem = "4d4ebfca"
    (path,) = nuclei.ROOT.glob(f"*/masks/{stem}.png")
    assert count_regions(nuclei.read_mask(path) == 1, least=20) == nuclei.instances(stem).max()


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 2, 3\)"):
        count_regions(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="least=0"):
        count_regions(torch.zeros(2, 3), least=0)
