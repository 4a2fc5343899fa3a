"""The permutohedral lattice against the sum over all pairs."""

from __future__ import annotations

import pytest
import torch

from segkit.crf.kernels import (
    ExactGaussian,
    normalised_kernel,
    positions,
    positions_and_colours,
)
from segkit.crf.lattice import PermutohedralLattice, _enclosing_simplex, _onto_the_plane


def test_exact_gaussian_by_hand():
    features = torch.tensor([[0.0], [1.0], [3.0]])
    filtered = ExactGaussian(features)(torch.eye(3))
    distance = torch.tensor([[0.0, 1, 3], [1, 0, 2], [3, 2, 0]])
    torch.testing.assert_close(filtered, torch.exp(-distance.square() / 2))


def test_exact_gaussian_is_the_same_in_chunks(monkeypatch):
    features, values = torch.rand(50, 3), torch.rand(50, 2)
    whole = ExactGaussian(features)(values)
    monkeypatch.setattr("segkit.crf.kernels._ENTRIES", 350)  # 7 rows at a time
    torch.testing.assert_close(ExactGaussian(features)(values), whole)


@pytest.mark.parametrize("dims", [1, 2, 3, 5])
def test_points_are_the_weighted_mean_of_the_corners_of_their_cell(dims):
    features = torch.randn(500, dims) * 3
    corner0, order, weights = _enclosing_simplex(features)
    corners = [corner0]
    for moved in order.flip(1).T[:-1]:
        step = torch.ones_like(corner0)
        step.scatter_(1, moved[:, None], -dims)
        corners.append(corners[-1] + step)
    corners = torch.stack(corners, 1)  # (N, d + 1, d + 1)
    assert (corners.sum(2) == 0).all()
    assert ((corners % (dims + 1)) == torch.arange(dims + 1)[:, None]).all()
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(1), torch.ones(500))
    mean = (corners * weights[..., None]).sum(1)
    expected = (features.double() @ _onto_the_plane(dims)).float()
    torch.testing.assert_close(mean, expected, atol=1e-4, rtol=1e-5)


def test_the_map_to_the_plane_keeps_angles_and_scales_alike():
    for dims in (1, 2, 5):
        plane = _onto_the_plane(dims)
        assert plane.sum(1).abs().max() < 1e-12
        variance = (dims + 1) ** 2 * 2 / 3
        torch.testing.assert_close(plane @ plane.T, torch.eye(dims).double() * variance)


# Measured over 5 seeds: at most 0.0009, 0.0017 and 0.0074.
@pytest.mark.parametrize(("dims", "bound"), [(1, 0.01), (2, 0.01), (5, 0.02)])
def test_averages_of_noise_are_near_the_exact_ones(dims, bound):
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2000, dims, generator=generator) * 4
    values = torch.rand(2000, 3, generator=generator)
    fast, exact = (
        normalised_kernel(features, method=method, normalisation="pixel")(values)
        for method in ("fast", "exact")
    )
    assert ((fast - exact).norm() / exact.norm()).item() < bound
    assert (fast - exact).abs().max().item() < 5 * bound


def test_a_step_is_blurred_with_the_right_width():
    """On a line of pixels the average of a step is the Gaussian's integral."""
    width = 6.0
    grid = torch.zeros(3, 40, 60, dtype=torch.uint8)
    step = (torch.arange(60) >= 30).float().expand(40, 60).reshape(-1, 1)
    kernel = normalised_kernel(positions(grid, width), method="fast", normalisation="pixel")
    row = kernel(step).view(40, 60)[20, 12:48]
    offset = torch.arange(12, 48) - 29.5
    integral = 0.5 * (1 + torch.erf(offset / width / 2**0.5))
    assert (row - integral).abs().max() < 0.05  # measured 0.015


def test_symmetric_normalisation_by_hand():
    features, values = torch.rand(30, 2), torch.rand(30, 4)
    matrix = torch.exp(-torch.cdist(features, features).square() / 2)
    scale = matrix.sum(1).rsqrt()
    kernel = normalised_kernel(features, method="exact", normalisation="symmetric")
    torch.testing.assert_close(kernel(values), scale[:, None] * matrix * scale @ values)


def test_values_pass_a_corner_that_no_point_touches():
    """Two points 2 widths apart, alone in five dimensions, still hear of each other."""
    features = torch.zeros(2, 5)
    features[1, 0] = 2
    heard = normalised_kernel(features, method="fast", normalisation="pixel")(torch.eye(2))
    assert 0.02 < heard[0, 1].item() < 0.3  # exactly 0.119, measured 0.145


def test_channels_do_not_mix_and_repeat_to_the_last_bit():
    lattice = PermutohedralLattice(torch.rand(300, 5) * 3)
    values = torch.rand(300, 70)
    filtered = lattice(values)
    assert filtered.equal(lattice(values))
    torch.testing.assert_close(lattice(values[:, 40:41]), filtered[:, 40:41])


def test_features_of_a_picture():
    image = torch.arange(3 * 2 * 4, dtype=torch.uint8).view(3, 2, 4)
    features = positions_and_colours(image, 2.0, 4.0)
    assert features.shape == (8, 5)
    assert features.dtype == torch.float32
    # Pixel (y=1, x=2) is number 6.
    torch.testing.assert_close(features[6], torch.tensor([0.5, 1.0, 6 / 4, 14 / 4, 22 / 4]))


def test_too_many_cells_for_an_integer_are_an_error():
    with pytest.raises(ValueError, match="wider Gaussians"):
        PermutohedralLattice(torch.tensor([[0.0] * 5, [1e6] * 5]))


@pytest.mark.parametrize("value", [1e20, -1e20, float("inf"), float("nan")])
def test_features_that_no_integer_counts_are_an_error(value):
    with pytest.raises(ValueError, match="the features reach up to .* wider Gaussians"):
        PermutohedralLattice(torch.tensor([[0.0, 1.0], [value, 0.0]]))


def test_a_large_picture_fits_at_a_width_of_1():
    box = [[0.0, 1023], [0.0, 2047], [0.0, 255], [0.0, 255], [0.0, 255]]
    corners = torch.cartesian_prod(*map(torch.tensor, box))
    assert len(PermutohedralLattice(corners)) >= len(corners)
