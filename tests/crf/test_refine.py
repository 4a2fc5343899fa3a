"""The CRF's refinement: against its exact form, on pictures, and at its edges."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segkit.crf import refine
from segkit.data import SyntheticStreets


def street(index: int, noise: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A picture, its mask, and probabilities as of a network: blurred, and in places wrong."""
    image, mask = SyntheticStreets("val", size=(40, 50))[index]
    truth = F.one_hot(mask.long().clamp_max(10), 11).movedim(2, 0).float()
    blurred = F.avg_pool2d(truth[None], 9, 1, 4, count_include_pad=False)[0]
    generator = torch.Generator().manual_seed(index)
    scores = 4 * blurred + noise * torch.randn(blurred.shape, generator=generator)
    return image, mask, scores.softmax(0)


def two_colours() -> tuple[torch.Tensor, torch.Tensor]:
    """A red disc on a blue ground with some texture, and its mask."""
    y, x = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
    mask = ((y - 22) ** 2 + (x - 30) ** 2 < 15**2).long()
    ground, disc = torch.tensor([40, 60, 200]), torch.tensor([200, 50, 40])
    image = torch.where(mask.bool(), disc[:, None, None], ground[:, None, None])
    texture = torch.randint(-4, 5, image.shape, generator=torch.Generator().manual_seed(0))
    return (image + texture).to(torch.uint8), mask


def blurred_and_noisy(mask: torch.Tensor) -> torch.Tensor:
    truth = F.one_hot(mask, 2).movedim(2, 0).float()
    blurred = F.avg_pool2d(truth[None], 13, 1, 6, count_include_pad=False)[0]
    noise = torch.randn(blurred.shape, generator=torch.Generator().manual_seed(1))
    return (3 * blurred + noise).softmax(0)


def iou(probs: torch.Tensor, mask: torch.Tensor) -> float:
    found = probs.argmax(0) == 1
    return ((found & (mask == 1)).sum() / (found | (mask == 1)).sum()).item()


# Measured over streets 0..5 and both normalisations: labels equal at 99.35 % or more, mean
# difference 0.0011 or less.
@pytest.mark.slow
@pytest.mark.parametrize("normalisation", ["pixel", "symmetric"])
@pytest.mark.parametrize("index", range(4))
def test_fast_agrees_with_exact(index, normalisation):
    image, mask, probs = street(index, noise=0.5)
    fast = refine(image, probs, normalisation=normalisation)
    exact = refine(image, probs, normalisation=normalisation, method="exact")
    assert (fast.argmax(0) == exact.argmax(0)).float().mean() >= 0.99
    assert (fast - exact).abs().mean() < 0.002
    # Not because nothing happened:
    assert (fast - probs).abs().mean() > 0.05


# Measured over 4 discs: mean difference 0.0013, labels equal at 99.6 % or more. After ten rounds
# without smoothness it may be 90 %: of a region of noise that favours no class, any difference
# grows until one of the two has won it.
@pytest.mark.parametrize("smoothness", [0.0, 3.0])
def test_one_round_of_fast_agrees_with_exact_where_classes_tie(smoothness):
    image, mask = (each[..., 8:40, 12:52] for each in two_colours())
    noise = torch.randn(2, *mask.shape, generator=torch.Generator().manual_seed(0))
    fast, exact = (
        refine(image, noise.softmax(0), iterations=1, smoothness_weight=smoothness, method=method)
        for method in ("fast", "exact")
    )
    assert (fast - exact).abs().mean() < 0.004
    assert (fast.argmax(0) == exact.argmax(0)).float().mean() > 0.985


def test_one_round_by_hand():
    """Three pixels in a row; the sums written out from the paper's equations."""
    image = torch.tensor([0, 10, 200], dtype=torch.uint8).expand(3, 1, 3)
    probs = torch.tensor([[0.9, 0.4, 0.2], [0.1, 0.6, 0.8]])[:, None]
    colour, place = torch.tensor([0.0, 10, 200]), torch.arange(3.0)
    near = (place[:, None] - place).square() / 2
    alike = 3 * (colour[:, None] - colour).square() / 2
    appearance = torch.exp(-near / 2.0**2 - alike / 15.0**2)
    smoothness = torch.exp(-near / 1.5**2)
    appearance /= appearance.sum(1, keepdim=True)
    smoothness /= smoothness.sum(1, keepdim=True)
    q = probs[:, 0].T
    message = 2.0 * appearance @ q + 0.7 * smoothness @ q
    costs = torch.tensor([[0.0, 1.3], [1.3, 0.0]])
    expected = (q.log() - message @ costs).softmax(1).T[:, None]
    options = {
        "iterations": 1,
        "appearance_weight": 2.0,
        "appearance_position": 2.0,
        "appearance_colour": 15.0,
        "smoothness_weight": 0.7,
        "smoothness_position": 1.5,
        "method": "exact",
    }
    torch.testing.assert_close(refine(image, probs, compatibility=1.3, **options), expected)
    torch.testing.assert_close(refine(image, probs, compatibility=costs, **options), expected)


