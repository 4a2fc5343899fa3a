"""What `segbook doctor RECIPE` says of a folder: each fault once, and all that was found before."""

import json

import pytest
from click.testing import CliRunner

from segbook import recipes
from segbook.preflight import examine
from segbook.preflight.command import doctor

SMALL = (
    "crop=(32, 32)",
    "image_size=(48, 64)",
    "batch_size=4",
    "steps=20",
    "warmup=0",
    "workers=0",
)


@pytest.fixture
def told(folder):
    """The findings of the command on a recipe with the folder's data, by check."""

    def run(*options):
        sets = (*SMALL, "data=folder", f"data_root={folder.root}")
        arguments = [part for change in sets for part in ("--set", change)]
        command = ["pp_liteseg_t_synthetic", *arguments, "--workers", "0", "--json", *options]
        result = CliRunner().invoke(doctor, command)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}

    return run


def test_too_few_pairs_for_the_sanity_checks_do_not_drop_what_was_found(folder, told):
    for index in range(4, 12):
        folder.image(index).unlink()
        folder.mask(index).unlink()
    found = told("--learn")
    assert found["tiny_split"]["severity"] == "warning"
    assert found["learning_not_tried"]["severity"] == "note"
    assert "8 or more" in found["learning_not_tried"]["what"]


def test_where_no_data_set_can_be_made_it_says_that_the_sanity_checks_were_not_run(folder, told):
    folder.mask(4).unlink()
    assert "004.png has no mask" in told("--learn")["learning_not_tried"]["what"]


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (lambda folder: folder.mask(4).unlink(), "image_without_mask"),
        (lambda folder: folder.image(4).unlink(), "mask_without_image"),
        (
            lambda folder: folder.mask(4).rename(folder.mask(4, suffix=".bmp").with_stem("003")),
            "several_files_of_one_stem",
        ),
    ],
)
def test_a_fault_with_a_finding_of_its_own_is_said_once(folder, told, fault, check):
    fault(folder)
    assert check in told()
    assert "data_cannot_be_built" not in told()


def test_what_no_other_finding_says_is_kept(folder, told):
    folder.mask(4).unlink()
    (folder.root / "val").rename(folder.root / "validation")
    found = told()
    assert "no train and val split" in found["data_cannot_be_built"]["what"]
    assert "data_root=FOLDER" not in found["data_cannot_be_built"]["fix"]
    assert "image_without_mask" in found


def test_pictures_in_subfolders_are_named_where_the_data_set_is_built(folder, told):
    assert "pictures_in_subfolders" not in told()
    (folder.root / "train/images/city1").mkdir()
    folder.scene(90).save(folder.root / "train/images/city1/a.png")
    assert told()["pictures_in_subfolders"]["severity"] == "warning"


def test_a_missing_data_set_is_told_with_the_place_that_was_looked_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = recipes.override(recipes.get("pp_liteseg_t_camvid"), {"data_root": "nowhere"})
    (missing,) = [f for f in examine(recipe) if f.check == "data_cannot_be_built"]
    assert str(tmp_path / "nowhere") in missing.what
    assert "data/camvid" in missing.fix
    assert "not its parent" in missing.fix
