"""The synthetic streets: the same everywhere, honest about geometry, as lopsided as CamVid."""

import hashlib
import pickle

import numpy as np
import pytest
import torch

from segkit.data.camvid import CLASSES
from segkit.data.streets import PALETTE, SyntheticStreets
from segkit.data.streets.surfaces import POLE, ROAD, SKY
from segkit.outputs import IGNORE


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    """The labels of 100 scenes, (100, 128, 160)."""
    streets = SyntheticStreets("train", length=100)
    return np.stack([streets.raw(i)[1].numpy() for i in range(100)])


def digest(*streets: SyntheticStreets) -> str:
    """SHA-256 over the labels of the first two scenes of each."""
    labels = [s.raw(i)[1].numpy().tobytes() for s in streets for i in range(2)]
    return hashlib.sha256(b"".join(labels)).hexdigest()


# --- the same scene, always -----------------------------------------------------------------------


def test_labels_are_those_of_this_version():
    town = [SyntheticStreets("train"), SyntheticStreets("val", seed=7, size=(90, 120))]
    assert digest(*town) == "cf9f724dc7d6fd154a78022c5d57b41495aa4ee7684aa80e7cf87e6c9e7c527f"


def test_images_are_those_of_this_version():
    image, _ = SyntheticStreets("train").raw(0)
    means = image.float().reshape(3, 4, 32, 5, 32).mean((2, 4))  # of 4 x 5 blocks
    expected = torch.tensor(
        [
            [115, 122, 173, 226, 119],
            [101, 123, 135, 170, 106],
            [87, 91, 105, 123, 124],
            [121, 125, 128, 130, 138],
        ]
    )
    assert (means[1] - expected).abs().max() < 2


def test_a_scene_depends_on_its_index_only():
    forward, backward = SyntheticStreets(length=4), SyntheticStreets(length=9, cache=False)
    late = [backward.raw(i) for i in (3, 2, 1, 0)][::-1]
    for i in range(4):
        for a, b in zip(forward.raw(i), late[i], strict=True):
            assert torch.equal(a, b)
        assert torch.equal(forward.raw(i)[0], forward.raw(i)[0])  # drawn, then remembered


def test_callers_random_state_is_left_alone():
    np.random.seed(3)  # noqa: NPY002  (the state under test)
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    SyntheticStreets().raw(0)
    assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_no_scene_is_in_two_splits_or_two_towns():
    seen = set()
    for split in ("train", "val", "test"):
        for seed in (0, 1):
            streets = SyntheticStreets(split, seed=seed, size=(32, 40), length=25, cache=False)
            seen |= {streets.raw(i)[1].numpy().tobytes() for i in range(25)}
    assert len(seen) == 3 * 2 * 25


# --- a data set -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(128, 160), (360, 480), (33, 17), (16, 64), (64, 16)])
def test_shapes_and_types(size):
    image, mask = SyntheticStreets("test", size=size)[0]
    assert (image.shape, image.dtype) == ((3, *size), torch.uint8)
    assert (mask.shape, mask.dtype) == (size, torch.uint8)
    assert image.is_contiguous()
    assert mask.is_contiguous()
    assert set(mask.unique().tolist()) <= {*range(11), IGNORE}


def test_lengths_names_and_palette():
    assert [len(SyntheticStreets(s)) for s in ("train", "val", "test")] == [400, 100, 100]
    streets = SyntheticStreets("val", length=3)
    assert streets.classes == CLASSES
    assert streets.palette == PALETTE
    assert streets.num_classes == len(set(PALETTE)) == 11
    assert (streets.classes[3], streets.palette[3]) == ("Road", (77, 78, 81))
    assert [streets.stem(i) for i in range(3)] == ["val_0_00000", "val_0_00001", "val_0_00002"]
    assert len(list(streets)) == 3  # iteration ends with an IndexError
    assert torch.equal(streets[-1][1], streets[2][1])
    for beyond in (3, -4):
        with pytest.raises(IndexError, match="3 scenes"):
            streets[beyond]


def test_what_is_handed_out_may_be_written_into():
    streets = SyntheticStreets(length=1)
    image, mask = streets.raw(0)
    before = image.clone(), mask.clone()
    image.zero_()
    mask.zero_()
    assert torch.equal(streets.raw(0)[0], before[0])
    assert torch.equal(streets.raw(0)[1], before[1])


def test_transform_and_cache():
    streets = SyntheticStreets(length=2)
    flipped = streets.with_transform(lambda image, mask: (image.flip(-1), mask.flip(-1)))
    image, mask = flipped[1]
    assert torch.equal(image.flip(-1), streets[1][0])
    assert torch.equal(mask.flip(-1), streets[1][1])
    assert streets.transform is None
    assert flipped._decoded is streets._decoded
    assert set(streets._decoded) == {1}
    assert not SyntheticStreets(length=1, cache=False).with_transform(None)._decoded
    sent = pickle.loads(pickle.dumps(streets))
    assert not sent._decoded
    assert torch.equal(sent[1][0], streets[1][0])


