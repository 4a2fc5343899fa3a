"""Pictures from tensors: values worked by hand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segbook.figures.pictures import (
    VOID_DARK,
    VOID_LIGHT,
    WRONG,
    check_classes,
    class_borders,
    error_picture,
    label_map,
    label_picture,
    picture,
    wrong_share,
)

PALETTE = ((10, 20, 30), (40, 50, 60))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_every_form_of_an_image_is_the_same_picture(image):
    first = torch.from_numpy(image).permute(2, 0, 1)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    normalised = (first / 255 - mean) / std
    assert (picture(image) == image).all()
    assert (picture(first) == image).all()
    assert (picture(first / 255) == image).all()
    assert (picture(normalised.requires_grad_(), mean=MEAN, std=STD) == image).all()
    near = picture((first / 255).bfloat16()).astype(int) - image
    assert abs(near).max() <= 1


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (4, 6, 1)])
def test_one_channel_becomes_grey(shape):
    grey = np.arange(24, dtype=np.uint8)
    assert (picture(grey.reshape(shape)) == grey.reshape(4, 6, 1)).all()


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (np.zeros((2, 3, 4, 4), np.uint8), {}, "images\\[0\\]"),
        (np.zeros((2, 4, 5), np.uint8), {}, "shape \\(2, 4, 5\\)"),
        (np.zeros((3, 4, 4), np.int64), {}, "int64"),
        (np.full((3, 4, 4), -2.0), {}, "mean and std"),
        (np.full((3, 4, 4), np.nan), {}, "mean and std"),
        (np.full((3, 4, 4), np.inf), {"mean": MEAN, "std": STD}, "nan or infinite"),
        (np.zeros((3, 4, 4)), {"mean": MEAN}, "belong together"),
    ],
)
def test_other_images_are_refused(values, options, words):
    with pytest.raises(ValueError, match=words):
        picture(values, **options)


def test_labels_have_the_colours_of_their_classes():
    shown = label_picture(torch.tensor([[0, 1], [255, 0]]), PALETTE)
    assert shown.tolist() == [[[10, 20, 30], [40, 50, 60]], [[0, 0, 0], [10, 20, 30]]]
    assert label_picture(np.zeros((0, 3), int), PALETTE).shape == (0, 3, 3)


def test_void_is_striped_in_two_greys():
    labels = np.zeros((20, 20), np.uint8)
    labels[:, 10:] = 255
    shown = label_picture(labels, PALETTE, hatch=True)
    assert (shown[:, :10] == PALETTE[0]).all()
    colours = {tuple(colour) for colour in shown[:, 10:].reshape(-1, 3).tolist()}
    assert colours == {VOID_DARK, VOID_LIGHT}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([[0, 2]], "the id 2, but there are 2 classes: allowed are 0..1 and 255"),
        ([[0, -1]], "the id -1"),
        ([0, 1], "shape \\(2,\\)"),
        ([[0.0, 1.0]], "argmax"),
        ([[True, False]], "bool"),
    ],
)
def test_other_labels_are_refused(labels, words):
    with pytest.raises(ValueError, match=words):
        label_picture(labels, PALETTE)


def test_labels_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"truth have shape \(2, 3\); it must be \(3, 2\)"):
        label_map(np.zeros((2, 3), int), 2, size=(3, 2), what="truth")


def test_error_picture_and_share_by_hand():
    truth = np.array([[0, 1, 1, 255]], np.uint8)
    prediction = np.array([[0, 1, 0, 0]], np.uint8)
    shown = error_picture(np.full((1, 4, 3), 30, np.uint8), truth, prediction)
    assert shown[0, :3].tolist() == [[180] * 3, [180] * 3, list(WRONG)]
    assert tuple(shown[0, 3].tolist()) in (VOID_DARK, VOID_LIGHT)
    assert wrong_share(truth, prediction) == pytest.approx(1 / 3)
    assert np.isnan(wrong_share(np.full((2, 2), 255), np.zeros((2, 2))))


def test_one_colour_for_each_class():
    check_classes(("a", "b"), PALETTE)
    with pytest.raises(ValueError, match="3 classes and 2 colours"):
        check_classes(("a", "b", "c"), PALETTE)
    with pytest.raises(ValueError, match="0 classes"):
        check_classes((), ())


def test_class_borders_run_between_pixels():
    lines = class_borders(np.array([[0, 0, 1], [0, 0, 1], [2, 2, 1]]))
    found = {tuple(map(tuple, np.sort(line, axis=0))) for line in lines}
    assert found == {((-0.5, 1.5), (1.5, 1.5)), ((1.5, -0.5), (1.5, 2.5))}
    assert len(class_borders(np.zeros((4, 1), int))) == 0
    board = np.indices((5, 7)).sum(0) % 2
    assert len(class_borders(board)) == 4 + 6  # straight lines are drawn in one go


def test_alpha_lies_over_white():
    rgba = np.zeros((2, 5, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[0, :, 3] = 255
    rgba[1, :, 3] = 51
    over = picture(rgba)
    assert (over[0] == (200, 0, 0)).all()
    assert (over[1] == (244, 204, 204)).all()
    assert (picture(torch.from_numpy(rgba).permute(2, 0, 1)) == over).all()
    assert np.abs(picture(rgba / 255).astype(int) - over).max() <= 1
