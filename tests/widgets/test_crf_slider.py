"""The CRF slider: its rounds are the library's, its settings are checked, its script cuts right."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from segbook.widgets import CrfSlider  # noqa: E402
from segbook.widgets.crf_slider import DEFAULTS  # noqa: E402
from segkit.crf import refine  # noqa: E402

KNOWN = {"classes": ("ground", "disc"), "palette": ((40, 60, 200), (200, 50, 40))}
PRESETS = {"own": {}, "narrow": {"appearance_position": 9.0}}


@pytest.fixture(scope="module")
def disc() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A picture, noisy probabilities and the truth, with a void line."""
    y, x = torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")
    truth = ((y - 11) ** 2 + (x - 15) ** 2 < 64).long()
    image = torch.where(truth.bool(), 200, 60).byte().expand(3, 24, 32).contiguous()
    noise = torch.randn(2, 24, 32, generator=torch.Generator().manual_seed(0))
    probs = (torch.stack([1 - truth, truth]) + noise).softmax(0)
    truth[0] = 255
    return image, probs, truth


@pytest.fixture(scope="module")
def slider(disc) -> CrfSlider:
    image, probs, truth = disc
    return CrfSlider(image, probs, truth, iterations=3, presets=PRESETS, progress=False, **KNOWN)


def test_rounds_are_the_librarys(disc, slider):
    image, probs, _ = disc
    assert (slider.labels(0) == probs.argmax(0).numpy()).all()
    for terms, weights in (("both", {}), ("appearance", {"smoothness_weight": 0}),
                           ("smoothness", {"appearance_weight": 0})):  # fmt: skip
        sent = np.frombuffer(zlib.decompress(slider.maps[f"narrow/{terms}"]), np.uint8)
        expected = refine(image, probs, iterations=2, **PRESETS["narrow"], **weights).argmax(0)
        assert (sent.reshape(4, 24, 32)[2] == expected.numpy()).all()


def test_what_is_shown_of_the_settings_is_what_was_used(slider):
    import inspect

    defaults = {k: v.default for k, v in inspect.signature(refine).parameters.items()}
    assert {name: defaults[name] for name in DEFAULTS} == DEFAULTS
    assert slider.values == [[4, 49, 5, 3, 3], [4, 9, 5, 3, 3]]
    assert repr(slider) == "CrfSlider(24x32 pixels, 2 classes, rounds 0 to 3, own, narrow)"


def test_large_images_are_halved():
    image = np.zeros((3, 481, 322), np.uint8)
    image[:, :240] = 255
    probs = np.full((2, 481, 322), 0.5, np.float32)
    probs[0, :240], probs[1, :240] = 0.9, 0.1
    truth = (np.arange(481) >= 240).astype(int)[:, None].repeat(322, 1)
    one = CrfSlider(image, probs, truth, iterations=1, presets={"a": {}}, progress=False, **KNOWN)
    assert one.size == [160, 107]
    assert (one.labels(0)[:79] == 0).all()
    assert (
        zlib.decompress(one.truth) == (np.arange(160) >= 80).repeat(107).astype(np.uint8).tobytes()
    )


def test_the_picture(slider, disc):
    drawn = slider.snapshot()
    assert Image.open(io.BytesIO(drawn)).width > 700
    assert drawn == slider.snapshot()
    slider.terms = "smoothness"
    assert drawn != slider.snapshot()
    slider.terms = "both"


def test_settings_are_checked(slider, disc):
    image, probs, truth = disc
    assert (slider.round, slider.preset, slider.terms, slider.layer) == (3, "own", "both", "labels")
    for name, value, message in (
        ("round", 4, r"no round 4; allowed are 0\.\.3"),
        ("preset", "b", "no preset 'b'; allowed are own, narrow"),
        ("layer", "truth", "no layer 'truth'; allowed are labels, changed, error"),
    ):
        with pytest.raises(ValueError, match=message):
            setattr(slider, name, value)
    for message, given, more in (
        ("probs have shape", (image, probs[:, :9]), {}),
        ("probs lie in", (image, probs * 3), {}),
        ("labels have shape", (image, probs, truth[:9]), {}),
        (
            "sets width; allowed are appearance_weight",
            (image, probs),
            {"presets": {"a": {"width": 1}}},
        ),
        ("presets are empty", (image, probs), {"presets": {}}),
        ("iterations=0", (image, probs), {"iterations": 0}),
        ("appearance_colour=0", (image, probs), {"presets": {"a": {"appearance_colour": 0}}}),
    ):
        with pytest.raises(ValueError, match=message):
            CrfSlider(*given, progress=False, **KNOWN, **more)


def test_the_script_cuts_rounds(computed):
    found = computed(
        CrfSlider,
        """await (async () => {
        const ids = Uint8Array.from([0, 1, 2, 2, 1, 1]);
        return [[...roundOf(ids, 0, 2)], [...roundOf(ids, 2, 2)],
          [...changedFrom(roundOf(ids, 0, 2), roundOf(ids, 2, 2))]];
        })()""",
    )
    assert found == [[0, 1], [1, 1], [1, 0]]
