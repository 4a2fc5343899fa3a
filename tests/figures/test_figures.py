"""What the figures show and say, read back from their artists."""

from __future__ import annotations

import io
import itertools

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from segbook import figures

CLASSES = ("Sky", "Road", "Car", "Tree")
PALETTE = ((128, 128, 128), (128, 64, 128), (64, 0, 128), (128, 128, 0))


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    truth = np.zeros((24, 32), np.uint8)
    truth[12:] = 1
    truth[:2] = 255
    prediction = truth.copy()
    prediction[:2] = 0
    prediction[12:, :8] = 2
    return image, truth, prediction


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def shown(axes) -> np.ndarray:
    return np.asarray(axes.get_images()[0].get_array())


def written(figure) -> np.ndarray:
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return np.asarray(Image.open(target).convert("RGB"))


def test_overlay_blends_and_names_the_present_classes():
    image, truth, _ = scene()
    figure = figures.overlay(image, torch.from_numpy(truth), CLASSES, PALETTE, alpha=0.25)
    mixed = 0.75 * image[2:] + 0.25 * np.array(PALETTE)[truth[2:]]
    assert np.abs(shown(figure.axes[0])[2:] - mixed).max() <= 0.5
    assert legend(figure) == ["Sky", "Road", "void (not counted)"]
    assert written(figure).std() > 10
    bare = figures.overlay(image, truth, CLASSES, PALETTE, alpha=0, legend=False)
    assert (shown(bare.axes[0]) == image).all()
    assert bare.legends == []


def test_borders_part_classes_and_hide_no_thin_one():
    """At 56 pixels of the screen a pixel they are white lines; at 0.4 they are hardly there."""
    for scale, least_white, most_white in ((1, 200, 255), (60, 0, 190)):
        truth = np.zeros((12 * scale, 10 * scale), np.uint8)
        truth[:, 5] = 1
        image = np.zeros((*truth.shape, 3), np.uint8)
        options = {"alpha": 1, "legend": False}
        drawn, plain = (
            written(figures.overlay(image, truth, CLASSES, PALETTE, borders=borders, **options))
            for borders in (True, False)
        )
        changed = drawn[(drawn != plain).any(-1)]
        assert 0 < len(changed) < 0.05 * plain[..., 0].size
        assert least_white <= changed.min(1).max() <= most_white
        pole = (plain == PALETTE[1]).all(-1).sum()
        assert scale > 1 or (drawn == PALETTE[1]).all(-1).sum() > 0.9 * pole
    bare = written(figures.overlay(image, truth, CLASSES, PALETTE, alpha=0, legend=False))
    assert (bare == 255).any()
    assert len(np.unique(bare.reshape(-1, 3), axis=0)) == 2  # no labels seen, so no borders


def test_a_legend_names_what_the_font_cannot_write_by_number():
    image, truth, _ = scene()
    names = ("Straße", "\u9053\u8def")
    assert legend(figures.overlay(image, truth, names, PALETTE[:2]))[:2] == ["Straße", "class 1"]
    names = ("\u0633\u0645\u0627\u0621", "Road")  # the font has Arabic, but not its order
    assert legend(figures.overlay(image, truth, names, PALETTE[:2]))[:2] == ["class 0", "Road"]


def test_overlay_refuses_what_it_cannot_mean():
    image, truth, _ = scene()
    with pytest.raises(ValueError, match="alpha is 50"):
        figures.overlay(image, truth, CLASSES, PALETTE, alpha=50)
    with pytest.raises(ValueError, match="labels have shape"):
        figures.overlay(image, truth[:, :5], CLASSES, PALETTE)
    with pytest.raises(ValueError, match="4 classes and 3 colours"):
        figures.overlay(image, truth, CLASSES, PALETTE[:3])


def test_comparison_tells_the_share_of_wrong_pixels():
    image, truth, prediction = scene()
    figure = figures.comparison(image, truth, prediction, CLASSES, PALETTE, title="street 7")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    # 12 rows of 8 wrong pixels of 22 labelled rows of 32
    assert titles == ["image", "truth", "prediction", "13.6 % of labelled px wrong"]
    assert (shown(figure.axes[0]) == image).all()
    assert (shown(figure.axes[2]) == np.array(PALETTE)[prediction]).all()
    assert legend(figure) == ["Sky", "Road", "Car", "void (not counted)", "wrong"]
    assert figure.get_suptitle() == "street 7"
    void = figures.comparison(image, np.full_like(truth, 255), prediction, CLASSES, PALETTE)
    assert void.axes[3].get_title(loc="left") == "no labelled pixel"


