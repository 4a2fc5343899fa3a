"""A finished run as a page: figures that fit its own record, pictures that are small."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from segbook import recipes
from segbook.reports.publish import credit_line, start_of, write_summary
from segbook.runs.folder import RunFolder
from segbook.runs.recording import open_recording
from segbook.text import markdown
from segbook.training.loop import fit
from segkit import data

WATCHED = ("val_0_00003", "val_0_00001")


@pytest.fixture
def finished(tmp_path, monkeypatch):
    whole = data.SyntheticStreets
    monkeypatch.setattr(
        data,
        "SyntheticStreets",
        lambda split, *, size, length: whole(split, size=size, length=length or 6),
    )
    recipe = recipes.override(
        recipes.get("pp_liteseg_t_synthetic"),
        {"image_size": (64, 64), "crop": (64, 64), "length": 6, "batch_size": 2, "steps": 3,
         "warmup": 1, "evaluate_every": 1, "precision": "float32", "watch": WATCHED},
    )  # fmt: skip
    folder = RunFolder.create(
        "tiny", root=tmp_path, kind="train", recipe_name=recipe.name, overrides={"steps": "3"}
    )
    result = fit(recipe, folder, show=lambda text: None, progress=False)
    return folder, result


@pytest.mark.slow
def test_the_page(finished, tmp_path):
    folder, result = finished
    page = write_summary(folder, tmp_path / "page", count=2).read_text()
    assert f"| val | {100 * result['miou']:.1f} |" in page
    assert f"| test | {100 * result['test']['miou']:.1f} |" in page
    assert "segbook train pp_liteseg_t_synthetic --set steps=3" in page
    assert "- Seed 0; float32; 1 thread;" in page
    for name in ("Road", "Bicyclist", "per_image_absent_0"):
        assert f"| {name} |" in page
    pictures = list((tmp_path / "page").glob("*.png"))
    assert {p.stem for p in pictures} == {"curves", "iou", "comparison", "worst", "filmstrip"}
    assert sum(p.stat().st_size for p in pictures) < 1_000_000
    for picture in pictures:
        assert f"({picture.name})" in page
        assert min(Image.open(picture).size) > 100
    check_recording(folder, tmp_path / "page", page)


def check_recording(folder, out, page):
    """What was watched is published with it, and is what the run's folder has."""
    found, kept = open_recording(out), open_recording(folder)
    assert found.steps == kept.steps == [1, 2, 3]
    assert found.command == "segbook train pp_liteseg_t_synthetic --set steps=3"
    assert [one.name for one in found.photographs] == [*WATCHED]
    for one, other in zip(found.photographs, kept.photographs, strict=True):
        assert (one.truth == other.truth).all()
        for ids, expected in zip(one.predictions, other.predictions, strict=True):
            assert (ids == expected).all()
        assert np.abs(one.image.astype(int) - other.image).mean() < 8  # JPEG
    assert (found.losses, found.miou) == (kept.losses, kept.miou)
    assert len(found.miou) == 3
    names = ", ".join(markdown(name) for name in WATCHED)
    assert f"2 validation images ({names}) after 3 steps from 1 to 3" in page


@pytest.mark.slow
def test_only_of_a_finished_run(finished, tmp_path):
    folder, _ = finished
    folder.update(status="stopped")
    with pytest.raises(ValueError, match="is stopped"):
        write_summary(folder, tmp_path / "page")


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"result": {"miou": 0.5, "policy": "dataset"}}, "result.step"),
        ({"result": None}, "result.step, result.miou, result.policy"),
        ({"versions": None, "seconds": None}, "versions, seconds"),
        ({"overrides": None}, "overrides"),
    ],
)
def test_a_record_that_lacks_a_field_is_refused_by_name(tmp_path, fields, missing):
    whole = {
        "status": "finished", "kind": "train", "recipe_name": "a", "overrides": {}, "threads": 1,
        "recipe": recipes.get("unet_synthetic").to_dict(), "data_manifest": {}, "seconds": 1.0,
        "precision": "float32", "machine": "m", "versions": {},
        "result": {"miou": 0.5, "policy": "dataset", "step": 1},
    }  # fmt: skip
    folder = RunFolder.create("a", root=tmp_path, **whole | fields)
    with pytest.raises(ValueError, match=f"cannot be summed up: .* no usable {missing}\\. Only"):
        write_summary(folder, tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_pictures_of_others_are_credited():
    assert credit_line("camvid").startswith("Images: CamVid, G. Brostow")
    assert credit_line("synthetic") == credit_line("folder") == ""


@pytest.mark.parametrize(
    ("weights", "start"),
    [
        ("", "random weights"),
        ("/home/a/runs/streets-7/checkpoints/best.safetensors", "streets-7"),
        ("/home/a/mine.safetensors", "mine.safetensors"),
        ("pp_liteseg_t_camvid", "pp_liteseg_t_camvid"),
    ],
)
def test_where_a_training_began_is_said_without_a_folder_of_this_machine(weights, start):
    recipe = recipes.override(recipes.get("pp_liteseg_t_synthetic"), {"weights": weights})
    assert start_of(recipe) == start