def test_edges_follow_the_colours():
    image, mask = two_colours()
    probs = blurred_and_noisy(mask)
    assert iou(probs, mask) < 0.80  # measured 0.69
    assert iou(refine(image, probs), mask) > 0.98
    # Without colours the noise goes, but not the blur.
    assert iou(refine(image, probs, appearance_weight=0), mask) < 0.98


def test_a_single_wrong_pixel_is_removed():
    image = torch.full((3, 21, 23), 90, dtype=torch.uint8)
    probs = torch.tensor([0.8, 0.2])[:, None, None].repeat(1, 21, 23)
    probs[:, 10, 11] = torch.tensor([0.2, 0.8])
    refined = refine(image, probs)
    assert (probs.argmax(0) == 1).sum() == 1
    assert (refined.argmax(0) == 0).all()


def test_certain_pixels_stay():
    image, mask = SyntheticStreets("val", size=(40, 50))[0]
    certain = F.one_hot(torch.randint(0, 4, (40, 50)), 4).movedim(2, 0).float()
    refined = refine(image, certain)
    assert refined.isfinite().all()
    torch.testing.assert_close(refined, certain)


def test_on_an_even_picture_the_appearance_kernel_is_a_smoothing():
    image = torch.full((3, 24, 30), 128, dtype=torch.uint8)
    probs = torch.rand(3, 24, 30).softmax(0)
    of_both = [
        refine(image, probs, smoothness_weight=0, appearance_weight=2, appearance_position=4),
        refine(image, probs, smoothness_weight=2, appearance_weight=0, smoothness_position=4),
    ]
    exact = refine(
        image,
        probs,
        smoothness_weight=2,
        appearance_weight=0,
        smoothness_position=4,
        method="exact",
    )
    for refined in of_both:
        assert (refined - exact).abs().max() < 0.02


def test_what_does_nothing():
    image, _, probs = street(0, noise=1)
    torch.testing.assert_close(refine(image, probs, iterations=0), probs)
    torch.testing.assert_close(
        refine(image, probs, appearance_weight=0, smoothness_weight=0), probs
    )
    torch.testing.assert_close(refine(image, probs, compatibility=0), probs)


def test_every_round_is_what_so_many_rounds_give():
    image, _, probs = street(0, noise=1)
    rounds = refine(image, probs, iterations=2, every_round=True)
    assert rounds.shape == (3, *probs.shape)
    assert rounds.is_contiguous()
    for count, found in enumerate(rounds):
        assert found.equal(refine(image, probs, iterations=count))
    assert refine(image, probs, iterations=0, every_round=True).shape == (1, *probs.shape)


def test_labels_that_go_together_cost_less():
    image = torch.full((3, 12, 12), 70, dtype=torch.uint8)
    probs = torch.tensor([0.40, 0.35, 0.25])[:, None, None].repeat(1, 12, 12)
    costs = torch.tensor([[0.0, 1, 1], [1, 0, 0], [1, 0, 0]])  # 1 and 2 get along
    assert (refine(image, probs).argmax(0) == 0).all()
    assert (refine(image, probs, compatibility=costs).argmax(0) == 1).all()


@pytest.mark.parametrize("shape", [(2, 33, 47), (150, 17, 9), (5, 1, 40), (2, 1, 1)])
def test_probabilities_of_any_shape(shape):
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, *shape[1:]), generator=generator, dtype=torch.uint8)
    probs = (10 * torch.randn(shape, generator=generator)).softmax(0)
    probs[:, 0, 0] = 0
    probs[1, 0, 0] = 1
    kept = probs.clone()
    refined = refine(image, probs)
    assert refined.shape == shape
    assert refined.dtype == torch.float32
    assert refined.is_contiguous()
    torch.testing.assert_close(refined.sum(0), torch.ones(shape[1:]))
    assert refined.min() >= 0
    assert probs.equal(kept)
    assert refined.equal(refine(image, probs))


