"""The scripts on the real pictures, where they lie beside the checkout."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_scripts import camvid, isbi_em
from data_scripts.fetching.command import main
from data_scripts.fetching.pictures import check, make_manifest
from segbook import recipes
from segbook.builders.data import build_data

SHARED = Path(os.environ.get("SEGBOOK_SHARED", Path(__file__).resolve().parents[3] / "shared"))

pytestmark = pytest.mark.data


def real(name: str) -> Path:
    root = SHARED / "data" / name
    if not root.is_dir():
        pytest.skip(f"the real {name} pictures are not at {root}")
    return root


def flip_a_pixel(path: Path) -> None:
    pixels = np.asarray(Image.open(path)).copy()
    pixels[100, 200] = 1 - pixels[100, 200] if pixels[100, 200] < 2 else 0
    Image.fromarray(pixels).save(path)


@pytest.mark.full
def test_camvid_is_taken_checked_and_a_planted_fault_found(tmp_path, capsys):
    root, origin, out = real("camvid"), tmp_path / "SegNet" / "CamVid", tmp_path / "camvid"
    for part in camvid.SPEC.parts:  # as the origin has it
        for kind, folder in part.folders(ours=False).items():
            shutil.copytree(root / part.folders(ours=True)[kind], origin / folder)
    assert main(camvid.SPEC, ["--out", str(out), "--from", str(origin.parent)]) == 0
    assert "all is well, 367 train, 101 val, 233 test pairs" in capsys.readouterr().out
    assert {p.suffix for p in (out / "test" / "images").iterdir()} == {".webp"}  # copied as it is
    bad = out / "val" / "masks" / "0016E5_07959.png"
    flip_a_pixel(bad)
    val = replace(camvid.SPEC, parts=camvid.SPEC.parts[1:2])  # the rest was just looked at
    assert main(val, ["--out", str(out), "--check"]) == 1
    assert f"1 problems:\n  {bad}: its pixels are not the origin's" in capsys.readouterr().out


def test_isbi_in_our_layout_and_from_the_origins(tmp_path):
    root = real("isbi_em")
    assert all(problem.endswith(".txt: missing") for problem in check(root, isbi_em.SPEC))
    origin = tmp_path / "unet-main" / "data" / "membrane" / "train"
    for folder in ("image", "label"):
        (origin / folder).mkdir(parents=True)
    for number in range(30):
        (origin / "image" / f"{number}.png").write_bytes(
            (root / "images" / f"{number}.png").read_bytes()
        )
        mask = np.asarray(Image.open(root / "masks" / f"{number}.png"))
        label = np.where(mask == 1, 0, 255).astype(np.uint8)
        Image.fromarray(label).save(origin / "label" / f"{number}.png")
    out = tmp_path / "from origin"
    assert main(isbi_em.SPEC, ["--out", str(out), "--from", str(tmp_path / "unet-main")]) == 0
    for name in ("train.txt", "val.txt"):
        assert (out / name).read_text().split() == (root / name).read_text().split()
    # What the recipes need is there: they name the folder and nothing else.
    made = recipes.override(recipes.get("unet_isbi_em_cpu"), {"data_root": str(out)})
    sets = build_data(made)
    assert {split: len(pairs) for split, pairs in sets.items()} == {"train": 24, "val": 6}
    assert sets["train"].classes == isbi_em.SPEC.classes
    flip_a_pixel(out / "masks" / "7.png")
    assert main(isbi_em.SPEC, ["--out", str(out), "--check"]) == 1


def test_the_committed_manifest_is_that_of_the_real_pictures():
    spec = isbi_em.SPEC
    assert make_manifest(real("isbi_em"), spec) == dict(spec.manifest)
