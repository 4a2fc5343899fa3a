import numpy as np
import pytest
import torch
from PIL import Image

from segbook import figures
from segbook.figures.pictures import WRONG
from segkit.doctor.finding import Finding, Place


@pytest.fixture
def found(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[:20] = 3
    mask[5, 7] = 77
    Image.fromarray(mask).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    marked = torch.from_numpy(mask == 77)
    place = Place(str(tmp_path / "a.png"), 1, marked)
    broken = Place(str(tmp_path / "broken.png"))
    return [
        Finding("error", "values_out_of_range", "77 is no class", "it hurts", "mend", (place,)),
        Finding("error", "unreadable", f"1 file: {broken}", "it stops", "copy it", (broken,)),
        Finding("note", "frequencies", "all is well", "-", "-"),
    ]


@pytest.fixture
def root(tmp_path):
    """A folder of one pair."""
    for part in ("images", "masks"):
        (tmp_path / "train" / part).mkdir(parents=True)
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "train/images/a.jpg")
    Image.fromarray(np.full((40, 60), 255, np.uint8)).save(tmp_path / "train/masks/a.png")
    return tmp_path / "train"


def finding(file, pixels=0, marked=None, what="w"):
    place = Place(str(file), pixels, marked)
    return Finding("error", "c", what, "y", "f", (place,))


def pictures(figure):
    return [image.get_array() for axes in figure.axes for image in axes.images]


def words(figure):
    return [
        text
        for axes in figure.axes
        for text in [axes.get_title(loc="left"), *(one.get_text() for one in axes.texts)]
        if text
    ]


def test_bad_pixels_are_marked_and_the_others_pale(found):
    [shown] = pictures(figures.findings(found))
    bad = (shown == np.array(WRONG)).all(-1)
    assert bad.sum() == 1
    assert bad[5, 7]
    assert shown[~bad].min() > 140


def test_ids_have_the_colours_that_are_given(root):
    figures_of = [
        pictures(figures.findings([finding(root / "images/a.jpg")], palette=palette))[1]
        for palette in ((), [(1, 2, 3)])
    ]
    assert (figures_of[0] == figures_of[1]).all()  # void alone
    Image.fromarray(np.array([[0, 1]], np.uint8)).save(root / "masks/a.png")
    plain, given = (
        pictures(figures.findings([finding(root / "images/a.jpg")], palette=palette))[1]
        for palette in ((), [(1, 2, 3)])
    )
    assert given[0, 0].tolist() == [1, 2, 3]
    assert given[0, 1].tolist() == plain[0, 1].tolist()


def test_a_single_bad_pixel_of_a_large_picture_is_seen_and_ringed(tmp_path):
    Image.fromarray(np.zeros((1501, 2003), np.uint8)).save(tmp_path / "large.png")
    marked = torch.zeros(1501, 2003, dtype=torch.bool)
    marked[1500, 2002] = True
    figure = figures.findings([finding(tmp_path / "large.png", 1, marked)])
    [shown] = pictures(figure)
    assert max(shown.shape[:2]) <= 480
    assert (shown[-1, -1] == np.array(WRONG)).all()
    assert (shown == np.array(WRONG)).all(-1).sum() == 1
    [ring] = [line for axes in figure.axes for line in axes.lines]
    assert abs(ring.get_xdata()[0] - 2002) <= 5
    assert abs(ring.get_ydata()[0] - 1500) <= 5


def test_many_bad_pixels_need_no_rings(tmp_path):
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / "a.png")
    marked = torch.zeros(40, 60, dtype=torch.bool)
    marked[:20] = True
    figure = figures.findings([finding(tmp_path / "a.png", 1200, marked)])
    assert not [line for axes in figure.axes for line in axes.lines]


def test_of_a_pair_both_halves_are_shown_and_only_the_bad_one_marked(root):
    marked = torch.zeros(40, 60, dtype=torch.bool)
    marked[:5] = True
    figure = figures.findings([finding(root / "masks/a.png", 300, marked)])
    image, mask = pictures(figure)
    assert not (image == np.array(WRONG)).all(-1).any()
    assert (mask == np.array(WRONG)).all(-1).sum() == 300
    above, below = (text for text in words(figure) if "a." in text)
    assert above.endswith("train/images/a.jpg")
    assert len(above) <= 30
    assert below == "a.png · 300 px"


def test_where_all_pixels_are_meant_the_picture_stays_and_has_a_frame(root):
    figure = figures.findings(
        [finding(root / "masks/a.png", 2400, torch.ones(40, 60, dtype=torch.bool))]
    )
    image, mask = pictures(figure)
    assert not (mask == np.array(WRONG)).all(-1).any()
    framed = [axes for axes in figure.axes if axes.spines["left"].get_visible() and axes.images]
    assert len(framed) == 1
    assert (
        framed[0].images[0].get_array() is mask or (framed[0].images[0].get_array() == mask).all()
    )


def test_a_missing_half_and_two_sizes_are_seen(root):
    (root / "images/b.png").write_bytes((root / "images/a.jpg").read_bytes())
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(root / "masks/a.png")
    figure = figures.findings([finding(root / "images/b.png"), finding(root / "masks/a.png")])
    assert "is missing" in words(figure)
    large, small = [axes for axes in figure.axes if axes.images][-2:]
    assert small.images[0].get_array().shape[:2] == (20, 30)
    assert small.get_xlim() == large.get_xlim() == (0, 60)


def test_names_are_told_from_the_common_folder_on(found, tmp_path):
    said = words(figures.findings(found))
    assert "1 file: broken.png" in said
    assert not [text for text in said if str(tmp_path) in text]


def test_all_of_a_long_text_is_told_in_its_column(tmp_path):
    what = " ".join(f"word{number}" for number in range(150))
    figure = figures.findings([finding(tmp_path / "a.png", what=what)])
    told = " ".join(words(figure))
    assert all(f"word{number}" in told for number in range(150))
    figure.draw_without_rendering()
    first = figure.axes[0]
    for text in first.texts:
        assert text.get_window_extent().x1 <= first.get_window_extent().x1
        assert text.get_window_extent().y0 >= first.get_window_extent().y0


def test_what_cannot_be_read_is_a_tile_and_notes_are_left_out(found):
    figure = figures.findings(found)
    said = words(figure)
    assert "cannot be read" in said
    assert any("values out of range" in text for text in said)
    assert not any("frequencies" in text for text in said)
    assert any("frequencies" in text for text in words(figures.findings(found, notes=True)))


def test_places_that_are_no_files_are_told(found):
    assert pictures(figures.findings([finding("train/0007")])) == []
    assert len(figures.findings([Finding("error", "c", "w", "y", "f")]).axes) == 1


def test_nothing_found_says_so(found):
    assert words(figures.findings(found[2:])) == ["The doctor found nothing to mend."]
