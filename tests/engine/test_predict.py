import math
import sys

import pytest
import torch
from torch import nn

import segkit
from segkit import engine
from segkit.metrics import ConfusionMatrix
from segkit.outputs import SegOutput

predicting = sys.modules["segkit.engine.predict"]  # its function has the same name


class Pointwise(nn.Module):
    """Logits that depend on the pixel alone: windows, flips and whole images must agree."""

    def forward(self, images):
        assert not self.training
        return SegOutput(torch.cat([images[:, :1] * 3, images[:, 1:2], -images[:, :1]], 1), {})


class Positional(nn.Module):
    """Prefers class 0 on the left half of what it is shown."""

    def forward(self, images):
        logits = torch.zeros(len(images), 2, *images.shape[-2:])
        logits[:, 0, :, : images.shape[-1] // 2] = 4.0
        return SegOutput(logits, {})


images = torch.randn(2, 3, 70, 90, generator=torch.Generator().manual_seed(0))


def test_whole_is_softmax():
    probs = engine.predict_probs(Pointwise(), images)
    torch.testing.assert_close(probs, Pointwise().eval()(images).logits.softmax(1))


@pytest.mark.parametrize("window", [(32, 32), (64, 48), (100, 100), (70, 33)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_windows_agree_with_whole_for_a_pointwise_network(window, overlap):
    whole = engine.predict_probs(Pointwise(), images)
    slid = engine.predict_probs(Pointwise(), images, window=window, overlap=overlap)
    torch.testing.assert_close(slid, whole, rtol=1e-4, atol=1e-6)


def test_flip_averages_the_mirrored_view():
    # Seen plainly the left is class 0, seen in the mirror the right is: the mean is even.
    probs = engine.predict_probs(Positional(), images, flip=True)
    assert probs[:, 0].amax() - probs[:, 0].amin() < 1e-6


def test_scales_are_averaged_at_the_images_size():
    probs = engine.predict_probs(Pointwise(), images, scales=(0.5, 1.0, 1.5))
    assert probs.shape == (2, 3, 70, 90)
    torch.testing.assert_close(probs.sum(1), torch.ones(2, 70, 90))


def test_labels_and_mode_given_back():
    model = Pointwise().train()
    labels = engine.predict(model, images)
    assert model.training
    assert labels.dtype == torch.uint8
    assert torch.equal(labels.long(), Pointwise().eval()(images).logits.argmax(1))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"scales": ()}, "scales"),
        ({"scales": (0.0,)}, "scales"),
        ({"scales": (math.nan,)}, "scales"),
        ({"window": 64}, "height, width"),
        ({"window": (64.5, 64)}, "32"),
        ({"window": (64, 64), "overlap": 1.0}, "overlap"),
        ({"window": (8, 64)}, "32"),
    ],
)
def test_impossible(options, match):
    with pytest.raises(ValueError, match=match):
        engine.predict_probs(Pointwise(), images, **options)


def test_one_image_is_a_batch_of_one():
    with pytest.raises(ValueError, match=r"\(3, 70, 90\): give \(B, C, H, W\)"):
        engine.predict(Pointwise(), images[0])


def test_evaluate_refuses_an_unknown_precision():
    with pytest.raises(ValueError, match="float23.*bfloat16"):
        engine.evaluate(nn.Conv2d(3, 3, 1), [], num_classes=3, precision="float23")


def test_evaluate_equals_counting_by_hand():
    class Network(Pointwise):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))  # a network has a device

    labels = torch.randint(0, 3, (2, 70, 90))
    labels[0, :5] = 255
    model = Network().train()
    pairs = [(images[:1], labels[:1]), (images[1:], labels[1:])]
    counts = engine.evaluate(model, pairs, num_classes=3)
    assert model.training
    expected = ConfusionMatrix(3)
    expected.update(Network().eval()(images).logits.argmax(1), labels)
    assert torch.equal(counts.matrix, expected.matrix)


def tiny_unet(channels=(2, 4, 4)):
    torch.manual_seed(0)
    return segkit.create_model("unet", num_classes=3, channels=channels).eval()


@pytest.mark.parametrize(
    ("channels", "margin", "window", "size"),
    [((2, 4, 4), 20, (100, 131), (130, 171)), ((2, 2, 2, 4, 4), 92, (224, 260), (66, 170))],
)
def test_overlap_tiles_are_the_whole_image(channels, margin, window, size):
    model = tiny_unet(channels)
    one = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    whole = engine.predict_probs(model, one)
    tiles = engine.predict_probs(model, one, window=window, margin=margin)
    torch.testing.assert_close(tiles, whole, rtol=0, atol=1e-5)
    blended = engine.predict_probs(model, one, window=tuple(side // 2 for side in window))
    assert (blended - whole).abs().max() > 1e-3  # that it is the margin which does it


def test_a_margin_too_small_is_not_the_whole_image():
    model = tiny_unet((2, 2, 2, 4, 4))
    one = torch.randn(1, 3, 66, 170, generator=torch.Generator().manual_seed(1))
    tiles = engine.predict_probs(model, one, window=(128, 128), margin=32)
    assert (tiles - engine.predict_probs(model, one)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"margin": 32}, "of a window"),
        ({"margin": -1, "window": (64, 64)}, "0 or more"),
        ({"margin": 20, "window": (64, 128)}, r"margin of 20 .*rounded up to 32, .*96 or more"),
    ],
)
def test_impossible_margins(options, match):
    with pytest.raises(ValueError, match=match):
        engine.predict_probs(Pointwise(), images, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"overlap": 0.3, "flip": True}, {"margin": 32}],
)
@pytest.mark.parametrize("bands", [False, True])
def test_blocks_are_the_windowed_prediction(monkeypatch, options, bands):
    monkeypatch.setattr(predicting, "BLOCK", 32)
    monkeypatch.setattr(predicting, "STRIP", 0 if bands else 2**20)
    model = tiny_unet()
    one = torch.randn(1, 3, 150, 410, generator=torch.Generator().manual_seed(2))
    asked, seen = [], torch.full((150, 410), 255, dtype=torch.uint8)

    def read(rows, columns):
        asked.append((rows.stop - rows.start, columns.stop - columns.start))
        return one[..., rows, columns]

    blocks = engine.predict_blocks(model, read, (150, 410), window=(96, 100), **options)
    widest = 0
    for rows, columns, labels in blocks:
        assert (seen[rows, columns] == 255).all()  # each pixel once
        seen[rows, columns] = labels
        widest = max(widest, columns.stop - columns.start)
    assert torch.equal(seen, engine.predict(model, one, window=(96, 100), **options)[0])
    assert max(asked) <= (96, 100)
    assert widest == (192 if bands else 410)


def test_blocks_refuse_what_prediction_refuses():
    with pytest.raises(ValueError, match="overlap"):
        next(engine.predict_blocks(Pointwise(), images, (70, 90), window=(64, 64), overlap=1.0))