def test_layout_and_type_of_the_input_do_not_matter():
    image, _, probs = street(1, noise=0.5)
    expected = refine(image, probs)
    strided = probs.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    pixels = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert refine(pixels, strided).equal(expected)
    assert refine(image, probs.double()).dtype == torch.float32
    assert not refine(image, probs.clone().requires_grad_()).requires_grad
    half = refine(image, probs.bfloat16())
    assert (half - expected).abs().mean() < 0.01


IMAGE = torch.zeros(3, 6, 7, dtype=torch.uint8)
COLOURS = torch.arange(126, dtype=torch.uint8).view(3, 6, 7)
PROBS = torch.full((2, 6, 7), 0.5)


@pytest.mark.parametrize(
    ("image", "probs", "match"),
    [
        (IMAGE.float(), PROBS, "image is torch.float32"),
        (IMAGE[:1], PROBS, r"image is .* \(1, 6, 7\)"),
        (IMAGE[None], PROBS, "image is"),
        (IMAGE, PROBS.long(), "probs are torch.int64"),
        (IMAGE, PROBS[:1], "K >= 2"),
        (IMAGE, PROBS[None], "probs are"),
        (IMAGE, PROBS[:, :3], "resize the logits"),
        (IMAGE[:, :0], PROBS[:, :0], "no pixels"),
        (IMAGE, PROBS * torch.nan, "NaN"),
        (IMAGE, PROBS * 4 - 2, "softmax"),
        (IMAGE, PROBS / 2, "softmax"),
        (IMAGE, PROBS.to("meta"), "probs are on meta"),
    ],
)
def test_wrong_tensors(image, probs, match):
    with pytest.raises(ValueError, match=match):
        refine(image, probs)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"iterations": -1}, "iterations=-1"),
        ({"method": "quick"}, "method='quick'.*'fast', 'exact'"),
        ({"normalisation": "none"}, "'pixel', 'symmetric'"),
        ({"appearance_weight": -1}, "appearance_weight=-1"),
        ({"smoothness_weight": float("nan")}, "smoothness_weight=nan"),
        ({"appearance_position": 0}, "appearance_position=0"),
        ({"appearance_colour": 0}, "appearance_colour=0"),
        ({"smoothness_position": float("inf")}, "smoothness_position=inf"),
        ({"compatibility": torch.ones(3, 3)}, r"\(2, 2\)"),
        ({"compatibility": torch.tensor([[0.0, 1], [2, 0]])}, "not symmetric"),
        ({"compatibility": float("nan")}, "compatibility is nan: give costs of at most 1e"),
        ({"compatibility": -1e7}, "compatibility is -10000000.0"),
        ({"appearance_weight": 1e39}, r"appearance_weight=1e\+39: give a number in 0..1e\+06"),
        ({"appearance_colour": 1e-40}, "appearance_colour=1e-40: give a number in 0.01..1e"),
    ],
)
def test_wrong_options(options, match):
    with pytest.raises(ValueError, match=match):
        refine(IMAGE, PROBS, **options)


def test_widths_beyond_the_lattice():
    widths = {"appearance_position": 0.01, "appearance_colour": 0.01}
    with pytest.raises(ValueError, match=r"the features span [0-9]+ x .* wider Gaussians"):
        refine(COLOURS, PROBS, **widths)
    assert refine(COLOURS, PROBS, method="exact", **widths).isfinite().all()


@pytest.mark.parametrize("method", ["fast", "exact"])
@pytest.mark.parametrize(
    "options",
    [
        {"appearance_weight": 1e6, "smoothness_weight": 1e6, "compatibility": 1e6},
        {"compatibility": torch.full((2, 2), 1e6)},
        {"appearance_position": 1e6, "appearance_colour": 1e6, "smoothness_position": 1e6},
        {"appearance_position": 0.01, "smoothness_position": 0.01},
        {"normalisation": "symmetric", "compatibility": -1e6},
    ],
)
def test_extremes_that_float32_can_hold(options, method):
    probs = torch.rand(2, 6, 7, generator=torch.Generator().manual_seed(0)).softmax(0)
    refined = refine(COLOURS, probs, method=method, **options)
    torch.testing.assert_close(refined.sum(0), torch.ones(6, 7))
