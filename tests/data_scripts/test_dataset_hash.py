"""Data sets that an archive's hash proves: no manifest, pictures of many sizes, JPEG images."""

from __future__ import annotations

import hashlib
import importlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data_scripts
from data_scripts.fetching.command import main
from data_scripts.fetching.dataset import DataSet, Part
from data_scripts.fetching.pictures import check

SIZES = ((7, 5), (12, 9), (4, 4))
SCRIPTS = sorted(p.stem for p in Path(data_scripts.__file__).parent.glob("[a-z]*.py"))


@pytest.fixture
def leaves(tmp_path, site, resource):
    """Three grey JPEG images of three sizes with their masks, as one zip on the server."""
    root = tmp_path / "made" / "top"
    for folder in ("photos", "labels"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(5)
    for number, (width, height) in enumerate(SIZES):
        image = rng.integers(0, 256, (height, width), dtype=np.uint8)
        mask = rng.integers(0, 2, (height, width), dtype=np.uint8)
        Image.fromarray(image).save(root / "photos" / f"{number}.jpg")
        Image.fromarray(mask).save(root / "labels" / f"{number}.png")
    archive = Path(shutil.make_archive(str(tmp_path / "leaves"), "zip", root.parent))
    site.files["leaves.zip"] = resource(archive.read_bytes())
    part = Part(
        name="all",
        images="images",
        masks="masks",
        origin_images="photos",
        origin_masks="labels",
        count=3,
    )
    return DataSet(
        name="leaves",
        title="Tiny leaves",
        terms="Cite: nobody.\n",
        classes=("ground", "leaf"),
        image_mode="L",
        parts=(part,),
        archive_url=site.url + "leaves.zip",
        archive_bytes=10_000,
        archive_sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
    )


@pytest.fixture
def done(leaves, tmp_path):
    assert main(leaves, ["--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out"


def test_it_is_fetched_copied_and_then_complete(leaves, done, site, tmp_path, capsys):
    for number, size in enumerate(SIZES):
        copy = done / "images" / f"{number}.jpg"
        assert Image.open(copy).size == size
        origin = tmp_path / "made" / "top" / "photos" / copy.name
        assert copy.read_bytes() == origin.read_bytes(), "a JPEG is not encoded a second time"
    assert main(leaves, ["--out", str(done)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert len(site.seen) == 1


def test_what_is_lost_is_brought_in_again(leaves, done, capsys):
    (done / "masks" / "1.png").unlink()
    (done / "images" / "2.jpg").unlink()
    assert main(leaves, ["--out", str(done)]) == 0
    assert "2 of 6 pictures" in capsys.readouterr().out


def test_another_archive_is_refused_unless_its_hash_is_given(leaves, site, tmp_path, capsys):
    body = site.files["leaves.zip"].body + b"\0"
    site.files["leaves.zip"].body = body
    (tmp_path / "mine.zip").write_bytes(body)
    for source in ([], ["--from", str(tmp_path / "mine.zip")]):
        arguments = ["--out", str(tmp_path / "out"), *source]
        assert main(leaves, arguments) == 1
        assert f"expected {leaves.archive_sha256}" in capsys.readouterr().err
        assert not list((tmp_path / "out").rglob("*.png"))
    own = hashlib.sha256(body).hexdigest()
    assert main(leaves, [*arguments, "--sha256", own]) == 0


FAULTS = {
    "other size": ("masks/1.png", (9, 11), "1: the mask is not of the image's size"),
    "no mask": ("masks/1.png", None, "masks/1.png: missing"),
    "one more": ("images/9.jpg", (4, 4), "masks/9.png: missing"),
    "cropped": ("images/0.jpg", (4, 7), "0: the mask is not of the image's size"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(leaves, done, fault):
    name, shape, message = FAULTS[fault]
    if shape:
        Image.fromarray(np.zeros(shape, np.uint8)).save(done / name)
    else:
        (done / name).unlink()
    problems = check(done, leaves)
    assert any(message in problem for problem in problems), problems


def test_counts_and_shares_are_compared_where_they_are_known(leaves, done):
    [part] = leaves.parts
    masks = [np.asarray(Image.open(path)).ravel() for path in (done / "masks").iterdir()]
    shares = tuple(100 * np.bincount(np.concatenate(masks)) / sum(mask.size for mask in masks))
    told = replace(leaves, parts=(replace(part, shares=shares),))
    assert check(done, told) == []
    told = replace(leaves, parts=(replace(part, shares=shares[::-1], count=4),))
    problems = check(done, told)
    assert problems[0] == "all: 3 pairs, expected 4"
    assert len(problems) == 3


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_says_how_its_data_are_proven(name):
    spec = importlib.import_module(f"data_scripts.{name}").SPEC
    assert spec.name == name
    assert spec.manifest or len(spec.archive_sha256) == 64
