"""Importing published weights: what is written, what is refused, what the network is given."""

import hashlib
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from segbook.certificates import published
from segbook.certificates.published import (
    AuthorsNormalize,
    compare,
    evaluate_published,
    import_weights,
)
from segkit.metrics import POLICIES
from segkit.models.espnet import espnet
from segkit.weights import read_header


@pytest.fixture
def authors_file(tmp_path, monkeypatch):
    """A small network's pickle, known under its own checksum."""
    torch.manual_seed(0)
    entry = published.PUBLISHED["espnet_camvid"]
    arguments = {"num_classes": 12, "alpha2": 1, "alpha3": 1}
    path = tmp_path / "authors.pth"
    torch.save(espnet(**arguments).state_dict(), path)
    small = entry._replace(
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        rename=lambda theirs, ours: dict(theirs),
        header={**entry.header, "arguments": arguments},
    )
    monkeypatch.setitem(published.PUBLISHED, "espnet_camvid", small)
    return path


@pytest.fixture
def camvid(tmp_path):
    """Two pairs of noise, with void."""
    rng = np.random.default_rng(0)
    for kind, high, shape in (("images", 256, (32, 48, 3)), ("masks", 12, (32, 48))):
        folder = tmp_path / "camvid" / "test" / kind
        folder.mkdir(parents=True)
        for index in range(2):
            pixels = rng.integers(0, high, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "camvid"


def test_the_file_says_what_is_needed_to_use_it(authors_file, tmp_path):
    path = import_weights("espnet_camvid", authors_file, tmp_path / "out" / "espnet.safetensors")
    header = read_header(path)
    assert header["builder"] == "espnet"
    assert len(header["classes"]) == len(header["palette"]) == header["arguments"]["num_classes"]
    assert header["normalisation"]["channels"] == "BGR"
    assert (header["metric"], header["value"]) == ("miou", 0.5564)
    assert header["policy"] in POLICIES
    assert header["licence"] == "MIT"
    assert header["source"].startswith("https://github.com/sacmehta/ESPNet/")
    model = espnet(**header["arguments"], weights=path)
    theirs = torch.load(authors_file, weights_only=True)
    assert all(torch.equal(t, theirs[name]) for name, t in model.state_dict().items())


def test_another_file_is_refused_by_its_checksum(authors_file, tmp_path):
    authors_file.write_bytes(authors_file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"another file or damaged. It comes from https://"):
        import_weights("espnet_camvid", authors_file, tmp_path / "espnet.safetensors")
    assert not (tmp_path / "espnet.safetensors").exists()


def test_an_unknown_name_lists_the_known_ones(authors_file, tmp_path):
    with pytest.raises(ValueError, match="'espnet'; known are .'espnet_camvid'"):
        import_weights("espnet", authors_file, tmp_path / "espnet.safetensors")


def test_another_suffix_a_folder_and_a_missing_file_are_refused(authors_file, tmp_path):
    with pytest.raises(ValueError, match="does not end in .safetensors"):
        import_weights("espnet_camvid", authors_file, tmp_path / "espnet.pth")
    with pytest.raises(ValueError, match="nowhere.pth is no file: fetch .* from https://"):
        import_weights("espnet_camvid", tmp_path / "nowhere.pth", tmp_path / "espnet.safetensors")
    with pytest.raises(ValueError, match="is a folder: .*/espnet_camvid.safetensors"):
        import_weights("espnet_camvid", authors_file, tmp_path)


def test_pixels_are_normalised_as_the_authors_do():
    image = torch.tensor([10, 20, 30], dtype=torch.uint8)[:, None, None]  # red, green, blue
    mask = torch.tensor([[255]], dtype=torch.uint8)
    header = published.PUBLISHED["espnet_camvid"].header
    pixels, labels = AuthorsNormalize(**header["normalisation"])(image, mask)
    blue = (30 - 110.33139) / 72.125206 / 255
    green = (20 - 108.40919) / 72.68849 / 255
    red = (10 - 105.03353) / 69.902596 / 255
    assert pixels.flatten().tolist() == pytest.approx([blue, green, red], rel=1e-5)
    assert pixels.dtype == torch.float32
    assert labels.tolist() == [[255]]
    assert labels.dtype == torch.int64


def test_scores_come_under_every_policy_and_beside_the_authors(authors_file, camvid, tmp_path):
    path = import_weights("espnet_camvid", authors_file, tmp_path / "espnet.safetensors")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*holds 2 pairs")
        scores, again = (evaluate_published(path, camvid, batch_size=n) for n in (1, 2))
    assert set(scores) == {*POLICIES, "class_accuracy", "pixel_accuracy"}
    assert all(0 <= score <= 1 for score in scores.values())
    assert scores == pytest.approx(again, abs=1e-3)
    rows = {line.split()[0]: line.split()[1:] for line in compare(path, scores).splitlines()}
    assert rows["percent"] == ["here", "authors"]
    assert rows["class_accuracy"][1:] == ["68.30"]
    assert rows["void_as_fp_in_truth"] == [f"{100 * scores['void_as_fp_in_truth']:.2f}", "55.64"]
    assert len(rows["dataset"]) == 1


def test_an_image_alone_is_made_as_one_of_a_pair():
    normalise = AuthorsNormalize(channels="BGR", mean=[0.1, 0.2, 0.3], std=[0.5, 1.0, 2.0])
    image = torch.tensor([255, 51, 0], dtype=torch.uint8)[:, None, None].expand(3, 2, 2)
    alone = normalise.image(image)
    expected = [(0 - 0.1) / 0.5, 0.2 - 0.2, (1 - 0.3) / 2]
    torch.testing.assert_close(alone[:, 0, 0], torch.tensor(expected), atol=1e-6, rtol=0)
    pair, _ = normalise(image, torch.zeros(2, 2, dtype=torch.uint8))
    assert torch.equal(pair, alone)