def test_curves_have_a_panel_for_each_kind_of_number():
    records = [
        {"step": k, "loss": 2 - k / 100, "lr": 0.1, "parts": {"main": 1.0, "c4": 2.0}}
        for k in range(100)
    ]
    records += [{"step": k, "val_miou": k / 100} for k in (20, 60, 40)]
    figure = figures.curves(records, smooth=5, policy="micro")
    loss, score, rate = figure.axes
    assert score.get_title(loc="left") == "scores (mIoU policy: micro)"
    assert score.get_lines()[0].get_xdata().tolist() == [20, 40, 60]
    told = [text.get_text() for text in score.get_legend().get_texts()]
    assert told == ["val_miou: best 0.600 at step 60"]
    named = {text.get_text() for text in loss.get_legend().get_texts()}
    assert named == {"loss, mean of 5 records", "main", "c4"}
    raw, mean = loss.get_lines()[:2]
    assert raw.get_ydata()[50] == pytest.approx(1.5)
    assert mean.get_ydata()[50] == pytest.approx(1.5)
    # at the start only the value itself and the two after it are there
    assert mean.get_ydata()[0] == pytest.approx(1.99)
    assert rate.get_title(loc="left") == "learning rate"
    assert len(figures.curves([{"step": 1, "lr": 0.1}]).axes) == 1


def test_curves_of_a_resumed_run_use_the_later_record():
    records = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 9.0}, {"step": 2, "loss": 3.0}]
    line = figures.curves(records, smooth=1).axes[0].get_lines()[0]
    assert line.get_xdata().tolist() == [1, 2]
    assert line.get_ydata().tolist() == [1.0, 3.0]


def test_curves_bear_nan_and_refuse_nothing_to_draw():
    records = [{"step": k, "loss": float("nan") if k < 3 else 1.0} for k in range(6)]
    mean = figures.curves(records, smooth=3).axes[0].get_lines()[1].get_ydata()
    assert np.isnan(mean[:2]).all()
    assert (mean[2:] == 1.0).all()
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.curves([])
    with pytest.raises(ValueError, match="nothing to draw.*seconds"):
        figures.curves([{"step": 1, "seconds": 0.5}])
    with pytest.raises(ValueError, match="no 'step'"):
        figures.curves([{"loss": 0.5}])
    with pytest.raises(ValueError, match="smooth is 0"):
        figures.curves(records, smooth=0)


def test_confusion_shares_by_hand():
    cm = np.array([[3, 1], [0, 0], [7, 7]])  # the last row is void
    texts = {}
    for way in ("row", "column", "all"):
        axes = figures.confusion(torch.from_numpy(cm), ("a", "b"), way).axes[0]
        texts[way] = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
    assert texts["row"] == {(0, 0): "75", (0, 1): "25"}
    assert texts["column"] == {(0, 0): "100", (0, 1): "100", (1, 0): "", (1, 1): ""}
    assert texts["all"] == {(0, 0): "75", (0, 1): "25", (1, 0): "", (1, 1): ""}
    small = figures.confusion(np.array([[999, 1], [0, 5]]), ("a", "b")).axes[0]
    assert [text.get_text() for text in small.texts] == ["100", "·", "", "100"]
    for bad, words in ((np.ones((2, 3)), "shape"), (-np.ones((2, 2)), "negative")):
        with pytest.raises(ValueError, match=words):
            figures.confusion(bad, ("a", "b"))
    with pytest.raises(ValueError, match="allowed are row, column, all"):
        figures.confusion(np.ones((2, 2)), ("a", "b"), "true")


def test_iou_bars_sort_and_leave_absent_classes_out_of_the_mean():
    figure = figures.iou_bars([0.5, np.nan, 0.9, 0.1], CLASSES, palette=PALETTE)
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["Car", "Sky", "Tree", "Road"]
    assert [bar.get_width() for bar in axes.patches] == [0.9, 0.5, 0.1, 0]
    assert [text.get_text() for text in axes.texts] == ["90.0", "50.0", "10.0", "absent"]
    assert axes.get_title(loc="left") == "mean 50.0"
    assert axes.get_xlabel() == "IoU, % (policy: dataset)"
    two = figures.iou_bars([0.5, 0.2], "ab", compare=[0.3, 0.4], names=("x", "y"), sort=False)
    named = [one.get_text() for one in two.axes[0].get_legend().get_texts()]
    assert named == ["x: mean 35.0", "y: mean 35.0"]
    assert [tick.get_text() for tick in two.axes[0].get_yticklabels()] == ["a", "b"]
    with pytest.raises(ValueError, match="fractions"):
        figures.iou_bars([50.0, 20.0], "ab")
    with pytest.raises(ValueError, match="2 classes"):
        figures.iou_bars([0.5], "ab")


