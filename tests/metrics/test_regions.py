"""Connected regions: shapes that are counted by eye."""

from __future__ import annotations

import pytest
import torch

from segkit.data import nuclei
from segkit.metrics import count_regions, matched_regions, number_regions


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


def test_a_region_is_matched_that_is_neither_merged_nor_in_pieces():
    truth = torch.zeros(9, 20, dtype=torch.bool)
    truth[1:4, 1:5] = truth[1:4, 6:10] = truth[5:8, 1:9] = truth[5:8, 12:18] = True
    merged, pieces = truth.clone(), truth.clone()
    merged[1:4, 5] = True  # one region of the first two
    pieces[5:8, 4:6] = False  # two of the third, each less than half of it
    assert [matched_regions(x, truth) for x in (truth, merged, pieces)] == [4, 2, 3]
    assert [count_regions(x) for x in (truth, merged, pieces)] == [4, 3, 5]
    assert matched_regions(~truth, truth) == matched_regions(truth & False, truth) == 0
    nearly = truth.clone()
    nearly[5:8, 12] = False  # 15 of 18 pixels
    assert [matched_regions(nearly, truth, above=a) for a in (0.5, 0.8, 0.9)] == [4, 4, 3]


def test_what_cannot_be_matched_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3, 2\).* one shape"):
        matched_regions(torch.zeros(2, 3), torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"above=0.3.* 0.5 to 1"):
        matched_regions(torch.zeros(2, 3), torch.zeros(2, 3), above=0.3)


def test_a_region_has_one_number_and_no_two_have_the_same():
    mask = torch.tensor([[1, 0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 2]])
    numbers = number_regions(mask)
    assert numbers.dtype == torch.int64
    assert torch.equal(numbers > 0, mask > 0)
    assert numbers[0, 0] == numbers[1, 0] == numbers[2, 1]  # by a corner
    assert len(numbers[numbers > 0].unique()) == count_regions(mask) == 3
    with pytest.raises(ValueError, match="give"):
        number_regions(torch.zeros(1, 2, 3))
