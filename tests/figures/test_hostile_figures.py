"""Figures of names that matplotlib could take for something else, of odd sizes and many classes."""

from __future__ import annotations

import io
import math
import warnings

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from segbook import figures, text
from segbook.widgets import MaskExplorer
from segkit.doctor import Finding
from segkit.doctor.finding import Place

pytestmark = pytest.mark.slow

NAMES = [
    "$\\nope{x$", "$", "cost $5 to $10", "\\$x$", "a^b_c{}", "%d {x}", "\x1b]0;t\x07", "a\nb", "\0",
    "\udc80", "\ud800", "\u202etxt", "_background_", "", "n" * 5000, "道路",
]  # fmt: skip
SHAPES = [(3000, 1), (3000, 60), (1, 3000), (1, 1), (2, 2), (37, 41)]


def png(figure) -> Image.Image:
    """The figure as it is stored, with any font warning left out; all other warnings are errors."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(written, format="png", bbox_inches="tight")
    return Image.open(written)


def palette(count):
    return [(k % 256, 100, 255 - k % 256) for k in range(count)]


def scene(shape, classes=3):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    truth, prediction = rng.integers(0, classes, (2, *shape))
    return image, truth, prediction


def drawings(names, shape=(24, 32), tmp_path=None):
    """Each public figure, drawn with names wherever one is taken."""
    count, (image, truth, prediction) = len(names), scene(shape, len(names))
    colours, one = palette(count), names[0]
    metrics = [
        {"step": step, "loss": 1.0 / step, "lr": 0.1, "parts": dict.fromkeys(names, 0.5),
         **{f"val_{name}": 0.5 for name in names}}
        for step in (1, 2, 3)
    ]  # fmt: skip
    path = tmp_path / "images" / "a.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)
    found = [
        Finding("error", name, name, name, name, (Place(f"/x/{name}/{name}"), Place(str(path))))
        for name in (one[:500] for one in names[:8])
    ]
    return {
        "overlay": lambda: figures.overlay(image, truth, names, colours, title=one),
        "comparison": lambda: figures.comparison(
            image, truth, prediction, names, colours, title=one
        ),
        "slices": lambda: figures.slices(
            *(np.stack([one] * 5) for one in (image[..., 0], truth, prediction)), names, colours,
            title=one,
        ),
        "worst_images": lambda: figures.worst_images(
            [(name, image, truth, prediction) for name in names], names, colours
        ),
        "confusion": lambda: figures.confusion(np.eye(count), names),
        "iou_bars": lambda: figures.iou_bars(
            np.full(count, 0.5), names, compare=np.full(count, 0.4), names=(one, names[-1]),
            palette=colours, policy=one,
        ),
        "curves": lambda: figures.curves(metrics, policy=one),
        "learning_rates": lambda: figures.learning_rates({name: [0.1, 0.2] for name in names}),
        "findings": lambda: figures.findings(found),
        "oracle_table": lambda: figures.oracle_table({one: [truth]}, (2, 4), classes=names),
        "filmstrip": lambda: figures.filmstrip(
            image, truth, [prediction], [1], names, colours, losses=[(1, 0.5)], miou=[(1, 0.5)],
            policy=one, title=one,
        ),
    }  # fmt: skip


def test_every_public_figure_is_drawn_here(tmp_path):
    drawn = set(drawings(["a"], tmp_path=tmp_path))
    pictures = {"picture", "label_picture", "error_picture", "use_style"}  # arrays, no text
    pictures |= {"colour_difference", "distinct_palette"}
    pictures |= {"diagram"}  # SVG: tests/figures/test_diagram.py
    assert drawn | pictures == set(figures.__all__)


KINDS = [
    "overlay", "comparison", "worst_images", "confusion", "iou_bars", "curves", "learning_rates",
    "findings", "oracle_table", "filmstrip", "slices",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_drawn_as_they_are(kind, tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = drawings(NAMES, tmp_path=tmp_path)[kind]()
    assert max(png(figure).size) < 4000
    said = [one.get_text() for one in figure.findobj(Text)]
    assert all(one.replace("\n", "").isprintable() for one in said)
    for name in NAMES if kind in ("overlay", "confusion", "iou_bars") else NAMES[:4]:
        # A legend of label maps says the id where the font lacks the letters.
        shown = f"class {NAMES.index(name)}" if (kind, name) == ("overlay", "道路") else name
        assert any(text.figure(shown, most=20)[:19] in one for one in said), name


@pytest.mark.parametrize("name", NAMES[:4] + NAMES[9:11])
def test_a_title_and_a_policy_are_names_too(name):
    image, truth, _ = scene((24, 32))
    png(figures.overlay(image, truth, ["a", "b", "c"], palette(3), title=name))
    png(figures.curves([{"step": 1, "val_miou": 0.5}], policy=name))


def test_latex_of_the_users_own_settings_does_not_draw_our_names(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"text.usetex": True}):
        png(drawings(["a_b", "50 %", "$"], tmp_path=tmp_path)["confusion"]())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["overlay", "comparison", "worst_images", "findings"])
def test_an_image_of_any_shape_is_shown_in_a_figure_of_a_page(kind, shape, tmp_path):
    figure = drawings(["a", "b"], shape, tmp_path)[kind]()
    assert max(figure.get_size_inches()) < 20
    assert min(png(figure).size) > 40


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_explorers_picture_too(shape):
    image, truth, prediction = scene(shape)
    explorer = MaskExplorer(
        image, truth, prediction, classes=NAMES[:3], palette=palette(3), names=["\udc80$x\\y$"]
    )
    assert max(Image.open(io.BytesIO(explorer.snapshot())).size) < 4000
    for shown in (*explorer.classes, explorer.samples[0]["name"]):
        assert shown.isprintable()


def test_an_image_without_pixels_is_refused():
    empty = np.zeros((0, 5), np.uint8)
    for draw in (
        lambda: figures.overlay(np.zeros((0, 5, 3), np.uint8), empty, ["a"], palette(1)),
        lambda: figures.comparison(np.zeros((0, 5, 3), np.uint8), empty, empty, ["a"], palette(1)),
    ):
        with pytest.raises(ValueError, match="no pixel to show"):
            draw()


@pytest.mark.full
def test_a_hundred_images_are_a_figure_that_can_be_stored():
    image, truth, prediction = scene((64, 8))
    rows = [(str(k), image, truth, prediction) for k in range(100)]
    figure = figures.worst_images(rows, ["a", "b", "c"], palette(3), count=100)
    assert len(figure.axes) == 400
    assert figure.get_size_inches()[1] <= 100


@pytest.mark.full
@pytest.mark.parametrize("name", ["c", "a rather long name of a class"])
def test_as_many_classes_as_there_can_be(name, tmp_path):
    names = [f"{name} {k}" for k in range(255)]
    for kind in ("overlay", "comparison", "confusion", "iou_bars", "curves"):
        figure = drawings(names, (40, 60), tmp_path)[kind]()
        width, height = png(figure).size
        assert width * height < 40_000_000, kind


@pytest.mark.parametrize("value", [math.nan, -math.inf, 1e308, 10**400, 1e-320])
def test_metrics_of_any_value(value):
    records = [
        {"step": k, "loss": value, "lr": value, "val_miou": value, "parts": {"a": value}}
        for k in range(5)
    ]
    png(figures.curves(records))


@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_scores_of_nothing(value):
    names = ["a", "b"]
    png(figures.iou_bars([value, value], names, compare=[value, value]))
    png(figures.confusion(np.zeros((2, 2)), names))
    with pytest.raises(ValueError, match="no class to draw"):
        figures.iou_bars([], [])
    with pytest.raises(ValueError, match="no class to draw"):
        figures.confusion(np.zeros((0, 0)), [])
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.curves([])
    with pytest.raises(ValueError, match="step is 'x'"):
        figures.curves([{"step": "x", "loss": 1}])