def test_worst_images_come_first_and_only_the_asked_number():
    image, truth, _ = scene()
    cases = []
    for wrong_rows in (1, 9, 5, 7):
        prediction = truth.copy()
        prediction[12 : 12 + wrong_rows] = 0
        cases.append((f"s{wrong_rows}", image, truth, prediction))
    cases.append(("void", image, np.full_like(truth, 255), truth))
    figure = figures.worst_images(iter(cases), CLASSES, PALETTE, count=2)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    # Sky 10 of 19 rows and Road 3 of 12 for nine wrong rows: (10/19 + 3/12) / 2
    assert titles[::4] == ["s9", "s7"]
    assert titles[2::4] == ["prediction · mIoU 0.388", "prediction · mIoU 0.502"]
    assert figure.get_suptitle().startswith("2 worst of 4 images")
    assert len(figures.worst_images(cases[:1], CLASSES, PALETTE, count=9).axes) == 4
    with pytest.raises(ValueError, match="no image with a labelled pixel"):
        figures.worst_images(cases[-1:], CLASSES, PALETTE)
    with pytest.raises(ValueError, match="truth of 'odd' have shape"):
        figures.worst_images([("odd", image, truth[:3], truth)], CLASSES, PALETTE)
    with pytest.raises(ValueError, match="count is 0"):
        figures.worst_images(cases, CLASSES, PALETTE, count=0)


def test_nothing_global_is_touched():
    from matplotlib import pyplot

    image, truth, prediction = scene()
    before = dict(matplotlib.rcParams)
    figures.overlay(image, truth, CLASSES, PALETTE)
    figures.comparison(image, truth, prediction, CLASSES, PALETTE)
    figures.curves([{"step": 1, "loss": 1.0}])
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []


def test_use_style_outside_a_notebook():
    with matplotlib.rc_context():
        figures.use_style(dpi=70)
        assert matplotlib.rcParams["figure.dpi"] == 70
        assert not matplotlib.rcParams["axes.spines.top"]
        with pytest.raises(ValueError, match="format is 'gif'"):
            figures.use_style(format="gif")


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", "from matplotlib import pyplot"])
def test_in_a_notebook_figures_are_small_jpegs_shown_once(first):
    nbclient = pytest.importorskip("nbclient", reason="the notebooks extra is not installed")
    from nbformat.v4 import new_code_cell, new_notebook

    noise = "import numpy as np; x = np.random.default_rng(0).integers(0, 256, (360, 480, 3), 'u1')"
    sources = [
        f"{first}\nfrom segbook.figures import comparison, use_style\nuse_style()\n{noise}",
        "y = x[..., 0] % 2; comparison(x, y, y, 'ab', ((0, 0, 0), (9, 9, 9)))",
        "from matplotlib import pyplot\npyplot.imshow(x)\npyplot.show()",
    ]
    made = new_notebook(cells=[new_code_cell(source) for source in sources])
    nbclient.NotebookClient(made, timeout=120, kernel_name="python3").execute()
    for cell in made.cells[1:]:
        pictures = [dict(out.get("data", {})) for out in cell.outputs]
        kinds = list(itertools.chain.from_iterable(pictures))
        assert [kind for kind in kinds if kind.startswith("image/")] == ["image/jpeg"]
        assert len(pictures[-1]["image/jpeg"]) < 300_000
    if not first:  # a pyplot that is imported later sets the formats anew
        alt = made.cells[1].outputs[-1].metadata["image/jpeg"]["alt"]
        assert alt.startswith("image; truth; prediction; 0.0 % of labelled px wrong")


def test_learning_rates_name_their_highest_and_stand_on_the_first():
    figure = figures.learning_rates({"theirs $x$": [0.0, 0.01, 0.005], "ours": [0.0, 0.0082]})
    (axes,) = figure.axes
    theirs, ours = axes.lines
    assert theirs.get_linewidth() > ours.get_linewidth()
    assert list(theirs.get_ydata()) == [0.0, 0.01, 0.005]
    labels = [label.get_text() for label in axes.get_legend().get_texts()]
    assert labels == [r"theirs \$x\$: highest 0.01", "ours: highest 0.0082"]
    for nothing in ({}, {"ours": []}):
        with pytest.raises(ValueError, match="give each schedule a rate for each step"):
            figures.learning_rates(nothing)
