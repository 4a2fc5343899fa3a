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
        Finding("error", "unreadable", "1 file", "it stops", "copy it", (broken,)),
        Finding("note", "frequencies", "all is well", "-", "-"),
    ]


def pictures(figure):
    return [image.get_array() for axes in figure.axes for image in axes.images]


def words(figure):
    return [text.get_text() for axes in figure.axes for text in [axes.title, *axes.texts]]


def test_bad_pixels_are_marked_and_the_others_pale(found):
    [shown] = pictures(figures.findings(found))
    bad = (shown == np.array(WRONG)).all(-1)
    assert bad.sum() == 1
    assert bad[5, 7]
    assert shown[~bad].min() > 140


def test_a_single_bad_pixel_of_a_large_picture_is_seen(tmp_path):
    Image.fromarray(np.zeros((1501, 2003), np.uint8)).save(tmp_path / "large.png")
    marked = torch.zeros(1501, 2003, dtype=torch.bool)
    marked[1500, 2002] = True
    place = Place(str(tmp_path / "large.png"), 1, marked)
    [shown] = pictures(figures.findings([Finding("error", "c", "w", "y", "f", (place,))]))
    assert max(shown.shape[:2]) <= 480
    assert (shown[-1, -1] == np.array(WRONG)).all()
    assert (shown == np.array(WRONG)).all(-1).sum() == 1


def test_what_cannot_be_read_is_a_tile_and_notes_are_left_out(found):
    figure = figures.findings(found)
    said = words(figure)
    assert "cannot be shown" in said
    assert any("values out of range" in text for text in said)
    assert not any("frequencies" in text for text in said)
    assert any("frequencies" in text for text in words(figures.findings(found, notes=True)))


def test_nothing_found_says_so(found):
    assert figures.findings(found[2:]).texts[0].get_text() == "The doctor found nothing to mend."
