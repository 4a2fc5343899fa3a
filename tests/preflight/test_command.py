"""``segbook doctor``, and the preflight of a run: what they say, write and stop."""

import functools
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from segbook import recipes
from segbook.builders.data import build_data
from segbook.preflight import PreflightError, SettingsRefusedError, examine, preflight
from segbook.preflight.command import doctor
from segbook.preflight.sanity_checks import run_sanity_checks
from segbook.runs.folder import RunFolder
from segkit import data, transforms
from segkit.data.subset import Subset, at_most
from segkit.engine import save_checkpoint
from segkit.weights import save_weights

TINY = recipes.override(
    recipes.get("pp_liteseg_t_synthetic"),
    {"image_size": (64, 80), "crop": (64, 80), "length": 400, "scale": (1.0, 1.25)},
)


def checks(findings, severity=None):
    return {f.check for f in findings if severity in (None, f.severity)}


@functools.cache
def usual():
    """What is found in a good recipe: notes."""
    return examine(TINY, workers=0)


def faults(recipe):
    return checks(examine(recipe, workers=0)) - checks(usual())


def changed(**fields):
    return recipes.override(TINY, fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of 12 good pairs in two splits."""
    root = tmp_path_factory.mktemp("streets")
    (root / "classes.txt").write_text("\n".join(data.SyntheticStreets.classes))
    for split in ("train", "val"):
        streets = data.SyntheticStreets(split, size=(64, 80), length=12)
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(len(streets)):
            image, mask = streets.raw(index)
            name = f"{split}/{{}}/{index:02d}.png"
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / name.format("images"))
            Image.fromarray(mask.numpy()).save(root / name.format("masks"))
    return root


@pytest.fixture
def broken(folder, tmp_path):
    """The same with a mask cut short and one value out of range."""
    root = tmp_path / "broken"
    shutil.copytree(folder, root)
    whole = (root / "train/masks/03.png").read_bytes()
    (root / "train/masks/03.png").write_bytes(whole[: len(whole) // 2])
    mask = np.array(Image.open(root / "train/masks/05.png"))
    mask[:4] = 77
    Image.fromarray(mask).save(root / "train/masks/05.png")
    return root


def test_a_good_recipe_has_neither_errors_nor_warnings():
    findings = usual()
    assert checks(findings, "error") == set()
    assert checks(findings, "warning") == set(), "\n".join(map(str, findings))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"batch_size": 1}, {"batch_of_one", "learning_rate", "tiny_batchnorm"}),
        ({"batch_size": 2}, {"learning_rate", "tiny_batchnorm"}),
        ({"lr": 50.0}, {"learning_rate", "learning_rate_range"}),
        ({"crop": (256, 320)}, {"crop_larger_than_images"}),
        ({"aux_weight": 0.0}, {"aux_weight"}),
        ({"precision": "float16"}, {"number_format"}),
        ({"steps": 10, "warmup": 0}, {"less_than_an_epoch", "late_validation"}),
        ({"model": "no_such_network"}, {"recipe_cannot_be_built"}),
        ({"model_options": {"colour": 3}}, {"recipe_cannot_be_built"}),
        ({"data": "camvid", "data_root": "/no/such"}, {"data_cannot_be_built"}),
        ({"data_root": "mine"}, {"data_root_unread"}),
        ({"workers": 500}, {"cores"}),
    ],
)
def test_faults_of_a_recipe(fields, expected):
    assert expected <= faults(changed(**fields))


def test_frozen_norms_may_see_tiny_batches():
    fields = {"model": "fcn8s_resnet18", "batch_size": 2, "lr": 0.0025}
    assert "tiny_batchnorm" in faults(changed(**fields))
    assert "tiny_batchnorm" not in faults(changed(**fields, freeze="backbone_norms"))


@pytest.mark.slow
def test_normalisation_of_the_weights_file(tmp_path):
    from segkit import create_model

    header = {"normalisation": {"mean": list(transforms.MEAN), "std": list(transforms.STD)}}
    network = create_model(TINY.model, num_classes=11)
    path = tmp_path / "weights.safetensors"
    save_weights(network, path, header=header)
    assert "normalisation" not in faults(changed(weights=str(path)))
    save_weights(network, path, header={"normalisation": {"mean": [0.5] * 3, "std": [0.5] * 3}})
    assert "normalisation" in faults(changed(weights=str(path)))


def test_a_folder_of_which_no_data_set_can_be_made_is_looked_at(broken):
    (broken / "train/masks/07.png").unlink()
    recipe = changed(data="folder", data_root=str(broken))
    found = checks(examine(recipe, workers=0), "error")
    assert {"image_without_mask", "unreadable_or_truncated"} <= found
    assert "data_cannot_be_built" not in found


def test_the_command_on_folders(folder, broken):
    good = CliRunner().invoke(doctor, [str(folder), "--workers", "0"])
    assert good.exit_code == 0, good.output
    assert "0 errors" in good.output.splitlines()[-1]
    bad = CliRunner().invoke(doctor, [str(broken), "--workers", "0", "--json"])
    assert bad.exit_code == 1
    content = json.loads(bad.output)
    assert content["counts"]["error"] == 2
    places = [p["file"] for f in content["findings"] if f["severity"] == "error"
              for p in f["places"]]  # fmt: skip
    assert sorted(place[-12:] for place in places) == ["masks/03.png", "masks/05.png"]


def test_the_command_on_recipes():
    small = ["--set", "image_size=(64, 80)", "--set", "crop=(64, 80)", "--workers", "0"]
    name = "pp_liteseg_t_synthetic"
    good = CliRunner().invoke(doctor, [name, *small])
    assert good.exit_code == 0, good.output
    bad = CliRunner().invoke(doctor, [name, *small, "--set", "batch_size=1"])
    assert bad.exit_code == 1
    assert "fix    --set batch_size=2" in bad.output
    unknown = CliRunner().invoke(doctor, ["pp_litseg"])
    assert "Nor is there such a folder" in str(unknown.exception)


def test_the_command_is_loaded_without_torch():
    code = "import sys, segbook.preflight.command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def run_of(recipe):
    return RunFolder.create(recipe.name, kind="train"), build_data(recipe)


def test_a_preflight_stops_at_errors(broken):
    recipe = changed(data="folder", data_root=str(broken))
    folder, sets = run_of(recipe)
    said = []
    with pytest.raises(PreflightError, match="03.png") as stopped:
        preflight(recipe, folder, sets, None, said.append)
    assert "--set doctor=warn" in str(stopped.value)
    written = json.loads((folder.path / "doctor.json").read_text())
    assert {f["check"] for f in written["findings"]} >= {"unreadable_or_truncated"}
    assert "unreadable_or_truncated" in str(stopped.value)
    assert not any(line.startswith("error: ") for line in said), "the exception says them"


def test_a_preflight_logs_names_that_are_no_text(folder, tmp_path):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        shutil.copytree(folder, root)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this system has no such names")
    (root / "train/masks/03.png").write_bytes(b"")
    recipe = changed(data="folder", data_root=str(root), doctor="warn")
    lines = []
    run = RunFolder.create(recipe.name, kind="train")
    preflight(recipe, run, build_data(recipe), None, lines.append)
    written = (run.path / "doctor.json").read_text(encoding="utf-8")
    for text in (*lines, written):
        text.encode()
    assert any(r"caf\udce9/train/masks/03.png is empty" in line for line in lines)
    places = json.loads(written)["findings"][0]["places"]
    assert places[0]["file"] == str(root / "train/masks/03.png")


def test_a_preflight_tells_settings_from_data(broken):
    recipe = changed(freeze="backbone")
    folder, sets = run_of(recipe)
    with pytest.raises(SettingsRefusedError, match="Begin anew, with another setting") as stopped:
        preflight(recipe, folder, sets, None, print)
    assert "resume" not in str(stopped.value)
    recipe = changed(freeze="backbone", data="folder", data_root=str(broken))
    with pytest.raises(PreflightError, match="Mend the data and resume") as stopped:
        preflight(recipe, *run_of(recipe), None, print)
    assert not isinstance(stopped.value, SettingsRefusedError)


def test_a_run_that_has_begun_is_told_and_goes_on(broken):
    recipe = changed(data="folder", data_root=str(broken))
    folder, sets = run_of(recipe)
    save_checkpoint(folder.checkpoints, {"step": 1})
    said = []
    assert "unreadable_or_truncated" in checks(preflight(recipe, folder, sets, None, said.append))
    (line,) = [line for line in said if "[values_out_of_range]" in line]
    assert line.startswith("error: ")
    assert "05.png" in line


def test_a_preflight_warns_or_is_off(broken):
    recipe = changed(data="folder", data_root=str(broken), doctor="warn")
    folder, sets = run_of(recipe)
    assert "unreadable_or_truncated" in checks(preflight(recipe, folder, sets, None, len))
    recipe = changed(data="folder", data_root=str(broken), doctor="off")
    folder, sets = run_of(recipe)
    assert preflight(recipe, folder, sets, None, len) == []
    assert not (folder.path / "doctor.json").exists()


def test_a_preflight_is_not_repeated_unless_the_data_changed(folder, tmp_path):
    import shutil

    root = tmp_path / "own"
    shutil.copytree(folder, root)
    recipe = changed(data="folder", data_root=str(root))
    run, sets = run_of(recipe)
    assert preflight(recipe, run, sets, None, len)
    assert preflight(recipe, run, sets, None, len) == []
    mask = np.array(Image.open(root / "train/masks/05.png"))
    Image.fromarray(np.roll(mask, 1)).save(root / "train/masks/05.png")
    assert preflight(recipe, run, build_data(recipe), None, len)
    (run.path / "doctor.json").write_text("{")
    assert preflight(recipe, run, sets, None, len)


def test_a_sample_is_spread_evenly(folder):
    sets = {s: data.FolderDataset(folder, s) for s in ("train", "val")}
    looked = at_most(sets, 6)
    assert [looked["train"].stem(i) for i in range(3)] == ["00", "04", "08"]
    assert len(looked["val"]) == 3
    assert (looked["train"].raw(1)[1] == sets["train"].raw(4)[1]).all()
    assert at_most(sets, 24) == sets
    assert len(Subset(sets["train"], 99)) == 12


def test_of_big_data_a_sample_is_looked_at_and_said(folder):
    recipe = changed(data="folder", data_root=str(folder))
    findings = examine(recipe, sets=build_data(recipe), limit=8, workers=0)
    [note] = [finding for finding in findings if finding.check == "sampled"]
    assert "8 of 24 pairs" in note.what
    assert "tiny_split" not in checks(findings)


@pytest.mark.slow
@pytest.mark.full
def test_the_sanity_checks_of_a_recipe():
    recipe = changed(data="synthetic", lr=0.05)
    found = list(run_sanity_checks(recipe, steps=40))
    names = ("start", "gradients", "one_batch", "true_labels")
    assert [finding.check for finding in found] == [f"learning_{name}" for name in names]
    assert {finding.severity for finding in found} == {"note"}, "\n".join(map(str, found))
    stuck = list(run_sanity_checks(changed(lr=1e-12), steps=1))
    assert (stuck[-1].severity, stuck[-1].check) == ("error", "learning_one_batch")


def test_a_random_backbone_is_not_frozen():
    names = [finding.check for finding in examine(changed(freeze="backbone"))]
    assert "frozen_random_backbone" in names
    assert "frozen_random_backbone" not in [finding.check for finding in examine(changed())]
