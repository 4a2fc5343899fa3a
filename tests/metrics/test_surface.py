"""Distances of surfaces, by hand and against two other implementations; scores by case."""

import math

import numpy as np
import pytest
import torch

from segkit.metrics import CaseScores, hd95


def balls(seed, size=(14, 16, 12)):
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    made = [
        np.linalg.norm((grid - random.uniform(4, 9, 3)) / random.uniform(0.7, 1.4, 3), axis=-1)
        < random.uniform(2.5, 5)
        for _ in range(2)
    ]
    return [torch.from_numpy(one) for one in made]


def test_by_hand():
    one, two = torch.zeros(2, 9, 9, 9, dtype=torch.bool)
    one[2, 4, 4] = two[5, 4, 4] = True
    assert hd95(one, two, (1, 1, 1)) == 3
    assert hd95(one, two, (2.5, 1, 1)) == 7.5  # in mm, along that axis
    assert hd95(one, one, (1, 1, 1)) == 0
    none = torch.zeros_like(one)
    assert math.isnan(hd95(none, none, (1, 1, 1)))
    assert hd95(one, none, (1, 1, 1)) == hd95(none, one, (1, 1, 1)) == math.inf


@pytest.mark.parametrize("seed", range(4))
def test_monai_has_the_same(seed):
    metrics = pytest.importorskip("monai.metrics")
    one, two = balls(seed)
    spacing = (1.0, 1.5, 0.7)
    theirs = metrics.compute_hausdorff_distance(
        one[None, None].float(), two[None, None].float(), include_background=True,
        percentile=95, spacing=spacing,
    )  # fmt: skip
    assert hd95(one, two, spacing) == pytest.approx(theirs.item(), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_deepminds_is_near(seed):
    """It takes surfaces between voxels, weighted by their area: within a voxel's diagonal."""
    surface_distance = pytest.importorskip("surface_distance")
    one, two = balls(seed)
    spacing = (1.0, 1.5, 0.7)
    found = surface_distance.compute_surface_distances(one.numpy(), two.numpy(), spacing)
    theirs = surface_distance.compute_robust_hausdorff(found, 95)
    assert abs(hd95(one, two, spacing) - theirs) < math.hypot(*spacing)


def test_scores_of_two_cases():
    scores = CaseScores(["background", "front", "back"])
    truth = torch.zeros(4, 4, 4, dtype=torch.uint8)
    truth[0], truth[3] = 1, 2
    prediction = truth.clone()
    prediction[0, :2] = 0  # half of the front
    first = scores.add("half", prediction, truth, (1, 1, 1))
    assert first["dice"] == {"front": pytest.approx(2 * 8 / 24), "back": 1.0}
    assert first["hd95"]["front"] == pytest.approx(2)
    assert first["hd95"]["back"] == 0
    lost = torch.where(truth == 1, 0, truth)
    scores.add("lost", lost, truth, (1, 1, 1))
    found = scores.summary()
    assert found["dice"] == {"front": pytest.approx(1 / 3), "back": 1.0}
    assert found["mean_dice"] == pytest.approx(2 / 3)
    assert found["hd95"]["front"] == pytest.approx(2)  # of the one case that has a distance
    assert found["missing"] == {"front": 1, "back": 0}
    assert [*found["each"]] == ["lost", "half"]


def test_void_counts_for_nothing():
    scores = CaseScores(["background", "front"])
    truth = torch.full((3, 3, 3), 255, dtype=torch.uint8)
    truth[0] = 1
    scores.add("a", torch.ones(3, 3, 3, dtype=torch.uint8), truth, (1, 1, 1))
    assert scores.summary()["mean_dice"] == 1
    assert scores.summary()["mean_hd95"] == 0


def test_a_class_that_nobody_has_counts_for_nothing():
    scores = CaseScores(["background", "front", "back"])
    truth = torch.zeros(3, 3, 3, dtype=torch.uint8)
    truth[0] = 1
    assert scores.add("a", truth, truth, (1, 1, 1))["dice"] == {"front": 1.0, "back": None}
    assert scores.summary()["mean_dice"] == 1
    assert CaseScores(["a", "b"]).summary()["mean_dice"] is None