def test_manifest_changes_with_what_shapes_the_scenes():
    variants = [{}, {"split": "val"}, {"seed": 1}, {"length": 5}, {"size": (64, 80)}]
    prints = {SyntheticStreets(**v).manifest() for v in variants}
    assert len(prints) == len(variants)
    assert all(len(p) == 64 and int(p, 16) >= 0 for p in prints)
    plain = SyntheticStreets().manifest()
    assert SyntheticStreets(cache=False, transform=print).manifest() == plain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "training"}, "choose one of 'train', 'val', 'test'"),
        ({"size": 128}, "give \\(height, width\\)"),
        ({"size": (128, 160, 3)}, "give \\(height, width\\)"),
        ({"size": (8, 160)}, "height=8: give a whole number, 16 or more"),
        ({"size": (128, 160.0)}, "width=160.0: give a whole number"),
        ({"length": 0}, "length=0: give a whole number, 1 or more"),
        ({"length": True}, "length=True"),
        ({"seed": -1}, "seed=-1: give a whole number, 0 or more"),
    ],
)
def test_errors_say_what_is_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        SyntheticStreets(**arguments)


# --- what is in the pictures ----------------------------------------------------------------------


# Shares in per cent. Beside CamVid's train split: Sky 17, Building 23, Pole 1.0, Road 32, Pavement
# 4.5, Tree 9.7, SignSymbol 1.2, Fence 1.1, Car 5.9, Pedestrian 0.6, Bicyclist 0.3, void 3.9.
BOUNDS = {
    "Sky": (13, 22),
    "Building": (19, 29),
    "Pole": (0.8, 2.2),
    "Road": (26, 34),
    "Pavement": (4, 8),
    "Tree": (5, 11),
    "SignSymbol": (0.8, 2.0),
    "Fence": (0.8, 3),
    "Car": (4, 9),
    "Pedestrian": (0.4, 1.5),
    "Bicyclist": (0.1, 0.6),
}


def test_class_shares_are_like_camvids(masks):
    share = 100 * np.bincount(masks.ravel(), minlength=256) / masks.size
    for k, name in enumerate(CLASSES):
        low, high = BOUNDS[name]
        assert low <= share[k] <= high, f"{name} has {share[k]:.2f} %"
    assert 1 <= share[IGNORE] <= 5
    assert share[[0, 1, 3]].sum() > 65


def test_every_class_is_met_often_enough(masks):
    present = [(masks == k).any((1, 2)).mean() for k in range(11)]
    assert min(present[:9]) > 0.75, dict(zip(CLASSES, present, strict=True))
    assert present[9] > 0.6
    assert 0.2 < present[10] < 0.7


def test_sky_is_above_and_road_below(masks):
    rows = np.arange(128)[:, None]
    for mask in masks:
        height = [np.mean(np.broadcast_to(rows, mask.shape)[mask == k]) for k in (0, 3)]
        assert height[0] < 50 < 85 < height[1]
    middle = masks[:, :, 40:120]
    assert (middle[:, :20] == ROAD).sum() == 0
    assert (middle[:, 90:] == SKY).sum() == 0


def test_poles_are_thin(masks):
    """Half of all the runs of Pole along the rows are two pixels wide or less."""
    edges = np.diff(np.pad(masks == POLE, ((0, 0), (0, 0), (1, 1))).astype(np.int8))
    width = np.argwhere(edges == -1)[:, 2] - np.argwhere(edges == 1)[:, 2]
    assert np.median(width) <= 2
    assert np.percentile(width, 90) <= 5


def test_colour_alone_does_not_tell_the_class():
    """Road and Pavement, Building and Pavement share greys: their distributions overlap."""
    streets = SyntheticStreets(length=30)
    grey = {1: [], 3: [], 4: []}
    for i in range(30):
        image, mask = streets.raw(i)
        for k, found in grey.items():
            found.append(image.float().mean(0)[mask == k][::20])
    histogram = {
        k: torch.histc(torch.cat(v), 32, 0, 255) / len(torch.cat(v)) for k, v in grey.items()
    }
    for a, b in ((3, 4), (1, 4), (1, 3)):
        assert torch.minimum(histogram[a], histogram[b]).sum() > 0.4


def test_two_sizes_show_one_scene():
    small = SyntheticStreets("val", size=(64, 80))
    large = SyntheticStreets("val", size=(192, 240))  # every third pixel has the same centre
    agreement = [
        (small.raw(i)[1] == large.raw(i)[1][1::3, 1::3]).float().mean().item() for i in range(20)
    ]
    assert min(agreement) > 0.85
    assert np.mean(agreement) > 0.93


def test_another_shape_shows_a_crop():
    whole, wide = SyntheticStreets(size=(128, 160)), SyntheticStreets(size=(100, 160))
    narrow = SyntheticStreets(size=(128, 100))
    for i in range(4):
        mask = whole.raw(i)[1]
        assert (wide.raw(i)[1] == mask[14:-14]).float().mean() > 0.99
        assert (narrow.raw(i)[1] == mask[:, 30:-30]).float().mean() > 0.99
